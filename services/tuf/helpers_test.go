package tuf_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sigstack/internal/httpd"
	"sigstack/internal/keys"
	"sigstack/internal/pki"
	"sigstack/internal/trust"
	"sigstack/services/tuf"
	tufroot "sigstack/tuf-root"
)

const stackURL = "http://localhost:8080"

func newKey(tb testing.TB, name string, now time.Time) keys.Key {
	tb.Helper()
	k, err := keys.Ephemeral(name, keys.ECDSAP256, now)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

// newChain is root, intermediate and, for a timestamp authority, leaf; lowest
// first.
func newChain(tb testing.TB, eku x509.ExtKeyUsage, now time.Time) []*x509.Certificate {
	tb.Helper()
	rootKey, interKey, leafKey := newKey(tb, "root", now), newKey(tb, "inter", now), newKey(tb, "leaf", now)
	root, err := pki.NewRoot(rootKey, pkix.Name{CommonName: "root", Organization: []string{"corp.example"}}, now)
	if err != nil {
		tb.Fatal(err)
	}
	inter, err := pki.NewIntermediate(root, rootKey, interKey.Public(), pkix.Name{CommonName: "intermediate", Organization: []string{"corp.example"}}, eku, now)
	if err != nil {
		tb.Fatal(err)
	}
	if eku != x509.ExtKeyUsageTimeStamping {
		return []*x509.Certificate{inter, root}
	}
	leaf, err := pki.NewTimestampLeaf(inter, interKey, leafKey.Public(), pkix.Name{CommonName: "tsa", Organization: []string{"corp.example"}}, now)
	if err != nil {
		tb.Fatal(err)
	}
	return []*x509.Certificate{leaf, inter, root}
}

func newMaterial(tb testing.TB, now time.Time) trust.Material {
	tb.Helper()
	w := trust.Window{Start: now}
	service := func(path string) []trust.Service {
		return []trust.Service{{URL: stackURL + path, APIVersion: 1, Window: w}}
	}
	return trust.Material{
		Operator:     "localhost",
		CAs:          []trust.Authority{{URI: stackURL, Chain: newChain(tb, x509.ExtKeyUsageCodeSigning, now), Window: w}},
		TSAs:         []trust.Authority{{URI: stackURL + "/api/v1/timestamp", Chain: newChain(tb, x509.ExtKeyUsageTimeStamping, now), Window: w}},
		TLogs:        []trust.Log{{BaseURL: stackURL, PublicKey: newKey(tb, "rekor", now).SPKI(), APIVersion: 1, Window: w}},
		CTLogs:       []trust.Log{{BaseURL: stackURL + "/ctlog", PublicKey: newKey(tb, "ct", now).SPKI(), APIVersion: 1, Window: w}},
		CAServices:   service(""),
		OIDCServices: service("/dex"),
		TLogServices: service(""),
		TSAServices:  service("/api/v1/timestamp"),
	}
}

// stack is a served repository and kit.
type stack struct {
	*tuf.Service
	repo     *tufroot.Repository
	material trust.Material
	keys     tufroot.Keys
	dir      string // holds tuf and client
	metrics  *prometheus.Registry
	mux      *httpd.Mux
}

func newStack(tb testing.TB, now func() time.Time, change ...func(*tuf.Config)) *stack {
	tb.Helper()
	return newStackOf(tb, now, tufroot.Lifetimes{}, change...)
}

// newStackOf is newStack with other lifetimes than the default.
func newStackOf(tb testing.TB, now func() time.Time, lives tufroot.Lifetimes, change ...func(*tuf.Config)) *stack {
	tb.Helper()
	s := &stack{material: newMaterial(tb, now()), dir: tb.TempDir(), metrics: prometheus.NewRegistry()}
	online := newKey(tb, "tuf-online", now())
	s.keys = tufroot.Keys{
		Root:    newKey(tb, "tuf-root", now()),
		Targets: newKey(tb, "tuf-targets", now()),
		Online:  tufroot.Online{Snapshot: online, Timestamp: online},
	}
	targets, err := s.material.Targets(now())
	if err != nil {
		tb.Fatal(err)
	}
	s.repo, err = tufroot.Create(tufroot.Config{Dir: filepath.Join(s.dir, "tuf"), Lifetimes: lives, Now: now}, s.keys, targets)
	if err != nil {
		tb.Fatal(err)
	}
	kit := trust.Kit{Material: s.material, RootJSON: s.repo.RootJSON(), URL: stackURL}
	if err := tuf.WriteKit(s.kitDir(), kit); err != nil {
		tb.Fatal(err)
	}
	log := discard()
	cfg := tuf.Config{
		Repository: s.repo, Online: s.keys.Online, KitDir: s.kitDir(),
		Now: now, Log: log, Metrics: s.metrics,
	}
	for _, c := range change {
		c(&cfg)
	}
	if s.Service, err = tuf.New(cfg); err != nil {
		tb.Fatal(err)
	}
	s.mux = httpd.NewMux(httpd.MuxConfig{Log: log, Metrics: s.metrics, Now: now})
	s.Mount(s.mux)
	return s
}

// newServiceOf serves another repository with the keys of s.
func newServiceOf(tb testing.TB, s *stack, repo *tufroot.Repository, now func() time.Time) *tuf.Service {
	tb.Helper()
	service, err := tuf.New(tuf.Config{
		Repository: repo, Online: s.keys.Online, KitDir: s.kitDir(), Now: now, Log: discard(), Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		tb.Fatal(err)
	}
	return service
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func (s *stack) kitDir() string  { return filepath.Join(s.dir, "client") }
func (s *stack) repoDir() string { return filepath.Join(s.dir, "tuf") }

// get asks for a path and returns the answer.
func (s *stack) get(method, path string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.mux.ServeHTTP(w, r)
	return w
}
