package ctlog

import (
	"context"
	"net/http"
	"sync"
	"time"

	ct "github.com/google/certificate-transparency-go"

	"sigstack/internal/httpd"
	"sigstack/internal/keys"
)

const (
	// maxChain bounds a submitted chain in bytes, as upstream does.
	maxChain = 500 << 10

	// requestTimeout bounds the work on one request; an add takes milliseconds.
	requestTimeout = 20 * time.Second

	// maxBulk is how many answers of many entries are made at once, each in a few
	// megabytes.
	maxBulk = 8
)

// routes are the endpoints of RFC 6962 §4, and the document about the log that
// makers of log lists ask for.
var routes = []struct {
	method, path string
	maxBody      int64
}{
	{http.MethodPost, ct.AddChainPath, maxChain},
	{http.MethodPost, ct.AddPreChainPath, maxChain},
	{http.MethodGet, ct.GetSTHPath, 0},
	{http.MethodGet, ct.GetSTHConsistencyPath, 0},
	{http.MethodGet, ct.GetProofByHashPath, 0},
	{http.MethodGet, ct.GetEntriesPath, 0},
	{http.MethodGet, ct.GetRootsPath, 0},
	{http.MethodGet, ct.GetEntryAndProofPath, 0},
	{http.MethodGet, ct.LogV3JSONPath, 0},
}

// Mount adds the log's routes to mux. ctfe words its own errors, as text.
func (s *Service) Mount(mux *httpd.Mux) {
	g := mux.Group("ctlog", httpd.RESTErrors)
	for _, r := range routes {
		g.HandleForeign(r.method, s.prefix()+r.path, r.maxBody, s.handler(r.path))
	}
}

// handler returns what answers an endpoint: ctfe, as it is when the request comes,
// under a deadline of real time.
func (s *Service) handler(path string) http.Handler {
	adds := path == ct.AddChainPath || path == ct.AddPreChainPath
	full := s.prefix() + path
	if _, ok := s.current.Load().handlers[full]; !ok && !adds {
		panic("ctlog: ctfe does not serve " + path)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, ok := s.current.Load().handlers[full] // a frozen log has none for adds
		if adds && (!ok || s.State() != Active) {
			s.refuseChain(w, r)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
		defer cancel()
		r = r.WithContext(ctx)
		if r.Method == http.MethodHead {
			r.Method = http.MethodGet // ctfe knows no HEAD; net/http drops the body
		}
		if path == ct.GetEntriesPath {
			s.serveBulk(w, r, h)
			return
		}
		h.ServeHTTP(signing{w, s.cfg.Signer}, r)
	})
}

// refuseChain answers for a log that takes no more chains.
func (s *Service) refuseChain(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, errClosedLog, http.StatusForbidden)
}

// serveBulk answers from h when few others are being made. Sending the answer,
// which takes as long as the client likes, is no part of making it.
func (s *Service) serveBulk(w http.ResponseWriter, r *http.Request, h http.Handler) {
	if err := s.bulk.Acquire(r.Context(), 1); err != nil {
		w.Header().Set("Retry-After", "1")
		http.Error(w, "too many answers of this size are being made, try again", http.StatusTooManyRequests)
		return
	}
	made := sync.OnceFunc(func() { s.bulk.Release(1) })
	defer made()
	h.ServeHTTP(making{signing{w, s.cfg.Signer}, made}, r)
}

// making tells when an answer is made: when it begins to be sent.
type making struct {
	signing
	made func()
}

// Write implements http.ResponseWriter.
func (m making) Write(p []byte) (int, error) {
	m.made()
	return m.signing.Write(p)
}

// signing makes 503 of ctfe's answer to a key that cannot sign now, which to
// ctfe is an error like any other of its own.
type signing struct {
	http.ResponseWriter
	key keys.Key
}

// WriteHeader implements http.ResponseWriter.
func (s signing) WriteHeader(status int) {
	if _, failure := s.key.Use(); failure != nil && status == http.StatusInternalServerError {
		s.Header().Set("Retry-After", "1")
		status = http.StatusServiceUnavailable
	}
	s.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (s signing) Unwrap() http.ResponseWriter { return s.ResponseWriter }
