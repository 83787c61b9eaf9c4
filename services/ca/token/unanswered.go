package token

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"sigstack/internal/fault"
)

// statusError is an issuer's answer that is not the document asked for.
type statusError struct {
	url    string
	status int
}

func (e *statusError) Error() string { return fmt.Sprintf("get %s: status %d", e.url, e.status) }

// unanswered classifies why an issuer's keys are not there. Clients come again
// after 503, and not after 400: a token is good all the same while its issuer is
// away (contract: ca.md §9, faults of ours are no fault of the request).
func (s *source) unanswered(ctx context.Context, err error) error {
	const public = "the issuer's keys are not available"
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return fault.Wrap(fault.Canceled, err, "the client went away")
	case ctx.Err() != nil:
		return fault.Wrap(fault.Timeout, err, public+": the issuer did not answer in time")
	case errors.Is(err, errBusy):
		return &fault.Error{Kind: fault.Unavailable, Err: err, RetryAfter: retryIn, Public: public + ": " + errBusy.Error() + ", try again"}
	case s.issuer.Wildcard() && madeUp(err):
		return fault.Wrap(fault.Invalid, err, public)
	}
	return &fault.Error{
		Kind: fault.Unavailable, Err: err, RetryAfter: retryIn,
		Public: public + ": the issuer " + s.issuer.URL + " could not be reached, try again",
	}
}

// madeUp reports whether an issuer that a pattern matched may be one that the
// token's author thought of: its host has no address, or says itself that it is no
// issuer. A stranger must not turn that into a fault of ours.
func madeUp(err error) bool {
	var lookup *net.DNSError
	if errors.As(err, &lookup) {
		return lookup.IsNotFound
	}
	var answer *statusError
	if errors.As(err, &answer) {
		return answer.status < http.StatusInternalServerError && answer.status != http.StatusTooManyRequests
	}
	var network net.Error
	return !errors.As(err, &network)
}

// retryIn is when clients are told to come again: after the next look at the
// issuer may have been made.
const retryIn = 2 * time.Second
