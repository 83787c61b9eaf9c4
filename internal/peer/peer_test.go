package peer_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sigstack/internal/fault"
	"sigstack/internal/httpd"
	"sigstack/internal/peer"
)

// process is a key that a test's process has.
type process struct {
	identity peer.Identity
	pin      peer.Pin
	key      crypto.Signer
}

func newProcess(t *testing.T) process {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	id, err := peer.NewIdentity(key)
	if err != nil {
		t.Fatal(err)
	}
	return process{id, peer.PinOf(spki), key}
}

// serve runs h behind the callers' door and returns its address.
func serve(t *testing.T, p process, callers []peer.Caller, h http.Handler) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	srv := &http.Server{
		Handler: peer.Handler(callers, log, h), Protocols: protocols, ReadHeaderTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(peer.Listen(l, p.identity, callers)) }()
	t.Cleanup(func() {
		if err := errors.Join(srv.Close(), <-done); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("server: %v", err)
		}
	})
	return l.Addr().String()
}

func anything(string, string) bool { return true }

func caller(p process, name string, relays bool) peer.Caller {
	return peer.Caller{Name: name, Pin: p.pin, May: anything, Relays: relays}
}

// newMux says who is asking.
func newMux() *httpd.Mux {
	m := httpd.NewMux(httpd.MuxConfig{Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(), Now: time.Now})
	m.Group("test", httpd.RESTErrors).Handle(http.MethodGet, "/who", 0, func(w http.ResponseWriter, r *http.Request) error {
		p, _ := httpd.Peer(r.Context())
		text := "none"
		if cert := httpd.ClientCertificate(r.Context()); cert != nil {
			text = cert.Subject.CommonName
		}
		httpd.WriteBytes(w, http.StatusOK, "text/plain", []byte(strings.Join([]string{
			p.Name, p.Client.String(), httpd.ClientAddr(r.Context()).String(), text, httpd.RequestID(r.Context()), r.Host, r.Proto,
		}, " ")))
		return nil
	})
	return m
}

func get(t *testing.T, rt http.RoundTripper, path string, header http.Header) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://stack.example"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestOnlyPinnedKeysTalk(t *testing.T) {
	server, front, stranger := newProcess(t), newProcess(t), newProcess(t)
	address := serve(t, server, []peer.Caller{caller(front, "front", true)}, newMux())
	for _, tt := range []struct {
		name string
		id   process
		pin  peer.Pin
		ok   bool
	}{
		{"both pinned", front, server.pin, true},
		{"a stranger's key", stranger, server.pin, false},
		{"the server's own key", server, server.pin, false},
		{"another server than pinned", front, stranger.pin, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := peer.NewClient("ca", address, tt.pin, tt.id.identity)
			defer c.Close()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://stack.example/who", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := c.RoundTrip(req)
			if err == nil {
				err = resp.Body.Close()
			} else if fault.KindOf(err) != fault.Unavailable {
				t.Errorf("error is of kind %v, want Unavailable: %v", fault.KindOf(err), err)
			}
			if (err == nil) != tt.ok {
				t.Errorf("error %v, want success to be %v", err, tt.ok)
			}
		})
	}
}

// TestStrangersGetNoAnswer: not one byte of HTTP, whatever TLS they speak.
func TestStrangersGetNoAnswer(t *testing.T) {
	server, front := newProcess(t), newProcess(t)
	asked := false
	address := serve(t, server, []peer.Caller{caller(front, "front", true)}, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	// A certificate with the front's key in it, which the stranger does not have.
	stolen := &x509.Certificate{SerialNumber: big.NewInt(1)}
	other := newProcess(t)
	der, err := x509.CreateCertificate(rand.Reader, stolen, stolen, front.key.Public(), other.key)
	if err != nil {
		t.Fatal(err)
	}
	for name, conf := range map[string]*tls.Config{
		"no certificate":           {MinVersion: tls.VersionTLS13},
		"TLS 1.2":                  {MaxVersion: tls.VersionTLS12},
		"own certificate":          {MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{selfSigned(t, other)}},
		"certificate, not its key": {MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: other.key}}},
	} {
		t.Run(name, func(t *testing.T) {
			conf.InsecureSkipVerify = true
			conf.NextProtos = []string{"http/1.1", "h2"}
			conn, err := (&tls.Dialer{Config: conf}).DialContext(t.Context(), "tcp", address)
			if err != nil {
				return // refused in the handshake
			}
			defer conn.Close() //nolint:errcheck // a test's
			// In TLS 1.3 the client has finished before the server has judged it.
			_, _ = io.WriteString(conn, "GET /who HTTP/1.1\r\nHost: x\r\n\r\n")
			answer, err := io.ReadAll(conn)
			if err == nil || len(answer) > 0 {
				t.Errorf("answered %q (%v), want an alert", answer, err)
			}
		})
	}
	plain, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close() //nolint:errcheck // a test's
	_, _ = io.WriteString(plain, "GET /who HTTP/1.1\r\nHost: x\r\n\r\n")
	if answer, _ := io.ReadAll(plain); bytes.Contains(answer, []byte("stack")) || asked {
		t.Errorf("plaintext was answered %q, a handler was reached: %v", answer, asked)
	}
}

func selfSigned(t *testing.T, p process) tls.Certificate {
	t.Helper()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, p.key.Public(), p.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: p.key}
}

func TestRights(t *testing.T) {
	server, ca := newProcess(t), newProcess(t)
	may := func(method, path string) bool { return method == http.MethodGet && path == "/who" }
	address := serve(t, server, []peer.Caller{{Name: "ca", Pin: ca.pin, May: may}}, newMux())
	c := peer.NewClient("logs", address, server.pin, ca.identity)
	defer c.Close()
	if status, body := get(t, c, "/who", nil); status != http.StatusOK {
		t.Errorf("allowed path: %d %s", status, body)
	}
	for _, path := range []string{"/healthz", "/who/", "//who", "/x/../who"} {
		if status, body := get(t, c, path, nil); status != http.StatusForbidden {
			t.Errorf("%s: %d %s, want 403", path, status, body)
		}
	}
}

// TestWhoIsBelieved: a relay tells who the client is, another process does not.
func TestWhoIsBelieved(t *testing.T) {
	server, front, ca, keeper := newProcess(t), newProcess(t), newProcess(t), newProcess(t)
	keeps := caller(keeper, "keeper", true)
	keeps.Own = func(method, path string) bool { return method == http.MethodGet && path == "/who" }
	callers := []peer.Caller{
		{Name: "front", Pin: front.pin, May: anything, Relays: true, Own: func(string, string) bool { return false }},
		caller(ca, "ca", false), keeps,
	}
	address := serve(t, server, callers, newMux())
	shown := selfSigned(t, ca).Certificate[0]
	claims := func(addr, cert string) http.Header {
		return http.Header{"X-Forwarded-For": {addr}, "Sigstack-Client-Certificate": {cert}, "X-Request-Id": {"id"}}
	}
	for _, tt := range []struct {
		name   string
		id     process
		header http.Header
		want   string // prefix of the answer
	}{
		{"front", front, claims("192.0.2.7", ""), "front 192.0.2.7 192.0.2.7 none id stack.example HTTP/2.0"},
		{"front, with a certificate", front, claims("192.0.2.7", base64.StdEncoding.EncodeToString(shown)), "front 192.0.2.7 192.0.2.7  id"},
		{"front, with a broken certificate", front, claims("192.0.2.7", "AAAA"), "front 192.0.2.7 192.0.2.7 none"},
		// Never its own request: those are let in unasked.
		{"front, without an address", front, claims("unknown", ""), "front :: :: none"},
		{"front, for itself where it may not", front, nil, "front :: :: none"},
		{"keeper, for itself", keeper, nil, "keeper invalid IP 127.0.0.1 none"},
		{"keeper, for a client", keeper, claims("192.0.2.7", ""), "keeper 192.0.2.7 192.0.2.7 none"},
		{"keeper, for a client without an address", keeper, claims("", ""), "keeper :: :: none"},
		{"ca claims a client", ca, claims("192.0.2.7", base64.StdEncoding.EncodeToString(shown)), "ca invalid IP 127.0.0.1 none"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := peer.NewClient("logs", address, server.pin, tt.id.identity)
			defer c.Close()
			if _, body := get(t, c, "/who", tt.header); !strings.HasPrefix(body, tt.want) {
				t.Errorf("taken for %q, want %q", body, tt.want)
			}
		})
	}
}

func TestParsePin(t *testing.T) {
	pin := newProcess(t).pin
	if again, err := peer.ParsePin(pin.String()); err != nil || again != pin {
		t.Errorf("%v: %v, %v", pin, again, err)
	}
	for _, bad := range []string{"", "ab", pin.String() + "00", strings.Repeat("x", 64)} {
		if p, err := peer.ParsePin(bad); err == nil {
			t.Errorf("%q is taken for %v", bad, p)
		}
	}
}

func FuzzParsePin(f *testing.F) {
	f.Add(strings.Repeat("0a", 32))
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := peer.ParsePin(s); err == nil && p.String() != strings.ToLower(s) {
			t.Errorf("%q reads back as %v", s, p)
		}
	})
}

// fronted is a front whose one route passes on to a process with handler h.
func fronted(t *testing.T, h http.HandlerFunc) (front *httptest.Server, client *peer.Client) {
	t.Helper()
	server, id := newProcess(t), newProcess(t)
	address := serve(t, server, []peer.Caller{caller(id, "front", true)}, h)
	client = peer.NewClient("ca", address, server.pin, id.identity)
	t.Cleanup(client.Close)
	log := slog.New(slog.DiscardHandler)
	m := httpd.NewMux(httpd.MuxConfig{Log: log, Metrics: prometheus.NewRegistry(), Now: time.Now})
	g := m.Group("test", httpd.RESTErrors)
	proxy := peer.NewProxy(client, nil, log)
	g.Handle(http.MethodGet, "/x", 0, proxy.Handle)
	g.Handle(http.MethodPost, "/x", 1000, proxy.Handle)
	front = httptest.NewServer(m)
	t.Cleanup(front.Close)
	return front, client
}

type answer struct {
	StatusCode      int
	Header, Trailer http.Header
}

func ask(t *testing.T, method, url string, header http.Header, body string) (answer, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, resp.Trailer}, string(text)
}

func TestProxyPassesOn(t *testing.T) {
	var seen *http.Request
	var info httpd.PeerInfo
	front, _ := fronted(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		seen = r.Clone(context.Background())
		info, _ = httpd.Peer(r.Context())
		w.Header().Set("X-Request-Id", "the process's own")
		w.Header().Set("Strict-Transport-Security", "max-age=1")
		w.Header().Set("Location", "/elsewhere")
		w.Header().Set("Trailer", "Grpc-Status")
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write(append([]byte("got "), body...))
		w.Header().Set("Grpc-Status", "0")
	})
	resp, body := ask(t, http.MethodPost, front.URL+"/x?a=1;b=%zz", http.Header{
		"X-Forwarded-For": {"203.0.113.1"}, "X-Request-Id": {"abc"}, "Authorization": {"Bearer t"},
		"Sigstack-Client-Certificate": {"forged"}, "Te": {"trailers"},
	}, "hello")
	if resp.StatusCode != http.StatusCreated || body != "got hello" || resp.Header.Get("Location") != "/elsewhere" {
		t.Errorf("answer %d %q %v", resp.StatusCode, body, resp.Header)
	}
	if got := resp.Header["X-Request-Id"]; len(got) != 1 || got[0] != "abc" {
		t.Errorf("request ids %q, want the front's alone", got)
	}
	if got := resp.Header.Get("Strict-Transport-Security"); got != "" {
		t.Errorf("HSTS of the process behind got through: %q", got)
	}
	if got := resp.Trailer.Get("Grpc-Status"); got != "0" {
		t.Errorf("trailers %v, want grpc-status 0", resp.Trailer)
	}
	if seen.URL.RawQuery != "a=1;b=%zz" || seen.Header.Get("Authorization") != "Bearer t" || seen.Header.Get("X-Request-Id") != "abc" ||
		seen.Host != strings.TrimPrefix(front.URL, "http://") || seen.Header.Get("Te") != "trailers" {
		t.Errorf("the process saw %s of %s with %v", seen.URL, seen.Host, seen.Header)
	}
	if info.Name != "front" || !info.Client.IsLoopback() || info.Certificate != nil || seen.Header.Get("X-Forwarded-For") != "" {
		t.Errorf("the process took the client for %+v, headers %v", info, seen.Header)
	}
}

func TestProxyRefusesByItself(t *testing.T) {
	asked := 0
	front, client := fronted(t, func(http.ResponseWriter, *http.Request) { asked++ })
	if resp, body := ask(t, http.MethodPost, front.URL+"/x", nil, strings.Repeat("x", 1001)); resp.StatusCode != http.StatusRequestEntityTooLarge || asked > 0 {
		t.Errorf("body over the limit: %d %s; the process was asked %d times", resp.StatusCode, body, asked)
	}
	if resp, _ := ask(t, http.MethodPost, front.URL+"/x", nil, strings.Repeat("x", 1000)); resp.StatusCode != http.StatusOK || asked != 1 {
		t.Errorf("body at the limit: %d, asked %d times", resp.StatusCode, asked)
	}
	if client.Name() != "ca" {
		t.Errorf("name %q", client.Name())
	}
}

// TestADeadProcessIsUnavailable, and one that comes back is found again.
func TestADeadProcessIsUnavailable(t *testing.T) {
	server, id := newProcess(t), newProcess(t)
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	client := peer.NewClient("ca", address, server.pin, id.identity)
	defer client.Close()
	m := httpd.NewMux(httpd.MuxConfig{Log: log, Metrics: prometheus.NewRegistry(), Now: time.Now})
	m.Group("test", httpd.GRPCErrors).Handle(http.MethodGet, "/x", 0, peer.NewProxy(client, nil, log).Handle)
	front := httptest.NewServer(m)
	defer front.Close()
	resp, body := ask(t, http.MethodGet, front.URL+"/x", nil, "")
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" || !strings.Contains(body, `"code":14`) || strings.Contains(body, address) {
		t.Errorf("answer %d %s %v, want 503 in the service's own words, without the address", resp.StatusCode, body, resp.Header)
	}
}
