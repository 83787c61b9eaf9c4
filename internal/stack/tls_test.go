package stack_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/httpd"
	"sigstack/internal/keys"
	"sigstack/internal/pki"
	"sigstack/internal/stack"
)

// kitRoots are what the kit in dir tells clients to trust.
func kitRoots(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "client", "tls-ca.crt.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(data) {
		t.Fatalf("the kit's authorities are %q", data)
	}
	return roots
}

// answered is an answer that was read whole.
type answered struct {
	status, protocol int
	header           http.Header
	body             string
	tls              *tls.ConnectionState
}

// ask gets url from the listener at address, whatever host url has.
func ask(t *testing.T, transport *http.Transport, address, url string) (answered, error) {
	t.Helper()
	if address != "" {
		transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		}
	}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return answered{}, err
	}
	body, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return answered{resp.StatusCode, resp.ProtoMajor, resp.Header, string(body), resp.TLS}, nil
}

func tlsTransport(roots *x509.CertPool) *http.Transport {
	return &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots}}
}

// TestInternalCA makes a stack with an https URL and asks both of its listeners.
func TestInternalCA(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp, URL: "https://stack.test"})
	chain, err := os.ReadFile(filepath.Join(dir, "keys", "tls-ca.chain.pem"))
	if err != nil {
		t.Fatal(err)
	}
	certs, err := pki.ParseCertificatesPEM(chain)
	if err != nil || len(certs) != 2 || !strings.Contains(certs[0].Subject.CommonName, "TEST ONLY") {
		t.Fatalf("chain %v, %v; want the authority and its root, TEST ONLY", certs, err)
	}
	for _, name := range []string{"keys/tls-ca.key", "offline/tls-root.key"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v, want mode 0600", name, info, err)
		}
	}
	r := start(t, options(dir, config.ProfileUp))
	roots := kitRoots(t, dir)
	resp, err := ask(t, tlsTransport(roots), r.Address(), "https://stack.test/")
	if err != nil || resp.status != http.StatusOK || resp.protocol != 2 || resp.tls.Version != tls.VersionTLS13 {
		t.Fatalf("start page: %+v, %v; want it by HTTP/2 and TLS 1.3", resp, err)
	}
	for name, want := range map[string]string{
		"Strict-Transport-Security": "max-age=31536000",
		"X-Content-Type-Options":    "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY",
	} {
		if got := resp.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if _, err := ask(t, tlsTransport(roots), r.Address(), "https://elsewhere.test/"); !errors.As(err, new(x509.HostnameError)) {
		t.Errorf("asked as another host: got %v, want a refusal", err)
	}
	if _, err := ask(t, tlsTransport(x509.NewCertPool()), r.Address(), "https://stack.test/"); !errors.As(err, new(x509.UnknownAuthorityError)) {
		t.Errorf("asked without the kit: got %v, want a refusal", err)
	}
	if resp, err := ask(t, &http.Transport{}, r.Address(), "http://stack.test/"); err != nil || resp.status != http.StatusBadRequest {
		t.Errorf("asked in plaintext: %+v %v, want 400", resp, err)
	}
	metrics, err := os.ReadFile(filepath.Join(dir, "run", "metrics"))
	if err != nil {
		t.Fatal(err)
	}
	page, err := ask(t, tlsTransport(roots), "", "https://"+strings.TrimSpace(string(metrics))+"/metrics")
	if err != nil || !strings.Contains(page.body, `sigstack_tls_expiry_seconds{certificate="server"}`) {
		t.Errorf("metrics: %v, %.300q", err, page.body)
	}
	if _, rep := r.report(t); rep.Services["tls"].Status != httpd.OK || !strings.HasPrefix(rep.Services["tls"].Detail, "certificate until") {
		t.Errorf("readiness says %+v of TLS", rep.Services["tls"])
	}
	r.stop()
	if err := <-r.done; err != nil {
		t.Error(err)
	}
}

// TestUnencryptedHTTP2: gRPC clients in front of a plaintext listener speak it
// right away.
func TestUnencryptedHTTP2(t *testing.T) {
	r := start(t, options(initDir(t, stack.InitConfig{Profile: config.ProfileUp}), config.ProfileUp))
	for _, major := range []int{1, 2} {
		transport := &http.Transport{Protocols: new(http.Protocols)}
		transport.Protocols.SetHTTP1(major == 1)
		transport.Protocols.SetUnencryptedHTTP2(major == 2)
		resp, err := ask(t, transport, r.Address(), "http://stack.test/ping")
		if err != nil || resp.protocol != major || resp.header.Get("Strict-Transport-Security") != "" {
			t.Errorf("HTTP/%d: %+v, %v", major, resp, err)
		}
	}
}

// TestHSTSSparesLocalhost: browsers would hold every server there to it.
func TestHSTSSparesLocalhost(t *testing.T) {
	for url, want := range map[string]bool{
		"https://localhost:8080": false, "https://stack.test": true, "https://192.0.2.1": true, "http://stack.test": false,
	} {
		dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp, URL: url, TLS: stack.InitTLS{BehindProxy: true}})
		r := start(t, options(dir, config.ProfileUp))
		resp, err := ask(t, &http.Transport{}, r.Address(), "http://stack.test/ping")
		if err != nil || (resp.header.Get("Strict-Transport-Security") != "") != want {
			t.Errorf("%s: %v, %v, want HSTS: %v", url, resp, err, want)
		}
		r.stop()
		if err := <-r.done; err != nil {
			t.Error(err)
		}
	}
}

// TestTLSFiles serves an operator's certificate and takes the next one.
func TestTLSFiles(t *testing.T) {
	// Another stack's authority stands for the operator's.
	operator := initDir(t, stack.InitConfig{Profile: config.ProfileUp, URL: "https://stack.test"})
	files := config.TLSFiles{
		Certificate: filepath.Join(t.TempDir(), "tls.crt"), Key: filepath.Join(t.TempDir(), "tls.key"),
		Authorities: filepath.Join(operator, "client", "tls-ca.crt.pem"),
	}
	first := issuePair(t, operator, "stack.test", files)
	cfg := stack.InitConfig{Profile: config.ProfileUp, URL: "https://stack.test", TLS: stack.InitTLS{Files: &files}}
	dir := initDir(t, cfg)
	if _, err := os.Stat(filepath.Join(dir, "keys", "tls-ca.key")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an authority was made too: %v", err)
	}
	s, err := stack.Open(t.Context(), options(dir, config.ProfileUp))
	if err != nil {
		t.Fatal(err)
	}
	r := run(t, s)
	shown := func() []byte {
		t.Helper()
		resp, err := ask(t, tlsTransport(kitRoots(t, dir)), r.Address(), "https://stack.test/ping")
		if err != nil {
			t.Fatal(err)
		}
		return resp.tls.PeerCertificates[0].Raw
	}
	if !bytes.Equal(shown(), first) {
		t.Error("the listener shows another certificate than the file's")
	}
	second := issuePair(t, operator, "stack.test", files)
	if err := s.ReloadTLS(t.Context()); err != nil || !bytes.Equal(shown(), second) {
		t.Errorf("after a reload: %v; want the new certificate", err)
	}
	issuePair(t, operator, "localhost", files)
	if err := s.ReloadTLS(t.Context()); err == nil || !strings.Contains(err.Error(), "not for the host of the URL") || !bytes.Equal(shown(), second) {
		t.Errorf("after a certificate for another host: %v; want a refusal and the old one", err)
	}
	if _, rep := r.report(t); rep.Status != httpd.Warn || rep.Services["tls"].Status != httpd.Warn {
		t.Errorf("readiness says %+v, want a warning", rep)
	}
	r.stop()
	if err := <-r.done; err != nil {
		t.Error(err)
	}
	if _, err := stack.Open(t.Context(), options(dir, config.ProfileUp)); err == nil || !strings.Contains(err.Error(), "start tls:") {
		t.Errorf("start with that certificate: %v, want a refusal", err)
	}
	cfg.Dir, cfg.Listen, cfg.Now, cfg.Log = filepath.Join(t.TempDir(), "data"), "127.0.0.1:0", time.Now, options("", "").Log
	if err := stack.Init(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "not for the host of the URL") {
		t.Errorf("init with that certificate: %v, want a refusal", err)
	}
	if _, err := os.Stat(cfg.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory was made: %v", err)
	}
}

// TestServeByTLS: with TLS any address will do, but not for a test stack; and a
// stack whose clients would meet another certificate never gets ready.
func TestServeByTLS(t *testing.T) {
	pass := []byte("a passphrase")
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileServe, Passphrase: pass, URL: "https://example.com", Listen: "0.0.0.0:0"})
	opts := options(dir, config.ProfileServe)
	opts.Passphrase = pass
	runUntilReady(t, opts)
	neverReady(t, opts, "tlog", "start check failed: TLS of the listener")

	opts = options(initDir(t, stack.InitConfig{Profile: config.ProfileUp, URL: "https://example.com"}), config.ProfileUp)
	neverReady(t, opts, "ca", "by an authority that is not trusted here")
	opts.Listen = "0.0.0.0:0"
	if _, err := stack.Open(t.Context(), opts); err == nil || !strings.Contains(err.Error(), "loopback only") {
		t.Errorf("test stack on every address: %v, want a refusal", err)
	}
}

// elsewhere is a listener whose address is a stranger's.
type elsewhere struct {
	net.Listener
	address net.Addr
}

func (e elsewhere) Addr() net.Addr { return e.address }

// neverReady runs a stack whose address leads to a stranger with a certificate
// for example.com, and demands what readiness says then.
func neverReady(t *testing.T, opts stack.Options, service, want string) {
	t.Helper()
	opts.Listener = elsewhere{newListener(t), newTLSIssuer(t).Listener.Addr()}
	ctx, cancel := context.WithCancel(t.Context())
	opts.Log = slog.New(onMessage("start check failed", cancel))
	s, err := stack.Open(ctx, opts)
	if err != nil {
		t.Fatal(err)
	}
	err = s.Run(ctx, func() { t.Error("got ready") })
	if _, rep := report(t, s.Handler()); err != nil || !strings.Contains(rep.Services[service].Detail, want) {
		t.Errorf("%v, readiness %+v, want %q", err, rep.Services[service], want)
	}
}

// issuePair has the authority of the stack in dir certify host, and writes the
// certificate, which it returns, and its key to files.
func issuePair(t *testing.T, dir, host string, files config.TLSFiles) []byte {
	t.Helper()
	ca, err := keys.Open(filepath.Join(dir, "keys"), nil).Load("tls-ca")
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "keys", "tls-ca.chain.pem"))
	if err != nil {
		t.Fatal(err)
	}
	chain, err := pki.ParseCertificatesPEM(data)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := pki.NewTLSLeaf(chain[0], ca, key.Public(), host, time.Now().Add(-time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for path, data := range map[string][]byte{
		files.Certificate: pki.CertificatesPEM([]*x509.Certificate{leaf, chain[0]}),
		files.Key:         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
	} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return leaf.Raw
}

// TestWantTLS: a command that asks for the other way than the directory's is
// refused.
func TestWantTLS(t *testing.T) {
	yes, no := true, false
	plain := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	secure := initDir(t, stack.InitConfig{Profile: config.ProfileUp, URL: "https://stack.test"})
	for _, tt := range []struct {
		dir  string
		tls  *bool
		want string
	}{
		{plain, nil, ""},
		{plain, &no, ""},
		{plain, &yes, "was made without TLS"},
		{secure, nil, ""},
		{secure, &yes, ""},
		{secure, &no, "was made with TLS"},
	} {
		opts := options(tt.dir, config.ProfileUp)
		opts.TLS = tt.tls
		s, err := stack.Open(t.Context(), opts)
		if (tt.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got %v, want %q", err, tt.want)
		}
		if err == nil {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestInitTLSRefusals name the flag to change.
func TestInitTLSRefusals(t *testing.T) {
	files := &config.TLSFiles{Certificate: "/nonexistent/crt", Key: "/nonexistent/key"}
	for _, tt := range []struct {
		url  string
		tls  stack.InitTLS
		want string
	}{
		{"http://stack.test", stack.InitTLS{Files: files}, "needs an https URL"},
		{"https://stack.test", stack.InitTLS{Files: files, BehindProxy: true}, "either a proxy"},
		{"https://stack.test", stack.InitTLS{Files: files}, "no such file"},
		{"https://stäck.test", stack.InitTLS{}, "ASCII form"},
	} {
		cfg := testInit(filepath.Join(t.TempDir(), "data"))
		cfg.URL, cfg.TLS = tt.url, tt.tls
		if err := stack.Init(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s %+v: got %v, want %q", tt.url, tt.tls, err, tt.want)
		}
	}
}

// TestTheKitFollowsTheAuthorities: what clients are to trust comes from the
// directory at each start.
func TestTheKitFollowsTheAuthorities(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp, URL: "https://stack.test"})
	path := filepath.Join(dir, "client", "tls-ca.crt.pem")
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("changed"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := stack.Open(t.Context(), options(dir, config.ProfileUp))
	if err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(path)
	if err := errors.Join(err, s.Close()); err != nil || !slices.Equal(before, after) {
		t.Errorf("kit holds %q, %v; want the authority again", after, err)
	}
}
