package stack_test

import (
	"bytes"
	"crypto/x509"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/pki"
	"sigstack/internal/stack"
)

// TestReloadKeepsServices: a service that config.yaml gives up waits for a
// restart, with its issuers. The next reload finds everything as before.
func TestReloadKeepsServices(t *testing.T) {
	extra := config.Issuer{URL: "https://extra.example", ClientID: "sigstore", Type: "email"}
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	write(t, dir, "other.pem", pki.CertificatesPEM([]*x509.Certificate{newCertificateFiles(t).root}))
	for name, tt := range map[string]struct {
		change func(*config.Config)
		want   string // restarts
		took   string // once
	}{
		"ca given up":     {func(c *config.Config) { c.CA, c.TUF, c.CTLog.Roots = nil, nil, []string{"other.pem"} }, "ca,tuf", "roots of the ct log"},
		"both given up":   {func(c *config.Config) { c.CA, c.CTLog, c.TUF = nil, nil, nil }, "ca,ctlog,tuf", ""},
		"others given up": {func(c *config.Config) { c.TSA, c.TUF = nil, nil }, "tsa,tuf", ""},
		"log given up":    {func(c *config.Config) { c.TLog = nil }, "tlog", ""},
		"all but a log":   {func(c *config.Config) { c.CA, c.CTLog, c.TSA, c.OIDC, c.TUF = nil, nil, nil, nil, nil }, "ca,ctlog,oidc,tsa,tuf", ""},
	} {
		t.Run(name, func(t *testing.T) {
			opts := options(dir, config.ProfileUp)
			opts.ExtraIssuers = []config.Issuer{extra}
			path := filepath.Join(dir, "config.yaml")
			before := readFile(t, path)
			s := serve(t, opts)
			issuers := len(s.Status().Issuers)
			edit(t, dir, tt.change)
			t.Cleanup(func() {
				if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
					t.Error(err)
				}
			})
			for _, took := range []string{tt.took, ""} {
				got, err := reloaded(t, dir)
				slices.Sort(got.NeedsRestart)
				want := strings.Split(tt.want, ",")
				slices.Sort(want)
				if err != nil || strings.Join(got.Changed, ",") != took || !slices.Equal(got.NeedsRestart, want) {
					t.Errorf("reload: %+v, %v, want %q taken and a restart for %v", got, err, took, want)
				}
			}
			if got := len(s.Status().Issuers); got != issuers {
				t.Errorf("%d issuers are accepted, want %d as before", got, issuers)
			}
			if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
				t.Fatal(err)
			}
			if got, err := reloaded(t, dir); err != nil || strings.Join(got.Changed, ",") != tt.took || len(got.NeedsRestart) > 0 {
				t.Errorf("as it was: %+v, %v", got, err)
			}
		})
	}
}

// TestReloadIsWhole: what cannot be written leaves everything as it was, and is taken
// once it can.
func TestReloadIsWhole(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	var c clock
	opts := options(dir, config.ProfileUp)
	opts.Now = c.now
	s := serve(t, opts)
	prepareChain(t, dir, c.now())
	c.add(time.Minute)
	write(t, dir, "other.pem", pki.CertificatesPEM([]*x509.Certificate{newCertificateFiles(t).root}))
	roots := func() string {
		rec := httptest.NewRecorder()
		s.Handler().ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/ctlog/ct/v1/get-roots", nil))
		if rec.Code != http.StatusOK {
			t.Fatalf("get-roots: %d %s", rec.Code, rec.Body)
		}
		return rec.Body.String()
	}
	before, chains := roots(), readFile(t, filepath.Join(dir, "chains.json"))
	kit := filepath.Join(dir, "client", "issuers.json")
	if err := os.RemoveAll(kit); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(kit, "in-the-way"), 0o700); err != nil {
		t.Fatal(err)
	}
	useChain(t, dir, "ca-2")
	edit(t, dir, func(c *config.Config) {
		c.CTLog.Roots = []string{"other.pem"}
		c.CA.Issuers = append(c.CA.Issuers, config.Issuer{URL: "https://new.example", ClientID: "sigstore", Type: "email"})
	})
	if got, err := reloaded(t, dir); err == nil {
		t.Fatalf("reload took %+v where the client kit cannot be written", got)
	}
	if got := roots(); got != before {
		t.Error("a refused reload has changed the roots of the CT log")
	}
	if got := readFile(t, filepath.Join(dir, "chains.json")); got != chains {
		t.Errorf("a refused reload has changed chains.json:\n%s\nwant\n%s", got, chains)
	}
	if got := chainStates(t, dir); got != "ca active, ca-2 prepared" {
		t.Errorf("chains %s", got)
	}
	if n := len(s.Status().Issuers); n != 1 {
		t.Errorf("%d issuers after a refused reload, want 1", n)
	}
	if err := os.RemoveAll(kit); err != nil {
		t.Fatal(err)
	}
	got, err := reloaded(t, dir)
	if err != nil || len(got.Changed) != 3 || len(got.NeedsRestart) > 0 {
		t.Errorf("once it can be written: %+v, %v, want issuer, chain and roots", got, err)
	}
	if got := chainStates(t, dir); got != "ca retired, ca-2 active" || roots() == before {
		t.Errorf("chains %s, want the second, and other roots", got)
	}
}

// TestWaitingChain: while a chain waits the rest is taken. The chain is taken by
// itself, after a start too, or given up.
func TestWaitingChain(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	var c clock
	opts := options(dir, config.ProfileUp)
	opts.Now = c.now
	s := start(t, opts)
	prepareChain(t, dir, c.now())
	c.add(-time.Minute) // it waits as long as this test does
	outside := config.Issuer{URL: "https://new.example", ClientID: "sigstore", Type: "email"}
	want := func(when, states, waiting string, issuers int) {
		t.Helper()
		if got := chainStates(t, dir); got != states {
			t.Errorf("%s: chains %s, want %s", when, got, states)
		}
		if got := len(s.Status().Issuers); got != issuers {
			t.Errorf("%s: %d issuers, want %d", when, got, issuers)
		}
		st := s.Status().Reload
		if st != nil && (!st.OK || !strings.Contains(strings.Join(st.Waiting, ";"), waiting) || (waiting == "") != (len(st.Waiting) == 0)) {
			t.Errorf("%s: status %+v, want that %q waits", when, *st, waiting)
		}
	}
	const waits = "key ca-2 has not had time to reach every client: it is taken by itself at "

	useChain(t, dir, "ca-2")
	edit(t, dir, func(c *config.Config) { c.CA.Issuers = append(c.CA.Issuers, outside) })
	got, err := reloaded(t, dir)
	if err != nil || !slices.Equal(got.Changed, []string{"issuer https://new.example added"}) || len(got.Waiting) != 1 || !strings.Contains(got.Waiting[0], waits) {
		t.Errorf("reload: %+v, %v, want the issuer, and that the chain waits", got, err)
	}
	want("with another issuer", "ca active, ca-2 prepared", waits, 2)
	s.LookAtFiles(t.Context())
	want("before its time", "ca active, ca-2 prepared", waits, 2)
	edit(t, dir, func(c *config.Config) { c.CA.Issuers = c.CA.Issuers[:1] })
	if got, err := reloaded(t, dir); err != nil || !slices.Equal(got.Changed, []string{"issuer https://new.example removed"}) {
		t.Errorf("reload: %+v, %v, want the issuer removed", got, err)
	}
	want("without the issuer", "ca active, ca-2 prepared", waits, 1)

	edit(t, dir, func(c *config.Config) { c.CA.Key = "ca" })
	if got, err := reloaded(t, dir); err == nil || !strings.Contains(err.Error(), "ca.chain") {
		t.Errorf("waiting chain, key of the other: %+v, %v, want it refused", got, err)
	}
	edit(t, dir, func(c *config.Config) { c.CA.Chain = "keys/ca.chain.pem" })
	if got, err := reloaded(t, dir); err != nil || len(got.Changed)+len(got.Waiting) > 0 {
		t.Errorf("given up: %+v, %v", got, err)
	}
	c.add(2 * time.Minute)
	s.LookAtFiles(t.Context())
	want("given up, at its time", "ca active, ca-2 prepared", "", 1)

	c.add(-2 * time.Minute)
	useChain(t, dir, "ca-2")
	if _, err := reloaded(t, dir); err != nil {
		t.Fatal(err)
	}
	c.add(2 * time.Minute)
	s.LookAtFiles(t.Context())
	want("at its time", "ca retired, ca-2 active", "", 1)

	prepareChain(t, dir, c.now())
	published := c.now()
	s.stop()
	if err := <-s.done; err != nil {
		t.Fatal(err)
	}
	edit(t, dir, func(c *config.Config) { c.CA.Key, c.CA.Chain = "ca-3", "keys/ca-3.chain.pem" })
	// Back to that moment, and no further than the log goes: it has an entry of it.
	c.add(published.Add(-4 * time.Second).Sub(c.now()))
	s = serve(t, opts)
	want("started before its time", "ca retired, ca-2 active, ca-3 prepared", "", 1)
	c.add(2 * time.Minute)
	s.LookAtFiles(t.Context())
	want("at its time after a start", "ca retired, ca-2 retired, ca-3 active", "", 1)
}

// TestFailedStartNotesNoChain: a start with the chain of one key and another key leaves
// chains.json as it was.
func TestFailedStartNotesNoChain(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	during(t, dir, func() { prepareChain(t, dir, time.Now()) })
	before := readFile(t, filepath.Join(dir, "chains.json"))
	edit(t, dir, func(c *config.Config) { c.CA.Chain = "keys/ca-2.chain.pem" })
	var c clock
	c.add(time.Minute)
	opts := options(dir, config.ProfileUp)
	opts.Now = c.now
	s, err := stack.Open(t.Context(), opts)
	if err == nil {
		_ = s.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "key") {
		t.Errorf("start: %v, want it refused for the key", err)
	}
	if got := readFile(t, filepath.Join(dir, "chains.json")); got != before {
		t.Errorf("chains.json is\n%s\nwant\n%s", got, before)
	}
}

// TestRefusedReloadIsLoggedOnce: whoever asked, and however early.
func TestRefusedReloadIsLoggedOnce(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	var log lockedBuffer
	opts := options(dir, config.ProfileUp)
	opts.Log = slog.New(slog.NewTextHandler(&log, nil))
	s, err := stack.Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(when string, times int) {
		t.Helper()
		if _, err := s.Reload(t.Context(), "hangup"); err == nil {
			t.Errorf("%s: not refused", when)
		}
		if got := strings.Count(log.String(), "reload refused"); got != times {
			t.Errorf("%s: %d lines of a refused reload, want %d:\n%s", when, got, times, log.String())
		}
	}
	refused("not running yet", 1)
	run(t, s)
	edit(t, dir, func(c *config.Config) { c.CA.Chain = "keys/none.pem" })
	refused("running", 2)
}

// lockedBuffer is what a log was written to.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
