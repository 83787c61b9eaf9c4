// Package httpd mounts services on one listener: routing with a table of every
// route, request ids, body limits, error bodies, panics, metrics, readiness.
// What a request means is left to the service that owns the route.
package httpd

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"

	"sigstack/internal/fault"
)

// HandlerFunc answers a request, or returns an error before anything was
// written; the route's ErrorFormat renders it.
type HandlerFunc func(w http.ResponseWriter, r *http.Request) error

// ReadBody reads the whole request body. The error is fault.TooLarge past the
// route's limit and fault.Invalid when the client breaks off.
func ReadBody(r *http.Request) ([]byte, error) {
	var buf bytes.Buffer
	if n := r.ContentLength; n > 0 && n <= 1<<20 {
		buf.Grow(int(n) + bytes.MinRead)
	}
	if _, err := buf.ReadFrom(r.Body); err != nil {
		return nil, BodyError(err)
	}
	return buf.Bytes(), nil
}

// BodyError classifies an error of reading a request body.
func BodyError(err error) error {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return fault.Newf(fault.TooLarge, "request body is over the limit of %d bytes", tooLarge.Limit)
	}
	return fault.Wrap(fault.Invalid, err, "request body could not be read")
}

// WriteJSON answers with v as compact JSON and one newline, HTML characters
// unescaped. An error means that v cannot be encoded; nothing was written then.
func WriteJSON(w http.ResponseWriter, status int, v any) error {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	WriteBytes(w, status, "application/json", buf.Bytes())
	return nil
}

// WriteBytes answers with body. That the client went away meanwhile is nobody's
// error: the access log shows the bytes that were written.
func WriteBytes(w http.ResponseWriter, status int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = io.Copy(w, bytes.NewReader(body))
}
