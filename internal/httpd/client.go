package httpd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/netip"
	"strings"
)

// ClientAddr returns the address of the client that ctx's request comes from, as
// far as it is known for sure: behind trusted proxies and peers the one that they
// vouch for. It is invalid outside a request and for clients without an address.
// IPv4 addresses are never mapped ones, and there are no zones.
func ClientAddr(ctx context.Context) netip.Addr {
	if seen, ok := ctx.Value(observedKey).(*observed); ok {
		return seen.client
	}
	return netip.Addr{}
}

// ClientCertificate returns the certificate that the client of ctx's request
// showed, that was verified, and that still counted when the request came; nil:
// none.
func ClientCertificate(ctx context.Context) *x509.Certificate {
	if seen, ok := ctx.Value(observedKey).(*observed); ok {
		return seen.certificate
	}
	return nil
}

// AddressKey is what counts as one client where limits count by address: an
// address of IPv4, and of IPv6 the /64 that a single host has to itself.
func AddressKey(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	b := a.Unmap().WithZone("").AsSlice()
	if len(b) == 16 {
		b = b[:8]
	}
	return string(b)
}

// PeerInfo is what is known of a request that came from another process of the
// same stack, whose key was checked.
type PeerInfo struct {
	// Name of the peer.
	Name string
	// Client for which the peer passes the request on; invalid: the request is
	// the peer's own.
	Client netip.Addr
	// Certificate of that client, verified by the peer; nil: none.
	Certificate *x509.Certificate
}

// WithPeer returns a context for a request that came from a peer. Only who has
// authenticated the peer may call it, before the request reaches the Mux.
func WithPeer(ctx context.Context, p PeerInfo) context.Context {
	return context.WithValue(ctx, peerKey, p)
}

// Peer returns the peer that ctx's request came from, if it did come from one.
func Peer(ctx context.Context) (PeerInfo, bool) {
	p, ok := ctx.Value(peerKey).(PeerInfo)
	return p, ok
}

// identify fills in who sent r.
func (m *Mux) identify(seen *observed, r *http.Request) {
	if p, ok := Peer(r.Context()); ok && p.Client.IsValid() {
		seen.client, seen.certificate = p.Client.Unmap().WithZone(""), p.Certificate
		return
	}
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 && m.stillGood(r.TLS) {
		seen.certificate = r.TLS.VerifiedChains[0][0]
	}
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return // a socket in the file system has no address
	}
	seen.client = m.behindProxies(remote.Addr().Unmap().WithZone(""), r.Header["X-Forwarded-For"])
}

// stillGood reports whether a client's certificate that was verified when the
// connection began counts for this request.
func (m *Mux) stillGood(state *tls.ConnectionState) bool {
	return m.cfg.Guard.StillGood == nil || m.cfg.Guard.StillGood(state)
}

// behindProxies follows X-Forwarded-For from its end, to which each proxy adds
// whom it was asked by. What stands left of the first address that is no trusted
// proxy's was written by a stranger.
func (m *Mux) behindProxies(addr netip.Addr, forwarded []string) netip.Addr {
	for i := len(forwarded) - 1; i >= 0; i-- {
		for rest, more := forwarded[i], true; more; {
			if !m.trusted(addr) {
				return addr
			}
			var hop string
			comma := strings.LastIndexByte(rest, ',')
			hop, rest, more = rest[comma+1:], rest[:max(comma, 0)], comma >= 0
			next, ok := parseHop(strings.TrimSpace(hop))
			if !ok {
				return addr
			}
			addr = next
		}
	}
	return addr
}

// parseHop reads an address, which some proxies write with a port.
func parseHop(s string) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(s)
	if err != nil {
		withPort, err := netip.ParseAddrPort(s)
		if err != nil {
			return netip.Addr{}, false
		}
		addr = withPort.Addr()
	}
	return addr.Unmap().WithZone(""), true
}

func (m *Mux) trusted(addr netip.Addr) bool {
	for _, p := range m.cfg.Guard.TrustedProxies {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}
