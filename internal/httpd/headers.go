package httpd

import "net/http"

// hsts tells browsers to ask this host by TLS only, for a year (RFC 6797 §6.1).
// Hosts below it are not ours to speak for.
const hsts = "max-age=31536000"

// setHeaders sets what holds for every answer: no browser guesses its type, tells
// others where it was read, or frames it. A handler may be stricter.
func (m *Mux) setHeaders(h http.Header) {
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Frame-Options", "DENY")
	if m.cfg.HSTS {
		h.Set("Strict-Transport-Security", hsts)
	}
}
