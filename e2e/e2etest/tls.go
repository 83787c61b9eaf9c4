package e2etest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

// trusted are the TLS authorities of all stacks that were started so far.
// Programs that are started later trust them, and so do HTTP and browsers.
var trusted authorities

// authorities is a bundle in one file, which grows.
type authorities struct {
	mu   sync.Mutex // guards the rest
	file string
	pem  []byte
}

// placeIn says where the file shall be.
func (a *authorities) placeIn(dir string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.file = filepath.Join(dir, "tls-authorities.pem")
}

// add takes a file of a kit, which need not be there in plaintext.
func (a *authorities) add(path string) error {
	more, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !OverTLS() {
		return nil
	}
	if err != nil {
		return fmt.Errorf("trust the stack: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if bytes.Contains(a.pem, more) { // a stack that was started again
		return nil
	}
	a.pem = append(slices.Clip(a.pem), more...)
	// It is replaced at once, since other tests' programs read it.
	if err := os.WriteFile(a.file+".new", a.pem, 0o600); err != nil {
		return err
	}
	return os.Rename(a.file+".new", a.file)
}

// bundle is the content of the file.
func (a *authorities) bundle() []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.pem
}

// env is what Go's, OpenSSL's and Node's programs learn the authorities from.
func (a *authorities) env() []string {
	if !OverTLS() {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return []string{"SSL_CERT_FILE=" + a.file, "NODE_EXTRA_CA_CERTS=" + a.file}
}

// dial is a connection to a server that one of the authorities vouches for.
func (a *authorities) dial(ctx context.Context, network, address string) (net.Conn, error) {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(a.bundle())
	d := tls.Dialer{Config: &tls.Config{RootCAs: pool, NextProtos: []string{"h2", "http/1.1"}, MinVersion: tls.VersionTLS12}}
	return d.DialContext(ctx, network, address)
}

// Transport returns a new transport that trusts every stack's certificates, also
// of those that are started later, and nobody else's.
func Transport() *http.Transport {
	return &http.Transport{ForceAttemptHTTP2: true, DialTLSContext: trusted.dial}
}

// HTTP speaks with every stack.
var HTTP = &http.Client{Transport: Transport()}

// Adopt does for the stack in dir, which a test runs by itself, what Start does:
// what is started from now on trusts it, and its demo password is a secret.
func Adopt(t *testing.T, dir string) {
	t.Helper()
	if err := adopt(dir); err != nil {
		t.Fatal(err)
	}
}

// AdoptTLS trusts the stack in dir, which a test runs by itself and which has no
// demo user.
func AdoptTLS(t *testing.T, dir string) {
	t.Helper()
	if err := trustStack(dir); err != nil {
		t.Fatal(err)
	}
}

func adopt(dir string) error { return errors.Join(trustStack(dir), keepDemoPassword(dir)) }

func trustStack(dir string) error { return trusted.add(filepath.Join(dir, "client", "tls-ca.crt.pem")) }

// ServerCertificate makes a certificate for this machine's loopback by a fresh
// authority, and returns it and the authority's file. It stands for a server that
// is not the stack's; browsers that are started later trust it.
func ServerCertificate(t *testing.T) (certificate tls.Certificate, authority string) {
	t.Helper()
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority of " + t.Name()},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "server of " + t.Name()},
		NotBefore: root.NotBefore, NotAfter: root.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	keys := [2]*ecdsa.PrivateKey{}
	for i := range keys {
		var err error
		if keys[i], err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, keys[0].Public(), keys[0])
	if err != nil {
		t.Fatal(err)
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, root, keys[1].Public(), keys[0])
	if err != nil {
		t.Fatal(err)
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: rootDER}))
	authority = WriteFile(t, t.TempDir(), "authority.pem", text)
	if err := trusted.add(authority); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{leafDER}, PrivateKey: keys[1]}, authority
}
