package tlsconf_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sigstack/internal/pki"
	"sigstack/internal/tlsconf"
)

const host = "stack.test"

// authority issues certificates as an operator's own would.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func newAuthority(tb testing.TB) authority {
	tb.Helper()
	key := newKey(tb)
	cert, err := pki.NewRoot(key, pkix.Name{Organization: []string{"test"}, CommonName: "root"}, time.Now().Add(-time.Hour))
	if err != nil {
		tb.Fatal(err)
	}
	return authority{cert, key}
}

func newKey(tb testing.TB) crypto.Signer {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// issue returns a certificate for key, changed before it is signed, as PEM.
func (a authority) issue(tb testing.TB, key crypto.Signer, change func(*x509.Certificate)) []byte {
	tb.Helper()
	serial, err := pki.NewSerial()
	if err != nil {
		tb.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial, DNSNames: []string{host}, Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if change != nil {
		change(tmpl)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, key.Public(), a.key)
	if err != nil {
		tb.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func (a authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

func keyPEM(tb testing.TB, key crypto.Signer) []byte {
	tb.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func write(tb testing.TB, path string, data []byte) {
	tb.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		tb.Fatal(err)
	}
}

// files writes a pair into a new directory and names it.
func (a authority) files(tb testing.TB, change func(*x509.Certificate)) tlsconf.Files {
	tb.Helper()
	dir := tb.TempDir()
	f := tlsconf.Files{Certificate: filepath.Join(dir, "tls.crt"), Key: filepath.Join(dir, "tls.key")}
	a.replace(tb, f, change)
	return f
}

// replace writes a new pair, the certificate first.
func (a authority) replace(tb testing.TB, f tlsconf.Files, change func(*x509.Certificate)) {
	tb.Helper()
	key := newKey(tb)
	write(tb, f.Certificate, a.issue(tb, key, change))
	write(tb, f.Key, keyPEM(tb, key))
}

// internal returns an authority as init makes it, for host.
func internal(tb testing.TB, host string, start time.Time) *tlsconf.Authority {
	tb.Helper()
	root, signer := newKey(tb), newKey(tb)
	name := func(cn string) pkix.Name { return pkix.Name{Organization: []string{"test"}, CommonName: cn} }
	rootCert, err := pki.NewRoot(root, name("TLS root"), start)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := pki.NewTLSIntermediate(rootCert, root, signer.Public(), name("TLS CA"), host, start)
	if err != nil {
		tb.Fatal(err)
	}
	return &tlsconf.Authority{Chain: []*x509.Certificate{cert, rootCert}, Signer: signer}
}

// config is a Config of the real clock, to be completed.
func config(tb testing.TB) (tlsconf.Config, *logs) {
	tb.Helper()
	l := new(logs)
	return tlsconf.Config{
		Host: host, MinVersion: tls.VersionTLS13, Interval: 5 * time.Millisecond,
		Now: time.Now, Log: slog.New(slog.NewTextHandler(l, nil)), Metrics: prometheus.NewRegistry(),
	}, l
}

// logs gathers what is logged.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), s)
}

func newSource(tb testing.TB, cfg tlsconf.Config) *tlsconf.Source {
	tb.Helper()
	s, err := tlsconf.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// run runs s until the test ends.
func run(tb testing.TB, s *tlsconf.Source) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Errorf("run ended with %v, want nil", err)
		}
	})
}

// shake shakes hands and returns what the client saw.
func shake(tb testing.TB, server, client *tls.Config) (tls.ConnectionState, error) {
	tb.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		tb.Fatal(err)
	}
	defer closed(tb, l)
	served := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			_, err = conn.Write([]byte{1}) // the client learns here that its certificate was taken
			err = errors.Join(err, conn.Close())
		}
		served <- err
	}()
	conn, err := tls.Dial("tcp", l.Addr().String(), client)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	_, err = io.ReadFull(conn, make([]byte, 1))
	state := conn.ConnectionState()
	return state, errors.Join(err, conn.Close(), <-served)
}

// closed closes c, the test's own.
func closed(tb testing.TB, c io.Closer) {
	tb.Helper()
	if err := c.Close(); err != nil {
		tb.Error(err)
	}
}

// serial is that of the certificate shown now.
func serial(s *tlsconf.Source) *big.Int { return s.Chain()[0].SerialNumber }

// eventually waits for what another goroutine does soon.
func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("waited in vain for: %s", what)
		}
	}
}
