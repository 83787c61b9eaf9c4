package peer

import (
	"errors"
	"net"
	"net/http"
)

// patient sends requests to a process that may be away for a moment.
type patient struct {
	client *Client
	hold   Hold
}

// RoundTrip tries again only where nothing was sent: a process that was asked may
// have done what it was asked for.
func (p patient) RoundTrip(r *http.Request) (*http.Response, error) {
	for {
		resp, err := p.client.RoundTrip(r)
		if err == nil || p.hold == nil || !unsent(err) || !p.hold(r.Context()) {
			return resp, err
		}
		if r.GetBody == nil {
			continue // it has no body
		}
		if r.Body, err = r.GetBody(); err != nil {
			return nil, err
		}
	}
}

// unsent reports whether there was no connection to send anything on.
func unsent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}
