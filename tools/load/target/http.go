package target

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"sigstack/tools/load/check"
)

// maxAnswer bounds an answer, in bytes.
const maxAnswer = 16 << 20

// NewHTTPClient speaks HTTP/1.1 on as many kept connections as there are
// operations at once, follows no redirects, uses no proxy, and trusts the PEM
// certificates of authorities beside the system's. Its connections go to the hosts
// that URLs name or, if there are replicas (host:port), to these in turn.
func NewHTTPClient(concurrency int, authorities []byte, replicas ...string) (*http.Client, error) {
	dial := (&net.Dialer{Timeout: 10 * time.Second}).DialContext
	t := &http.Transport{
		DialContext:         inTurn(dial, replicas),
		TLSHandshakeTimeout: 10 * time.Second,
		MaxIdleConnsPerHost: 2 * concurrency, // a signature asks two services at once
		IdleConnTimeout:     time.Minute,
		DisableCompression:  true,
	}
	if len(authorities) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			return nil, fmt.Errorf("read this machine's TLS authorities: %w", err)
		}
		if !pool.AppendCertsFromPEM(authorities) {
			return nil, errors.New("read TLS authorities: no PEM certificate found")
		}
		t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

func inTurn(dial dialFunc, replicas []string) dialFunc {
	if len(replicas) == 0 {
		return dial
	}
	var turn atomic.Uint64
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		return dial(ctx, network, replicas[turn.Add(1)%uint64(len(replicas))])
	}
}

type client struct{ http *http.Client }

type request struct {
	method, url string
	contentType string
	token       string
	body        []byte
	want        []int // status codes
}

// do sends a request and returns the whole answer. Errors are *check.Fault.
func (c client) do(ctx context.Context, r request) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, r.method, r.url, bytes.NewReader(r.body))
	if err != nil {
		return nil, check.Wrong(check.Other, "%w", err)
	}
	if r.contentType != "" {
		req.Header.Set("Content-Type", r.contentType)
	}
	if r.token != "" {
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, check.Wrong(transportKind(err), "%w", err)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return nil, check.Wrong(transportKind(err), "%s %s: read answer: %w", r.method, r.url, err)
	}
	if !slices.Contains(r.want, resp.StatusCode) {
		return nil, check.Wrong(check.Status(resp.StatusCode), "%s %s: %s: %.300q", r.method, r.url, resp.Status, body)
	}
	if len(body) > maxAnswer {
		return nil, check.Wrong(check.Malformed, "%s %s: the answer is longer than %d bytes", r.method, r.url, maxAnswer)
	}
	return body, nil
}

// get fetches what every client may have.
func (c client) get(ctx context.Context, url string) ([]byte, error) {
	return c.do(ctx, request{method: http.MethodGet, url: url, want: []int{http.StatusOK}})
}

func transportKind(err error) check.Kind {
	var op *net.OpError
	var timeout net.Error
	var certificate *tls.CertificateVerificationError
	var alert tls.AlertError
	var record tls.RecordHeaderError
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return check.Timeout
	case errors.As(err, &certificate), errors.As(err, &alert), errors.As(err, &record):
		return check.TLS
	case errors.As(err, &op) && op.Op == "dial":
		return check.Unreachable
	default:
		return check.Dropped
	}
}
