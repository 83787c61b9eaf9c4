package httpd_test

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sigstack/internal/httpd"
)

// guarded returns a mux behind a guard.
func guarded(guard httpd.Guard) *httpd.Mux {
	return httpd.NewMux(httpd.MuxConfig{
		Log: discard(), Metrics: prometheus.NewRegistry(), Now: time.Now, Guard: guard,
	})
}

// clientOf returns the address that a handler is told.
func clientOf(proxies []string, remote string, forwarded ...string) netip.Addr {
	var guard httpd.Guard
	for _, p := range proxies {
		guard.TrustedProxies = append(guard.TrustedProxies, netip.MustParsePrefix(p))
	}
	m := guarded(guard)
	var client netip.Addr
	m.Group("test", httpd.RESTErrors).Handle(http.MethodGet, "/who", 0, func(_ http.ResponseWriter, r *http.Request) error {
		client = httpd.ClientAddr(r.Context())
		return nil
	})
	r := httptest.NewRequest(http.MethodGet, "/who", nil)
	r.RemoteAddr = remote
	r.Header["X-Forwarded-For"] = forwarded
	m.ServeHTTP(httptest.NewRecorder(), r)
	return client
}

func TestClientAddr(t *testing.T) {
	trust := []string{"10.0.0.0/8", "fd00::/8"}
	tests := []struct {
		name      string
		proxies   []string
		remote    string
		forwarded []string
		want      string
	}{
		{"direct", trust, "192.0.2.1:4711", nil, "192.0.2.1"},
		{"mapped", trust, "[::ffff:192.0.2.1]:4711", nil, "192.0.2.1"},
		{"zone", trust, "[fe80::1%eth0]:4711", nil, "fe80::1"},
		{"a stranger's header", trust, "192.0.2.1:4711", []string{"198.51.100.7"}, "192.0.2.1"},
		{"no proxy is trusted", nil, "10.0.0.1:4711", []string{"198.51.100.7"}, "10.0.0.1"},
		{"one proxy", trust, "10.0.0.1:4711", []string{"198.51.100.7"}, "198.51.100.7"},
		{"the client's own header", trust, "10.0.0.1:4711", []string{"203.0.113.9, 198.51.100.7"}, "198.51.100.7"},
		{"two proxies", trust, "10.0.0.1:4711", []string{"203.0.113.9,198.51.100.7 , 10.2.3.4"}, "198.51.100.7"},
		{"over several lines", trust, "10.0.0.1:4711", []string{"203.0.113.9", "198.51.100.7", "10.2.3.4"}, "198.51.100.7"},
		{"trusted all the way", trust, "10.0.0.1:4711", []string{"10.9.9.9, 10.2.3.4"}, "10.9.9.9"},
		{"with a port", trust, "10.0.0.1:4711", []string{"198.51.100.7:1234"}, "198.51.100.7"},
		{"IPv6 in brackets", trust, "[fd00::1]:4711", []string{"[2001:db8::7]:1234"}, "2001:db8::7"},
		{"IPv6", trust, "[fd00::1]:4711", []string{"2001:db8::7"}, "2001:db8::7"},
		{"mapped in the header", trust, "10.0.0.1:4711", []string{"203.0.113.9, ::ffff:10.2.3.4"}, "203.0.113.9"},
		{"no address", trust, "10.0.0.1:4711", []string{"203.0.113.9, unknown"}, "10.0.0.1"},
		{"empty", trust, "10.0.0.1:4711", []string{""}, "10.0.0.1"},
		{"empty element", trust, "10.0.0.1:4711", []string{"203.0.113.9,,10.2.3.4"}, "10.2.3.4"},
		{"no remote address", trust, "@", []string{"203.0.113.9"}, "invalid IP"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := clientOf(tt.proxies, tt.remote, tt.forwarded...).String(); got != tt.want {
				t.Errorf("client %s, want %s", got, tt.want)
			}
		})
	}
	if a := httpd.ClientAddr(t.Context()); a.IsValid() {
		t.Errorf("outside a request: %v", a)
	}
}

// FuzzClientAddr: whatever a stranger writes, the answer is an address right of
// what a stranger can write.
func FuzzClientAddr(f *testing.F) {
	f.Add("203.0.113.9", "10.2.3.4")
	f.Add("203.0.113.9, 10.0.0.1,", "198.51.100.7")
	f.Add("[::1", "10.2.3.4, 10.2.3.5")
	f.Fuzz(func(t *testing.T, stranger, proxy string) {
		// The stranger's part ends at the proxy that was asked by 198.51.100.7.
		got := clientOf([]string{"10.0.0.0/8"}, "10.0.0.1:1", stranger, "198.51.100.7", proxy)
		known := []string{"10.0.0.1", "198.51.100.7"}
		for hop := range strings.SplitSeq(proxy, ",") {
			if a, err := netip.ParseAddr(strings.TrimSpace(hop)); err == nil {
				known = append(known, a.Unmap().WithZone("").String())
			}
			if a, err := netip.ParseAddrPort(strings.TrimSpace(hop)); err == nil {
				known = append(known, a.Addr().Unmap().WithZone("").String())
			}
		}
		if !slices.Contains(known, got.String()) {
			t.Errorf("a stranger wrote %q and is taken for %v", stranger, got)
		}
	})
}

func TestAddressKey(t *testing.T) {
	tests := []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "::ffff:192.0.2.1", true},
		{"192.0.2.1", "192.0.2.2", false},
		{"2001:db8::1", "2001:db8::ffff:1:2:3", true},
		{"2001:db8::1", "2001:db8:0:1::1", false},
		{"fe80::1%eth0", "fe80::2%eth1", true},
	}
	for _, tt := range tests {
		a, b := httpd.AddressKey(netip.MustParseAddr(tt.a)), httpd.AddressKey(netip.MustParseAddr(tt.b))
		if (a == b) != tt.same {
			t.Errorf("%s and %s: one client is %v, want %v", tt.a, tt.b, a == b, tt.same)
		}
	}
	if key := httpd.AddressKey(netip.Addr{}); key != "" {
		t.Errorf("no address has the key %q", key)
	}
}

// TestClientCertificate: only a verified one counts, and a peer's word for its
// client's.
func TestClientCertificate(t *testing.T) {
	cert, others := &x509.Certificate{}, &x509.Certificate{}
	m := guarded(httpd.Guard{})
	var got *x509.Certificate
	var client netip.Addr
	m.Group("test", httpd.RESTErrors).Handle(http.MethodGet, "/who", 0, func(_ http.ResponseWriter, r *http.Request) error {
		got, client = httpd.ClientCertificate(r.Context()), httpd.ClientAddr(r.Context())
		return nil
	})
	verified := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}, VerifiedChains: [][]*x509.Certificate{{cert}}}
	passedOn := &httpd.PeerInfo{Name: "front", Client: netip.MustParseAddr("::ffff:198.51.100.7"), Certificate: others}
	for _, tt := range []struct {
		name   string
		tls    *tls.ConnectionState
		peer   *httpd.PeerInfo
		want   *x509.Certificate
		client string
	}{
		{"plaintext", nil, nil, nil, "192.0.2.1"},
		{"none", &tls.ConnectionState{}, nil, nil, "192.0.2.1"},
		{"not verified", &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}, nil, nil, "192.0.2.1"},
		{"verified", verified, nil, cert, "192.0.2.1"},
		{"passed on by a peer", verified, passedOn, others, "198.51.100.7"},
		{"a peer's own", verified, &httpd.PeerInfo{Name: "ca"}, cert, "192.0.2.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/who", nil)
			r.TLS = tt.tls
			if tt.peer != nil {
				r = r.WithContext(httpd.WithPeer(r.Context(), *tt.peer))
			}
			m.ServeHTTP(httptest.NewRecorder(), r)
			if got != tt.want || client.String() != tt.client {
				t.Errorf("certificate %p of %v, want %p of %s", got, client, tt.want, tt.client)
			}
		})
	}
	if httpd.ClientCertificate(t.Context()) != nil {
		t.Error("outside a request there is a certificate")
	}
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
