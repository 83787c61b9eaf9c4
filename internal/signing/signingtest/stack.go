// Package signingtest offers fakes of a stack's services to the tests of clients:
// a certificate authority, CT log, Rekor v1 log, timestamp authority and OIDC
// issuer behind one httptest server. Their crypto is real and their bytes follow
// the contracts, but they check nothing of what they are sent and keep no state;
// the product's own services are tested elsewhere.
package signingtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"sigstack/internal/pki"
	"sigstack/internal/trust"
)

// Stack is a running fake.
type Stack struct {
	URL  string // base of all services
	Keys Keys
	Now  func() time.Time // the services' clock

	// Intercept, if set, sees every request first and may answer it by itself;
	// it then returns true. Set it before the first request.
	Intercept func(w http.ResponseWriter, r *http.Request) bool

	since time.Time // start of all windows: two kits of one stack are the same

	mu     sync.Mutex // guards leaves, logins and calls
	leaves [][32]byte // of the log
	bodies [][]byte
	logins map[string]login // by code
	calls  map[string]int   // requests by path
}

// Keys are the secrets of a stack. Stacks that share all but one of them make
// signatures that differ in that one fact.
type Keys struct {
	CA  Authority // intermediate and root
	CT  *ecdsa.PrivateKey
	Log *ecdsa.PrivateKey
	TSA Authority // leaf, intermediate and root
}

// Authority is a certificate chain, lowest first, and the lowest one's key.
type Authority struct {
	Key   *ecdsa.PrivateKey
	Chain []*x509.Certificate
}

// treeID is the log's; contract rekor-v1 §3 wants a positive one.
const treeID = 3904496407287907110

// NewKeys makes the keys of a stack that begins at start.
func NewKeys(tb testing.TB, start time.Time) Keys {
	tb.Helper()
	return Keys{CA: NewCA(tb, start), CT: newKey(tb), Log: newKey(tb), TSA: NewTSA(tb, start)}
}

// NewCA makes a certificate authority with one intermediate.
func NewCA(tb testing.TB, start time.Time) Authority {
	tb.Helper()
	root, rootKey := newRoot(tb, "fake CA", start)
	key := newKey(tb)
	cert, err := pki.NewIntermediate(root, rootKey, key.Public(), name("fake CA intermediate"), x509.ExtKeyUsageCodeSigning, start)
	must(tb, err)
	return Authority{Key: key, Chain: []*x509.Certificate{cert, root}}
}

// NewTSA makes a timestamp authority with one intermediate.
func NewTSA(tb testing.TB, start time.Time) Authority {
	tb.Helper()
	root, rootKey := newRoot(tb, "fake TSA", start)
	middleKey, key := newKey(tb), newKey(tb)
	middle, err := pki.NewIntermediate(root, rootKey, middleKey.Public(), name("fake TSA intermediate"), x509.ExtKeyUsageTimeStamping, start)
	must(tb, err)
	leaf, err := pki.NewTimestampLeaf(middle, middleKey, key.Public(), name("fake TSA leaf"), start)
	must(tb, err)
	return Authority{Key: key, Chain: []*x509.Certificate{leaf, middle, root}}
}

// New starts a stack with fresh keys, valid since an hour ago.
func New(tb testing.TB, now func() time.Time) *Stack {
	tb.Helper()
	return NewWith(tb, now, NewKeys(tb, now().Add(-time.Hour)))
}

// NewWith starts a stack with the given keys. It ends with the test.
func NewWith(tb testing.TB, now func() time.Time, keys Keys) *Stack {
	tb.Helper()
	return start(tb, now, keys, func(h http.Handler) string {
		server := httptest.NewServer(h)
		tb.Cleanup(server.Close)
		return server.URL
	})
}

// NewOverTLS is New for a stack that speaks TLS.
func NewOverTLS(tb testing.TB, now func() time.Time, t TLS) *Stack {
	tb.Helper()
	return start(tb, now, NewKeys(tb, now().Add(-time.Hour)), func(h http.Handler) string { return t.Serve(tb, h) })
}

// start makes a stack that serve serves.
func start(tb testing.TB, now func() time.Time, keys Keys, serve func(http.Handler) (url string)) *Stack {
	tb.Helper()
	s := &Stack{Keys: keys, Now: now, since: now().Add(-time.Hour), logins: map[string]login{}, calls: map[string]int{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v2/signingCert", s.serve(s.certify))
	mux.HandleFunc("POST /api/v1/log/entries", s.serve(s.AddEntry))
	mux.HandleFunc("GET /api/v1/log/entries/{id}", s.serve(s.getEntry))
	mux.HandleFunc("POST /api/v1/timestamp", s.serve(s.timestamp))
	s.routeOIDC(mux)
	s.URL = serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.calls[r.URL.Path]++
		s.mu.Unlock()
		if s.Intercept == nil || !s.Intercept(w, r) {
			mux.ServeHTTP(w, r)
		}
	}))
	// One leaf is there already, so that proofs are not empty.
	s.appendLeaf([]byte(`{"first":"leaf"}`))
	return s
}

// Calls returns how often path was requested.
func (s *Stack) Calls(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[path]
}

// Issuer returns the URL of the OIDC issuer.
func (s *Stack) Issuer() string { return s.URL + "/dex" }

// Material returns the public half, from which kits are made.
func (s *Stack) Material(tb testing.TB) trust.Material {
	tb.Helper()
	since := trust.Window{Start: s.since}
	service := func(path string) []trust.Service {
		return []trust.Service{{URL: s.URL + path, APIVersion: 1, Window: since}}
	}
	return trust.Material{
		Operator:     "fake.example",
		CAs:          []trust.Authority{{URI: s.URL, Chain: s.Keys.CA.Chain, Window: since}},
		TSAs:         []trust.Authority{{URI: s.URL + "/api/v1/timestamp", Chain: s.Keys.TSA.Chain, Window: since}},
		TLogs:        []trust.Log{{BaseURL: s.URL, PublicKey: spki(tb, s.Keys.Log), APIVersion: 1, Window: since}},
		CTLogs:       []trust.Log{{BaseURL: s.URL + "/ctlog", PublicKey: spki(tb, s.Keys.CT), APIVersion: 1, Window: since}},
		CAServices:   service(""),
		OIDCServices: service("/dex"),
		TLogServices: service(""),
		TSAServices:  service("/api/v1/timestamp"),
	}
}

// KitFiles returns the contents of trusted_root.json and signing_config.v0.2.json.
func (s *Stack) KitFiles(tb testing.TB) (trustedRoot, signingConfig []byte) {
	tb.Helper()
	m := s.Material(tb)
	trustedRoot, err := m.TrustedRoot()
	must(tb, err)
	signingConfig, err = m.SigningConfig()
	must(tb, err)
	return trustedRoot, signingConfig
}

// serve adapts a handler that returns an error, answered as 400 with a message.
func (s *Stack) serve(h func(w http.ResponseWriter, r *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = fmt.Fprintf(w, `{"code":400,"message":%q}`, err)
		}
	}
}

func newRoot(tb testing.TB, cn string, start time.Time) (*x509.Certificate, *ecdsa.PrivateKey) {
	tb.Helper()
	key := newKey(tb)
	cert, err := pki.NewRoot(key, name(cn), start)
	must(tb, err)
	return cert, key
}

func name(cn string) pkix.Name {
	return pkix.Name{CommonName: cn, Organization: []string{"TEST ONLY"}}
}

func newKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(tb, err)
	return key
}

func spki(tb testing.TB, key crypto.Signer) []byte {
	tb.Helper()
	der, err := pki.MarshalPublicKey(key.Public())
	must(tb, err)
	return der
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
