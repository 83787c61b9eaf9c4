package signingtest

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// TLS is an authority of its own and a certificate by it.
type TLS struct {
	Root *x509.Certificate

	pair tls.Certificate
}

// NewTLS makes an authority, and a certificate for a host's name or IP address
// that is good until the given time.
func NewTLS(tb testing.TB, host string, start, until time.Time) TLS {
	tb.Helper()
	root, rootKey := newRoot(tb, "fake TLS authority", start)
	key := newKey(tb)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: name("fake server"), NotBefore: start, NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, root, key.Public(), rootKey)
	must(tb, err)
	return TLS{Root: root, pair: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}}
}

// Serve serves h over HTTP/2 with the certificate until the test ends, and
// returns the URL: https://127.0.0.1:PORT, whatever the certificate is for.
func (t TLS) Serve(tb testing.TB, h http.Handler) string {
	tb.Helper()
	server := httptest.NewUnstartedServer(h)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{t.pair}, MinVersion: tls.VersionTLS13}
	server.EnableHTTP2 = true
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // of clients that hang up
	server.StartTLS()
	tb.Cleanup(server.Close)
	return server.URL
}
