package ctlog

import (
	"context"
	"net/http"
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
)

// routes are the endpoints of RFC 6962 §4.
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
}

// Mount adds the log's routes to mux. ctfe words its own errors, as text.
func (s *Service) Mount(mux *httpd.Mux) {
	g := mux.Group("ctlog", httpd.RESTErrors)
	for _, r := range routes {
		g.HandleForeign(r.method, s.prefix+r.path, r.maxBody, s.handler(r.path))
	}
}

// handler returns ctfe's handler for an endpoint, under a deadline of real time.
func (s *Service) handler(path string) http.Handler {
	h, ok := s.handlers[s.prefix+path]
	if !ok {
		panic("ctlog: ctfe does not serve " + path)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
		defer cancel()
		r = r.WithContext(ctx)
		if r.Method == http.MethodHead {
			r.Method = http.MethodGet // ctfe knows no HEAD; net/http drops the body
		}
		h.ServeHTTP(signing{w, s.key}, r)
	})
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
