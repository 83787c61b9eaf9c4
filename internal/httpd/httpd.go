// Package httpd mounts services on one listener: routing with a table of every
// route, who asks and what is asked of them, bounds on connections, requests and
// bodies, error bodies, panics, metrics, readiness. What a request means is left
// to the service that owns the route.
package httpd

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
)

// HandlerFunc answers a request, or returns an error before anything was
// written; the route's ErrorFormat renders it.
type HandlerFunc func(w http.ResponseWriter, r *http.Request) error

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
	if rec, ok := w.(*recorder); ok && !rec.room(len(body)) {
		return
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// BearerToken returns the token of the Authorization header (RFC 6750 §2.1), ""
// if there is none. The scheme's case does not matter (RFC 9110 §11.1).
func BearerToken(h http.Header) string {
	scheme, token, ok := strings.Cut(h.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}
