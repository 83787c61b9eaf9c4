package tsa_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sigstack/internal/httpd"
	"sigstack/internal/pki"
	"sigstack/services/tsa"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// testClock is a clock that tests move.
type testClock struct {
	mu sync.Mutex
	at time.Time // guarded by mu
}

func (c *testClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *testClock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// hierarchy is a timestamp chain, leaf first, and the leaf's key.
type hierarchy struct {
	chain []*x509.Certificate
	key   *ecdsa.PrivateKey
}

func newKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newHierarchy(t testing.TB, curve elliptic.Curve) hierarchy {
	t.Helper()
	rootKey, interKey, leafKey := newKey(t, curve), newKey(t, curve), newKey(t, curve)
	name := func(cn string) pkix.Name { return pkix.Name{CommonName: cn, Organization: []string{"sigstack test"}} }
	root, err := pki.NewRoot(rootKey, name("tsa root"), start.Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	inter, err := pki.NewIntermediate(root, rootKey, interKey.Public(), name("tsa intermediate"), x509.ExtKeyUsageTimeStamping, start.Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := pki.NewTimestampLeaf(inter, interKey, leafKey.Public(), name("tsa"), start.Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return hierarchy{[]*x509.Certificate{leaf, inter, root}, leafKey}
}

// authority is a service behind the real mux.
type authority struct {
	hierarchy
	clock *testClock
	tsa   *tsa.Service
	mux   *httpd.Mux
}

func newAuthority(t testing.TB, h hierarchy, change func(*tsa.Config)) *authority {
	t.Helper()
	a := &authority{hierarchy: h, clock: &testClock{at: start}}
	log, reg := slog.New(slog.DiscardHandler), prometheus.NewRegistry()
	cfg := tsa.Config{Chain: h.chain, Signer: h.key, URL: "http://tsa.test", Now: a.clock.now, Log: log, Metrics: reg}
	if change != nil {
		change(&cfg)
	}
	var err error
	if a.tsa, err = tsa.New(cfg); err != nil {
		t.Fatal(err)
	}
	a.mux = httpd.NewMux(httpd.MuxConfig{Log: log, Metrics: reg, Now: a.clock.now})
	a.tsa.Mount(a.mux)
	return a
}

const (
	derType  = "application/timestamp-query"
	jsonType = "application/json"
	path     = "/api/v1/timestamp"
)

func (a *authority) post(contentType string, body []byte) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(context.Background(), http.MethodPost, path, bytes.NewReader(body))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	rec := httptest.NewRecorder()
	a.mux.ServeHTTP(rec, r)
	return rec
}

// granted posts a request that must be granted and returns the response.
func (a *authority) granted(t testing.TB, contentType string, body []byte) []byte {
	t.Helper()
	rec := a.post(contentType, body)
	if rec.Code != http.StatusCreated || rec.Header().Get("Content-Type") != "application/timestamp-reply" {
		t.Fatalf("answer %d %s: %s", rec.Code, rec.Header().Get("Content-Type"), rec.Body)
	}
	return rec.Body.Bytes()
}

// digest hashes data.
func digest(h crypto.Hash, data []byte) []byte {
	sum := h.New()
	sum.Write(data)
	return sum.Sum(nil)
}

// opensslVerify has openssl check a response against the DER query it answers,
// trusting the root alone.
func opensslVerify(t *testing.T, h hierarchy, der, response []byte) {
	t.Helper()
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Fatal("openssl is needed to verify timestamps and is not on PATH: run make deps")
	}
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	root := len(h.chain) - 1
	cmd := exec.CommandContext(t.Context(), openssl, "ts", "-verify",
		"-queryfile", write("query", der), "-in", write("response", response),
		"-CAfile", write("root.pem", pki.CertificatesPEM(h.chain[root:])),
		"-untrusted", write("chain.pem", pki.CertificatesPEM(h.chain[:root])),
		"-attime", strconv.FormatInt(start.Unix(), 10))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("openssl refuses the response: %v\n%s", err, out)
	}
}

// policyOID is the default policy.
var policyOID = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 2}
