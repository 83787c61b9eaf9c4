package oci

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync"
)

// maxPing bounds the answer to a ping, in bytes; nobody reads it.
const maxPing = 64 << 10

// pings asks a registry once how to speak with it (GET /v2/), and not again for each
// repository and direction: it has the same answer for all of them.
type pings struct {
	inner http.RoundTripper

	mu    sync.Mutex // guards hosts
	hosts map[string]*pinged
}

// pinged is what a host answered, by scheme.
type pinged struct {
	mu     sync.Mutex // guards what is below
	answer map[string]*http.Response
	body   map[string][]byte
	failed map[string]error
}

func newPings(inner http.RoundTripper) *pings {
	return &pings{inner: inner, hosts: map[string]*pinged{}}
}

// RoundTrip implements http.RoundTripper.
func (p *pings) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method != http.MethodGet || req.URL.Path != "/v2/" || req.URL.RawQuery != "" || req.Header.Get("Authorization") != "" {
		return p.inner.RoundTrip(req)
	}
	p.mu.Lock()
	host := p.hosts[req.URL.Host]
	if host == nil {
		host = &pinged{answer: map[string]*http.Response{}, body: map[string][]byte{}, failed: map[string]error{}}
		p.hosts[req.URL.Host] = host
	}
	p.mu.Unlock()
	if answer, err, known := host.known(req); known {
		return answer, err
	}
	answer, err := p.inner.RoundTrip(req)
	if err != nil {
		host.fails(req, err)
		return nil, err
	}
	return host.answers(req, answer)
}

// known is an answer that was given before. That there is no TLS is taken as known once
// the host has answered without.
func (h *pinged) known(req *http.Request) (*http.Response, error, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	scheme := req.URL.Scheme
	if answer, ok := h.answer[scheme]; ok {
		again := *answer
		again.Header, again.Request = answer.Header.Clone(), req
		again.Body = io.NopCloser(bytes.NewReader(h.body[scheme]))
		return &again, nil, true
	}
	if err, ok := h.failed[scheme]; ok && scheme == "https" && h.answer["http"] != nil {
		return nil, err, true
	}
	return nil, nil, false
}

func (h *pinged) fails(req *http.Request, err error) {
	if req.Context().Err() != nil {
		return // it was not the host that ended it
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failed[req.URL.Scheme] = err
}

// answers keeps an answer that says how to log in, or that nobody needs to.
func (h *pinged) answers(req *http.Request, answer *http.Response) (*http.Response, error) {
	if answer.StatusCode != http.StatusOK && answer.StatusCode != http.StatusUnauthorized {
		return answer, nil
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxPing))
	if err := errors.Join(err, answer.Body.Close()); err != nil {
		return nil, err
	}
	answer.Body = io.NopCloser(bytes.NewReader(body))
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.answer[req.URL.Scheme] == nil {
		kept := *answer
		h.answer[req.URL.Scheme], h.body[req.URL.Scheme] = &kept, body
	}
	return answer, nil
}
