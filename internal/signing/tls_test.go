package signing_test

import (
	"errors"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sigstack/internal/pki"
	"sigstack/internal/signing"
	"sigstack/internal/signing/signingtest"
)

const loopback = "127.0.0.1"

// newTLS is an authority and its certificate for a host, good for an hour.
func newTLS(tb testing.TB, host string) signingtest.TLS {
	tb.Helper()
	return signingtest.NewTLS(tb, host, now().Add(-time.Hour), now().Add(time.Hour))
}

// kitOverTLS is the kit of s, from a directory with the given TLS authorities.
func kitOverTLS(t *testing.T, s *signingtest.Stack, authorities ...[]byte) *signing.Kit {
	t.Helper()
	trustedRoot, config := s.KitFiles(t)
	dir := t.TempDir()
	write := func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("trusted_root.json", trustedRoot)
	write("signing_config.v0.2.json", config)
	for _, pem := range authorities {
		write("tls-ca.crt.pem", pem)
	}
	kit, err := signing.LoadKit(dir)
	if err != nil {
		t.Fatal(err)
	}
	return kit
}

func TestKitVouchesForItsServices(t *testing.T) {
	tls := newTLS(t, loopback)
	s := signingtest.NewOverTLS(t, now, tls)
	var http2, others atomic.Int32 // requests; two services are asked side by side
	s.Intercept = func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Proto == "HTTP/2.0" {
			http2.Add(1)
		} else {
			others.Add(1)
		}
		return false
	}
	session, err := signing.NewSession(signing.SessionConfig{
		Kit: kitOverTLS(t, s, pemOf(tls.Root)), Token: signing.StaticToken(s.Token(signingtest.Email)),
		Now: now, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := session.Sign(t.Context(), strings.NewReader(artifact)); err != nil {
		t.Fatal(err)
	}
	if http2.Load() == 0 || others.Load() != 0 {
		t.Errorf("got %d requests in HTTP/2.0 and %d in others, want HTTP/2.0 alone", http2.Load(), others.Load())
	}
}

// TestKitDoesNotVouchForOthers: a certificate by the kit's authority, on a host
// that the signing config does not name.
func TestKitDoesNotVouchForOthers(t *testing.T) {
	s := signingtest.NewOverTLS(t, now, newTLS(t, loopback))
	tls := newTLS(t, "localhost")
	client, err := kitOverTLS(t, s, pemOf(tls.Root)).HTTPClient()
	if err != nil {
		t.Fatal(err)
	}
	url := strings.Replace(tls.Serve(t, http.NotFoundHandler()), loopback, "localhost", 1)
	_, err = signing.OIDC{Issuer: url, HTTP: client}.Password(t.Context(), "u", "p")
	wantDistrusted(t, err, "its TLS certificate is by an authority that is not trusted here")
}

func wantDistrusted(t *testing.T, err error, why string) {
	t.Helper()
	var unreachable *signing.UnreachableError
	if !errors.As(err, &unreachable) || !strings.Contains(err.Error(), why) {
		t.Errorf("got %v, want an *UnreachableError with %q", err, why)
	}
	if err != nil && strings.Contains(err.Error(), "attempts") {
		t.Errorf("got %v, want no second attempt", err)
	}
}

func TestDistrust(t *testing.T) {
	good, stranger := newTLS(t, loopback), newTLS(t, loopback)
	elsewhere := newTLS(t, "127.0.0.9")
	old := signingtest.NewTLS(t, loopback, now().Add(-2*time.Hour), now().Add(-time.Hour))
	tests := []struct {
		name      string
		server    signingtest.TLS
		trusted   signing.Authorities
		why, next string
	}{
		{"nobody's", good, nil, `is by an authority that is not trusted here, "CN=fake TLS authority,O=TEST ONLY"`, "--client, --tls-ca or the variable SSL_CERT_FILE"},
		{"another's of the same name", good, signing.Authorities{stranger.Root}, `not trusted here, "CN=fake TLS authority,O=TEST ONLY"`, "tls-ca.crt.pem of the stack's kit"},
		{"for another host", elsewhere, signing.Authorities{elsewhere.Root}, "not for this host: x509: certificate is valid for 127.0.0.9, not 127.0.0.1", "use the URL by which the stack calls itself"},
		{"expired", old, signing.Authorities{old.Root}, "not valid now", "set this machine's clock"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			url := tt.server.Serve(t, http.NotFoundHandler())
			client, err := tt.trusted.HTTPClient(url)
			if err != nil {
				t.Fatal(err)
			}
			_, err = signing.OIDC{Issuer: url, HTTP: client}.Password(t.Context(), "u", "p")
			wantDistrusted(t, err, tt.why)
			if err != nil && !strings.Contains(err.Error(), tt.next) {
				t.Errorf("got %v, want it to say %q", err, tt.next)
			}
			repo := newTUFRepo(t)
			mirror := signing.TUF{URL: url, Root: repo.files["1.root.json"], Cache: t.TempDir(), HTTP: client, Now: now}
			_, err = mirror.Kit(t.Context())
			wantDistrusted(t, err, tt.why)
			if err != nil && !strings.Contains(err.Error(), tt.next) {
				t.Errorf("by TUF: got %v, want it to say %q", err, tt.next)
			}
		})
	}
}

// TestAuthoritiesComeBesideTheSystems runs in a process of its own, since the
// system's authorities, here those of SSL_CERT_FILE, are read once.
func TestAuthoritiesComeBesideTheSystems(t *testing.T) {
	if os.Getenv("SIGSTACK_TEST_OWN") != "" {
		askBesideTheSystems(t)
		return
	}
	own, system, systems := newTLS(t, "localhost"), newTLS(t, loopback), newTLS(t, "localhost")
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	local := func(t signingtest.TLS, tb testing.TB) string {
		return strings.Replace(t.Serve(tb, http.NotFoundHandler()), loopback, "localhost", 1)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(),
		"SSL_CERT_FILE="+write("system.pem", slices.Concat(pemOf(system.Root), pemOf(systems.Root))),
		"SIGSTACK_TEST_OWN="+write("own.pem", pemOf(own.Root)),
		"SIGSTACK_TEST_URLS="+strings.Join([]string{local(own, t), local(systems, t), system.Serve(t, http.NotFoundHandler())}, " "))
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "asked 3") {
		t.Errorf("got %v, want three answers:\n%s", err, out)
	}
}

// askBesideTheSystems asks three servers: one with a certificate by our own
// authority, one on the same host by the system's, and one on another by that.
func askBesideTheSystems(t *testing.T) {
	data, err := os.ReadFile(os.Getenv("SIGSTACK_TEST_OWN"))
	if err != nil {
		t.Fatal(err)
	}
	own, err := signing.ParseAuthorities("own.pem", data)
	if err != nil {
		t.Fatal(err)
	}
	urls := strings.Fields(os.Getenv("SIGSTACK_TEST_URLS"))
	client, err := own.HTTPClient(urls[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, url := range urls {
		resp, err := client.Get(url) //nolint:noctx // a test's own server
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Logf("asked %d", len(urls))
}

func TestParseAuthorities(t *testing.T) {
	root := newTLS(t, loopback).Root
	for name, data := range map[string]string{
		"nothing":         "",
		"no PEM":          "hello",
		"a key":           "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
		"half a file":     string(pemOf(root)) + "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
		"text between":    "hello\n" + string(pemOf(root)),
		"something after": string(pemOf(root)) + "hello",
	} {
		if got, err := signing.ParseAuthorities("file", []byte(data)); err == nil || !strings.Contains(err.Error(), "from file") {
			t.Errorf("%s: got %d authorities, %v, want an error that names the file", name, len(got), err)
		}
	}
	got, err := signing.ParseAuthorities("file", []byte(string(pemOf(root))+string(pemOf(root))))
	if err != nil || len(got) != 2 || !got[0].Equal(root) || string(pki.CertificatesPEM(got[:1])) != string(pemOf(root)) {
		t.Errorf("got %d authorities, %v, want the two of the file", len(got), err)
	}
}
