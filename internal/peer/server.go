package peer

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"log/slog"
	"net"
	"net/http"
	"net/netip"

	"sigstack/internal/httpd"
)

// Headers in which a relay says for whom it asks: the client's address, and the
// certificate that the client has shown (DER in base64) if it was verified.
const (
	forwardedFor      = "X-Forwarded-For"
	clientCertificate = "Sigstack-Client-Certificate"
)

// Caller is a process that may call this one.
type Caller struct {
	Name string
	Pin  Pin
	// May says what it may ask; the path is as it was sent, unescaped.
	May func(method, path string) bool
	// Relays: it passes on what clients ask, and is believed who they are.
	Relays bool
	// Own says what of a relay's requests is its own if it names no client; nil:
	// nothing. Whatever it passes on names one.
	Own func(method, path string) bool
}

// own reports whether a relay asks for itself.
func (c Caller) own(r *http.Request) bool {
	return c.Own != nil && len(r.Header[forwardedFor]) == 0 && c.Own(r.Method, r.URL.Path)
}

// find compares with every caller, in constant time each.
func find(callers []Caller, pin Pin) (found Caller, ok bool) {
	for _, c := range callers {
		if c.Pin.equal(pin) {
			found, ok = c, true
		}
	}
	return found, ok
}

// Listen wraps l: its connections are those of callers alone. A handshake with
// anybody else fails, and no request of theirs is read.
func Listen(l net.Listener, id Identity, callers []Caller) net.Listener {
	return tls.NewListener(l, id.ServerConfig(callers))
}

// ServerConfigFor is ServerConfig for callers that come and go, known is asked at each
// handshake, and have few large requests: a connection is of HTTP/1.1 if they know it.
func (id Identity) ServerConfigFor(known func(Pin) bool) *tls.Config {
	c := id.serverConfig(known)
	c.NextProtos = []string{"http/1.1", "h2"}
	return c
}

func (id Identity) serverConfig(known func(Pin) bool) *tls.Config {
	c := id.config(known)
	c.ClientAuth = tls.RequireAnyClientCert
	return c
}

// Handler answers with next what a caller may ask, and refuses the rest. The
// context of a request has an httpd.PeerInfo: with the client, if a relay passes
// the request on, and nobody else is believed one. Requests must come from a
// listener of Listen.
func Handler(callers []Caller, log *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, ok := callerOf(r, callers)
		if !ok || !caller.May(r.Method, r.URL.Path) {
			log.WarnContext(r.Context(), "refused a peer what it may not ask", slog.String("peer", caller.Name))
			http.Error(w, "this process may not ask that", http.StatusForbidden)
			return
		}
		info := httpd.PeerInfo{Name: caller.Name}
		if caller.Relays && !caller.own(r) {
			info.Client, info.Certificate = clientOf(r.Header)
		}
		for _, name := range []string{forwardedFor, clientCertificate} {
			r.Header.Del(name)
		}
		next.ServeHTTP(w, r.WithContext(httpd.WithPeer(r.Context(), info)))
	})
}

// unknown is the address of a client that has none: what a relay passes on is never
// its own.
var unknown = netip.IPv6Unspecified()

// clientOf reads what a relay says of a client. A certificate that cannot be read
// counts as none.
func clientOf(h http.Header) (netip.Addr, *x509.Certificate) {
	addr, err := netip.ParseAddr(h.Get(forwardedFor))
	if err != nil {
		return unknown, nil
	}
	der, err := base64.StdEncoding.DecodeString(h.Get(clientCertificate))
	if err != nil || len(der) == 0 {
		return addr, nil
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return addr, nil
	}
	return addr, cert
}

func callerOf(r *http.Request, callers []Caller) (Caller, bool) {
	if r.TLS == nil {
		return Caller{}, false
	}
	pin, err := pinOf(*r.TLS)
	if err != nil {
		return Caller{}, false
	}
	return find(callers, pin)
}
