package httpd

import (
	"net/http"
	"strconv"
	"time"

	"sigstack/internal/fault"
)

// ErrorFormat is how a family of services words its errors on the wire.
type ErrorFormat struct {
	statuses map[fault.Kind]int // differs from defaultStatus for these
	body     func(status int, err error, requestID string) any
}

// RESTErrors is the format of the log, timestamp and plain endpoints:
// {"code":<HTTP status>,"message":"…"}.
//
// Contract: rekor-v1.md §1, tsa-and-others.md §1.
var RESTErrors = ErrorFormat{body: restBody}

// GRPCErrors is the format of a gRPC gateway:
// {"code":<gRPC code>,"message":"…","details":[]}, with a google.rpc.ErrorInfo and a
// google.rpc.RequestInfo in details for an error that tells programs its cause.
//
// Contract: ca.md §9: an over-size body is 400, a wrong method 501.
var GRPCErrors = ErrorFormat{
	statuses: map[fault.Kind]int{
		fault.TooLarge:      http.StatusBadRequest,
		fault.Unprocessable: http.StatusBadRequest,
		fault.Unsupported:   http.StatusBadRequest,
		fault.WrongMethod:   http.StatusNotImplemented,
	},
	body: grpcBody,
}

var defaultStatus = map[fault.Kind]int{
	fault.Internal:      http.StatusInternalServerError,
	fault.Invalid:       http.StatusBadRequest,
	fault.NotFound:      http.StatusNotFound,
	fault.Conflict:      http.StatusConflict,
	fault.TooLarge:      http.StatusRequestEntityTooLarge,
	fault.Unprocessable: http.StatusUnprocessableEntity,
	fault.Unsupported:   http.StatusUnsupportedMediaType,
	fault.WrongMethod:   http.StatusMethodNotAllowed,
	fault.Forbidden:     http.StatusForbidden,
	fault.Limited:       http.StatusTooManyRequests,
	fault.Unavailable:   http.StatusServiceUnavailable,
	fault.Timeout:       http.StatusGatewayTimeout,
	fault.Canceled:      499, // the de-facto status for "client went away"
	fault.Unimplemented: http.StatusNotImplemented,
	fault.NoCredentials: http.StatusUnauthorized,
	fault.Slow:          http.StatusRequestTimeout,
}

// grpcCode holds google.rpc.Code numbers.
var grpcCode = map[fault.Kind]int{
	fault.Internal:      13,
	fault.Invalid:       3,
	fault.NotFound:      5,
	fault.Conflict:      6,
	fault.TooLarge:      3,
	fault.Unprocessable: 3,
	fault.Unsupported:   3,
	fault.WrongMethod:   12,
	fault.Forbidden:     7,
	fault.Limited:       8,
	fault.Unavailable:   14,
	fault.Timeout:       4,
	fault.Canceled:      1,
	fault.Unimplemented: 12,
	fault.NoCredentials: 16,
	fault.Slow:          4,
}

// status returns the HTTP status for err.
func (f ErrorFormat) status(err error) int {
	kind := fault.KindOf(err)
	if s, ok := f.statuses[kind]; ok {
		return s
	}
	return defaultStatus[kind]
}

// write renders err and returns the status that it used.
func (f ErrorFormat) write(w http.ResponseWriter, err error) int {
	status := f.status(err)
	switch status {
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		if after := fault.RetryAfterOf(err); after > 0 || w.Header().Get("Retry-After") == "" {
			w.Header().Set("Retry-After", retryAfter(after))
		}
	case http.StatusUnauthorized: // RFC 9110 §11.6.1 demands a challenge
		if w.Header().Get("WWW-Authenticate") == "" {
			w.Header().Set("WWW-Authenticate", challenge)
		}
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if jsonErr := WriteJSON(w, status, f.body(status, err, w.Header().Get("X-Request-Id"))); jsonErr != nil {
		panic("httpd: error body cannot be encoded: " + jsonErr.Error())
	}
	return status
}

// challenge asks for a bearer token (RFC 6750 §3).
const challenge = `Bearer realm="sigstack"`

// retryAfter is a time in whole seconds (RFC 9110 §10.2.3), at least one. A day
// is as good as never.
func retryAfter(d time.Duration) string {
	d = min(max(d, time.Second), 24*time.Hour)
	return strconv.Itoa(int((d + time.Second - 1) / time.Second))
}

func restBody(status int, err error, _ string) any {
	code := fault.CodeOf(err)
	if code == 0 {
		code = status
	}
	return struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	}{code, fault.Public(err)}
}

func grpcBody(_ int, err error, requestID string) any {
	return struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		Details []any  `json:"details"`
	}{grpcCode[fault.KindOf(err)], fault.Public(err), jsonDetails(err, requestID)}
}
