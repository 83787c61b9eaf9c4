package stack_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/pki"
	"sigstack/internal/stack"
)

// TestRemovedClientAuthority: a client's open connection does not outlive the
// authority of its certificate.
func TestRemovedClientAuthority(t *testing.T) {
	files := newCertificateFiles(t)
	files.renew()
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp, URL: "https://localhost:8443", TLS: stack.InitTLS{
		Files: &config.TLSFiles{Certificate: files.path("tls.crt"), Key: files.path("tls.key"), Authorities: files.path("ca.pem")},
	}})
	clients := newCertificateFiles(t)
	files.write("clients.pem", pki.CertificatesPEM([]*x509.Certificate{clients.root}))
	edit(t, dir, func(c *config.Config) {
		c.TLS.ClientCA = files.path("clients.pem")
		c.Access.Read = config.AccessMTLS
	})
	s := serve(t, options(dir, config.ProfileUp))
	key := newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(7), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, clients.root, key.Public(), clients.key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(files.root)
	dialed := 0
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			dialed++
			return new(net.Dialer).DialContext(ctx, network, s.Address())
		},
		TLSClientConfig: &tls.Config{
			RootCAs: roots, MinVersion: tls.VersionTLS13,
			Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		},
	}}
	defer client.CloseIdleConnections()
	want := func(status int) {
		t.Helper()
		resp, err := client.Get("https://localhost:8443/api/v1/log")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil || resp.StatusCode != status {
			t.Errorf("%d %v, want %d", resp.StatusCode, err, status)
		}
	}
	want(http.StatusOK)
	files.write("clients.pem", pki.CertificatesPEM([]*x509.Certificate{files.root}))
	if _, err := s.Reload(t.Context(), "hangup"); err != nil {
		t.Fatal(err)
	}
	want(http.StatusForbidden)
	if dialed != 1 {
		t.Errorf("%d connections, want one that stays", dialed)
	}
}

// TestKitFollowsAuthorities: when an operator's certificates lead to another
// authority, the kit that is served says so at once.
func TestKitFollowsAuthorities(t *testing.T) {
	files := newCertificateFiles(t)
	files.renew()
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp, URL: "https://localhost:8443", TLS: stack.InitTLS{
		Files: &config.TLSFiles{Certificate: files.path("tls.crt"), Key: files.path("tls.key"), Authorities: files.path("ca.pem")},
	}})
	s := serve(t, options(dir, config.ProfileUp))
	served := func() string {
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/client/tls-ca.crt.pem", nil))
		return w.Body.String()
	}
	before := served()
	if want := string(pki.CertificatesPEM([]*x509.Certificate{files.root})); before != want {
		t.Fatalf("the kit has %s, want %s", before, want)
	}
	files.renew()
	if _, err := s.Reload(t.Context(), "hangup"); err != nil {
		t.Fatal(err)
	}
	if after := served(); after != before {
		t.Errorf("another certificate of the same authority changed the kit: %s", after)
	}
	next := newCertificateFiles(t)
	files.root, files.key = next.root, next.key
	files.renew()
	want := pki.CertificatesPEM([]*x509.Certificate{next.root})
	files.write("ca.pem", want)
	if _, err := s.Reload(t.Context(), "hangup"); err != nil {
		t.Fatal(err)
	}
	if after := served(); after != string(want) {
		t.Errorf("the kit has %s, want %s", after, want)
	}
}
