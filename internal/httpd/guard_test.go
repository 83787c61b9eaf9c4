package httpd_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"sigstack/internal/fault"
	"sigstack/internal/httpd"
	"sigstack/internal/limit"
)

// guardedMux has a route of every effect, of which "s" is the service.
func guardedMux(t *testing.T, guard httpd.Guard) (*httpd.Mux, *prometheus.Registry) {
	t.Helper()
	reg := prometheus.NewRegistry()
	m := httpd.NewMux(httpd.MuxConfig{Log: discard(), Metrics: reg, Now: time.Now, Guard: guard})
	for path, effect := range map[string]httpd.Effect{
		"/public": httpd.Public, "/read": httpd.Read, "/write": httpd.Write, "/login": httpd.Login,
	} {
		g := m.Group("s", httpd.RESTErrors).As(effect)
		g.Handle(http.MethodPost, path, 1<<20, echo)
		g.Handle(http.MethodGet, path, 0, echo)
	}
	m.Group("s", httpd.GRPCErrors).Handle(http.MethodPost, "/grpc", 1<<20, echo)
	return m, reg
}

// ask sends a request from an address.
func ask(m http.Handler, path, from string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader("body"))
	r.RemoteAddr = netip.AddrPortFrom(netip.MustParseAddr(from), 4711).String()
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	m.ServeHTTP(w, r)
	return w
}

func wantRefused(t *testing.T, reg *prometheus.Registry, cause httpd.Cause, want int) {
	t.Helper()
	expected := fmt.Sprintf(`# HELP sigstack_refused_total Requests and connections refused for a limit or for want of credentials, by cause.
# TYPE sigstack_refused_total counter
sigstack_refused_total{cause=%q} %d
`, string(cause), want)
	if err := testutil.GatherAndCompare(reg, strings.NewReader(expected), "sigstack_refused_total"); err != nil {
		t.Error(err)
	}
}

// TestWritesPerAddress: a burst from one address is cut, and nobody else's.
func TestWritesPerAddress(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	m, reg := guardedMux(t, httpd.Guard{Writes: limit.NewKeyed(0.4, 2, 100, func() time.Time { return now })})
	for range 2 {
		if w := ask(m, "/write", "192.0.2.1"); w.Code != http.StatusOK {
			t.Fatalf("within the burst: %d %s", w.Code, w.Body)
		}
	}
	tests := []struct {
		path, from string
		status     int
		body       string
	}{
		{"/write", "192.0.2.1", 429, `{"code":429,"message":"too many requests from this address, try again later"}`},
		{"/login", "192.0.2.1", 429, `{"code":429,`},
		{"/grpc", "192.0.2.1", 429, `{"code":8,"message":"too many requests from this address, try again later","details":[]}`},
		{"/read", "192.0.2.1", 200, ":body"},
		{"/public", "192.0.2.1", 200, ":body"},
		{"/write", "192.0.2.2", 200, ":body"},
	}
	for _, tt := range tests {
		w := ask(m, tt.path, tt.from)
		if w.Code != tt.status || !strings.HasPrefix(w.Body.String(), tt.body) {
			t.Errorf("%s from %s: %d %s, want %d %s", tt.path, tt.from, w.Code, w.Body, tt.status, tt.body)
		}
		if after := w.Header().Get("Retry-After"); (tt.status == 429) != (after == "3") { // 2.5 s
			t.Errorf("%s from %s: Retry-After %q", tt.path, tt.from, after)
		}
	}
	wantRefused(t, reg, httpd.ByAddress, 3)
	if w := ask(m, "/write", "192.0.2.1", asPeer(httpd.PeerInfo{Name: "ca"})); w.Code != http.StatusOK {
		t.Errorf("a process of the stack is limited: %d", w.Code)
	}
	passed := httpd.PeerInfo{Name: "front", Client: netip.MustParseAddr("192.0.2.1")}
	if w := ask(m, "/write", "198.51.100.1", asPeer(passed)); w.Code != http.StatusTooManyRequests {
		t.Errorf("a client is not limited behind a peer: %d", w.Code)
	}
	now = now.Add(3 * time.Second)
	if w := ask(m, "/write", "192.0.2.1"); w.Code != http.StatusOK {
		t.Errorf("after Retry-After: %d %s", w.Code, w.Body)
	}
}

func asPeer(p httpd.PeerInfo) func(*http.Request) {
	return func(r *http.Request) { *r = *r.WithContext(httpd.WithPeer(r.Context(), p)) }
}

// TestAccess tries every way to be let in with every credential.
func TestAccess(t *testing.T) {
	bearer := func(token string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", token) }
	}
	cert := &x509.Certificate{}
	certificate := func(r *http.Request) {
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}, VerifiedChains: [][]*x509.Certificate{{cert}}}
	}
	unverified := func(r *http.Request) { r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}} }
	none := func(*http.Request) {}
	peer := asPeer(httpd.PeerInfo{Name: "ca"})
	behind := asPeer(httpd.PeerInfo{Name: "front", Client: netip.MustParseAddr("192.0.2.1")})
	behindWith := asPeer(httpd.PeerInfo{Name: "front", Client: netip.MustParseAddr("192.0.2.1"), Certificate: cert})
	const missing, invalid = `Bearer realm="sigstack"`, `Bearer realm="sigstack", error="invalid_token"`

	tests := []struct {
		name      string
		access    httpd.Access
		with      func(*http.Request)
		status    int
		says      string
		challenge string
	}{
		{"anonymous", httpd.Anonymous, none, 200, "", ""},
		{"bearer", httpd.Bearer, bearer("Bearer good"), 200, "", ""},
		{"bearer, other case", httpd.Bearer, bearer("bearer good"), 200, "", ""},
		{"bearer missing", httpd.Bearer, none, 401, "needs an ID token", missing},
		{"another scheme", httpd.Bearer, bearer("Basic good"), 401, "needs an ID token", missing},
		{"bearer wrong", httpd.Bearer, bearer("Bearer bad"), 401, "not accepted: the token has expired", invalid},
		{"bearer asked, certificate shown", httpd.Bearer, certificate, 401, "needs an ID token", missing},
		{"bearer whose issuer is away", httpd.Bearer, bearer("Bearer away"), 503, "cannot be reached", ""},
		{"mtls", httpd.MTLS, certificate, 200, "", ""},
		{"mtls missing", httpd.MTLS, none, 403, "needs a TLS client certificate", ""},
		{"mtls not verified", httpd.MTLS, unverified, 403, "needs a TLS client certificate", ""},
		{"mtls asked, token shown", httpd.MTLS, bearer("Bearer good"), 403, "needs a TLS client certificate", ""},
		{"mtls behind a peer", httpd.MTLS, behindWith, 200, "", ""},
		{"mtls missing behind a peer", httpd.MTLS, behind, 403, "needs a TLS client certificate", ""},
		{"internal", httpd.Internal, peer, 200, "", ""},
		{"internal for a stranger", httpd.Internal, none, 403, "stack's own services only", ""},
		{"internal for a stranger with everything", httpd.Internal, func(r *http.Request) { certificate(r); bearer("Bearer good")(r) }, 403, "own services only", ""},
		{"internal behind a peer", httpd.Internal, behindWith, 403, "own services only", ""},
		{"a peer shows nothing", httpd.Bearer, peer, 200, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, reg := guardedMux(t, httpd.Guard{
				Access: func(service string, e httpd.Effect) httpd.Access {
					if service == "s" && e == httpd.Write {
						return tt.access
					}
					return httpd.Anonymous
				},
				Bearer: func(_ context.Context, token string) error {
					switch token {
					case "good":
						return nil
					case "away":
						return fault.New(fault.Unavailable, "the issuer cannot be reached")
					}
					return fault.New(fault.Invalid, "the token has expired")
				},
			})
			w := ask(m, "/write", "192.0.2.1", tt.with)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.says) || w.Header().Get("WWW-Authenticate") != tt.challenge {
				t.Errorf("%d %s, challenge %q, want %d %s, challenge %q", w.Code, w.Body, w.Header().Get("WWW-Authenticate"), tt.status, tt.says, tt.challenge)
			}
			if w := ask(m, "/read", "192.0.2.1"); w.Code != http.StatusOK {
				t.Errorf("another effect is refused: %d", w.Code)
			}
			if tt.status != http.StatusOK {
				wantRefused(t, reg, httpd.ByAccess, 1)
			}
			if w := ask(m, "/grpc", "192.0.2.1"); tt.access == httpd.Bearer && !strings.HasPrefix(w.Body.String(), `{"code":16,`) {
				t.Errorf("gRPC body %s, want code 16", w.Body)
			}
		})
	}
}

// TestClientCertificateIsJudgedAtEachRequest: a connection's handshake is not the
// last word.
func TestClientCertificateIsJudgedAtEachRequest(t *testing.T) {
	good := true
	m, _ := guardedMux(t, httpd.Guard{
		Access:    func(string, httpd.Effect) httpd.Access { return httpd.MTLS },
		StillGood: func(*tls.ConnectionState) bool { return good },
	})
	cert := new(x509.Certificate)
	state := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}, VerifiedChains: [][]*x509.Certificate{{cert}}}
	for _, want := range []int{200, 403, 200} {
		good = want == 200
		if w := ask(m, "/write", "192.0.2.1", func(r *http.Request) { r.TLS = state }); w.Code != want {
			t.Errorf("still good: %v: %d, want %d", good, w.Code, want)
		}
	}
}

// TestPublicIsPublic: no policy closes what is for everybody.
func TestPublicIsPublic(t *testing.T) {
	m, _ := guardedMux(t, httpd.Guard{
		Writes: limit.NewKeyed(1e-9, 1, 1, time.Now),
		Access: func(string, httpd.Effect) httpd.Access { return httpd.Internal },
	})
	for range 3 {
		if w := ask(m, "/public", "192.0.2.1"); w.Code != http.StatusOK {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
	for _, path := range []string{"/read", "/write", "/login"} {
		if w := ask(m, path, "192.0.2.2"); w.Code == http.StatusOK {
			t.Errorf("%s is let in", path)
		}
	}
}

// TestStopped: who writes is told first that a service is stopped, whoever they are;
// reading goes on.
func TestStopped(t *testing.T) {
	m, _ := guardedMux(t, httpd.Guard{
		Writes: limit.NewKeyed(1e-9, 1, 1, time.Now),
		Access: func(string, httpd.Effect) httpd.Access { return httpd.Anonymous },
		Stopped: func(service, path string) error {
			return fault.Newf(fault.Unavailable, "%s is stopped at %s", service, path)
		},
	})
	for range 3 { // no limit is used up
		if w := ask(m, "/write", "192.0.2.1"); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "is stopped at /write") {
			t.Errorf("write: %d %s; want 503 and the reason", w.Code, w.Body)
		}
	}
	for _, path := range []string{"/read", "/public"} {
		if w := ask(m, path, "192.0.2.1"); w.Code != http.StatusOK {
			t.Errorf("%s: %d %s; want 200", path, w.Code, w.Body)
		}
	}
}

// TestNobodyVerifies: a policy without its verifier is our own mistake.
func TestNobodyVerifies(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a route asks for tokens that nobody verifies")
		}
	}()
	guardedMux(t, httpd.Guard{Access: func(string, httpd.Effect) httpd.Access { return httpd.Bearer }})
}

// TestRequestsAtOnce: one too many is sent away, whatever it is.
func TestRequestsAtOnce(t *testing.T) {
	m, reg := guardedMux(t, httpd.Guard{Requests: limit.NewBudget(1)})
	inside, leave := make(chan struct{}), make(chan struct{})
	m.Group("s", httpd.RESTErrors).Handle(http.MethodPost, "/slow", 0, func(http.ResponseWriter, *http.Request) error {
		close(inside)
		<-leave
		return nil
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		ask(m, "/slow", "192.0.2.1")
	}()
	<-inside
	if w := ask(m, "/public", "192.0.2.2"); w.Code != 429 || w.Header().Get("Retry-After") != "1" {
		t.Errorf("second request at once: %d, Retry-After %q, want 429, 1", w.Code, w.Header().Get("Retry-After"))
	}
	close(leave)
	<-done
	if w := ask(m, "/public", "192.0.2.2"); w.Code != 200 {
		t.Errorf("when the first is done: %d, want 200", w.Code)
	}
	wantRefused(t, reg, httpd.ByRequests, 1)
}

// TestOpenInATree: requests that are public in a tree that is not.
func TestOpenInATree(t *testing.T) {
	m, _ := guardedMux(t, httpd.Guard{Writes: limit.NewKeyed(1e-9, 1, 10, time.Now)})
	open := func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/page") }
	m.Group("s", httpd.RESTErrors).As(httpd.Login).Open(open).
		HandleTree([]string{http.MethodPost}, "/tree/", 0, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for path, want := range map[string]int{"/tree/page": 200, "/tree/login": 429} {
		ask(m, path, "192.0.2.1")
		ask(m, path, "192.0.2.1")
		if w := ask(m, path, "192.0.2.1"); w.Code != want {
			t.Errorf("%s again and again: %d, want %d", path, w.Code, want)
		}
	}
}

// TestDeniedIsTold of requests to write that lacked credentials, and of no others;
// what it cannot tell is answered in its place.
func TestDeniedIsTold(t *testing.T) {
	var told []string
	var fail error
	m, _ := guardedMux(t, httpd.Guard{
		Access: func(string, httpd.Effect) httpd.Access { return httpd.Bearer },
		Bearer: func(_ context.Context, token string) error {
			if token != "good" {
				return fault.New(fault.Invalid, "bad token")
			}
			return nil
		},
		Denied: func(_ context.Context, service string, cause error) error {
			told = append(told, service+": "+fault.Public(cause))
			return fail
		},
	})
	with := func(token string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
	}
	for _, tt := range []struct {
		path, token string
		fail        error
		status      int
		told        string
	}{
		{"/write", "good", nil, 200, ""},
		{"/write", "bad", nil, 401, "s: the bearer token is not accepted: bad token"},
		{"/read", "bad", nil, 401, ""},
		{"/public", "bad", nil, 200, ""},
		{"/write", "bad", fault.New(fault.Unavailable, "no record"), 503, "s: the bearer token is not accepted: bad token"},
	} {
		told, fail = nil, tt.fail
		w := ask(m, tt.path, "192.0.2.1", with(tt.token))
		if got := strings.Join(told, ","); w.Code != tt.status || got != tt.told {
			t.Errorf("%s with a %s token: status %d, told %q; want %d, %q", tt.path, tt.token, w.Code, got, tt.status, tt.told)
		}
	}
}
