package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"sigstack/internal/signing"
)

// retryNote tells, once, that a service gives no answer: the client asks it again
// for a while, and nothing would be seen of a command meanwhile. It is safe for
// concurrent use.
type retryNote struct {
	next http.RoundTripper
	tell func(format string, args ...any)
	once sync.Once
}

// noteRetries returns a client like c that tells.
func (a *app) noteRetries(c *http.Client) *http.Client {
	noting := *c
	next := c.Transport
	if next == nil {
		next = http.DefaultTransport
	}
	noting.Transport = &retryNote{next: next, tell: a.notef}
	return &noting
}

// RoundTrip notes what the client will ask again for: no answer, 429 and 5xx.
func (r *retryNote) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := r.next.RoundTrip(req)
	var distrusted *tls.CertificateVerificationError
	switch {
	case req.Context().Err() != nil || errors.As(err, &distrusted):
	case err != nil:
		r.note(req, err.Error())
	case resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= http.StatusInternalServerError:
		r.note(req, fmt.Sprintf("it says %s", resp.Status))
	}
	return resp, err
}

func (r *retryNote) note(req *http.Request, reason string) {
	r.once.Do(func() {
		r.tell("no answer yet from %s (%s); trying again\n", shown(req.URL.Redacted()), signing.Printable(reason, maxShown))
	})
}
