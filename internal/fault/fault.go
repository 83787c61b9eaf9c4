// Package fault classifies errors: each carries a kind, which transports map to
// a status code, and a sentence fit for strangers. Whatever is not classified
// is Internal, and its text stays in our own log.
package fault

import (
	"errors"
	"fmt"
	"time"
)

// Kind says whose fault an error is and what the caller may do about it.
type Kind int

// The kinds. The zero value is Internal, so that an unclassified error can
// never leak its text or pass for the caller's fault.
const (
	Internal      Kind = iota // our fault; details only in our log
	Invalid                   // the request is wrong and will stay wrong
	NotFound                  // nothing by that name
	Conflict                  // it is there already
	TooLarge                  // over a documented limit
	Unprocessable             // well formed, but not what the schema asks for
	Unsupported               // media type not understood
	WrongMethod               // path known, method not
	Forbidden                 // known caller, not allowed
	Limited                   // over a rate limit; later will do
	Unavailable               // a part we need is down; retry
	Timeout                   // a part we need did not answer in time
	Canceled                  // the caller went away
	Unimplemented             // switched off or not offered
	NoCredentials             // the caller has to say who it is, and did not or not credibly
	Slow                      // the caller did not send its request in time
)

// Error is a classified error.
type Error struct {
	Kind   Kind
	Public string // one sentence for strangers; never holds secrets or internals
	Code   int    // overrides the code in an error body where a contract asks for one; 0: none
	Err    error  // the cause, for our log; may be nil

	Detail *Detail // the cause, for programs; nil: none

	// RetryAfter is when to ask again, for Limited and Unavailable; 0: not known.
	RetryAfter time.Duration
}

// Error returns the public sentence and the cause, for our log.
func (e *Error) Error() string {
	if e.Err == nil {
		return e.Public
	}
	return e.Public + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// New returns an error of kind k with the given public sentence.
func New(k Kind, public string) error { return &Error{Kind: k, Public: public} }

// Newf is New with a formatted public sentence.
func Newf(k Kind, format string, args ...any) error {
	return &Error{Kind: k, Public: fmt.Sprintf(format, args...)}
}

// Wrap classifies err, keeping it as the cause; strangers see only public.
func Wrap(k Kind, err error, public string) error {
	return &Error{Kind: k, Public: public, Err: err}
}

// KindOf returns the kind of the outermost classified error in err's chain,
// Internal if there is none.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Internal
}

// Public returns the sentence that strangers may see for err.
func Public(err error) string {
	var e *Error
	if errors.As(err, &e) && e.Public != "" {
		return e.Public
	}
	return "internal error"
}

// CodeOf returns the body code that err demands, 0 if none.
func CodeOf(err error) int {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

// Later returns an error of kind Limited that says when to ask again.
func Later(retryAfter time.Duration, public string) error {
	return &Error{Kind: Limited, Public: public, RetryAfter: retryAfter}
}

// RetryAfterOf returns when err says to ask again, 0 if it does not.
func RetryAfterOf(err error) time.Duration {
	var e *Error
	if errors.As(err, &e) {
		return e.RetryAfter
	}
	return 0
}
