package tufroot_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata/config"
	"github.com/theupdateframework/go-tuf/v2/metadata/updater"

	"sigstack/internal/trust"
	tufroot "sigstack/tuf-root"
)

const day = 24 * time.Hour

// clock is a settable clock.
type clock struct{ now time.Time }

func newClock() *clock                         { return &clock{time.Date(2026, 3, 1, 12, 0, 0, 500, time.UTC)} }
func (c *clock) Now() time.Time                { return c.now }
func (c *clock) Add(d time.Duration)           { c.now = c.now.Add(d) }
func (c *clock) cfg(dir string) tufroot.Config { return tufroot.Config{Dir: dir, Now: c.Now} }

// newKeys mixes both algorithms.
func newKeys(tb testing.TB) tufroot.Keys {
	tb.Helper()
	return tufroot.Keys{
		Root:    newECDSA(tb, elliptic.P256()),
		Targets: newEd25519(tb),
		Online:  tufroot.Online{Snapshot: newECDSA(tb, elliptic.P256()), Timestamp: newEd25519(tb)},
	}
}

func newECDSA(tb testing.TB, curve elliptic.Curve) crypto.Signer {
	tb.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func newEd25519(tb testing.TB) crypto.Signer {
	tb.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func targetsOf(content string) []trust.Target {
	return []trust.Target{
		{Name: "trusted_root.json", Data: []byte(content)},
		{Name: "rekor.pub", Data: []byte("key"), Custom: []byte(`{"sigstore":{"usage":"Rekor"}}`)},
	}
}

// newRepo creates a repository whose trusted_root.json says "one".
func newRepo(tb testing.TB, c *clock, keys tufroot.Keys) (*tufroot.Repository, string) {
	tb.Helper()
	dir := filepath.Join(tb.TempDir(), "tuf")
	r, err := tufroot.Create(c.cfg(dir), keys, targetsOf("one"))
	if err != nil {
		tb.Fatal(err)
	}
	return r, dir
}

// mirror serves a directory that can be exchanged, as one URL.
type mirror struct {
	*httptest.Server
	dir string
}

func newMirror(tb testing.TB, dir string) *mirror {
	tb.Helper()
	m := &mirror{dir: dir}
	m.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.FileServer(http.Dir(m.dir)).ServeHTTP(w, r)
	}))
	tb.Cleanup(m.Close)
	return m
}

// client is go-tuf's updater with a cache that lives on between updates.
type client struct {
	url, cache string
	root       []byte
	clock      *clock
}

func newClient(tb testing.TB, m *mirror, root []byte, c *clock) *client {
	tb.Helper()
	return &client{m.URL, tb.TempDir(), root, c}
}

// update refreshes from scratch or cache and returns trusted_root.json.
func (c *client) update() (string, error) {
	cfg, err := config.New(c.url, c.root)
	if err != nil {
		return "", err
	}
	cfg.LocalMetadataDir, cfg.LocalTargetsDir = c.cache, c.cache
	up, err := updater.New(cfg)
	if err != nil {
		return "", err
	}
	up.UnsafeSetRefTime(c.clock.now)
	if err := up.Refresh(); err != nil {
		return "", err
	}
	info, err := up.GetTargetInfo("trusted_root.json")
	if err != nil {
		return "", err
	}
	_, data, err := up.DownloadTarget(info, filepath.Join(c.cache, "out"), "")
	return string(data), err
}

func (c *client) want(t *testing.T, want string) {
	t.Helper()
	if got, err := c.update(); err != nil || got != want {
		t.Errorf("client got %q, %v; want %q", got, err, want)
	}
}

// files reads a whole directory.
func files(tb testing.TB, dir string) map[string]string {
	tb.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		rel, relErr := filepath.Rel(dir, path)
		out[filepath.ToSlash(rel)] = string(data)
		return errors.Join(err, relErr)
	})
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// copyDir copies a repository.
func copyDir(tb testing.TB, dir string) string {
	tb.Helper()
	to := filepath.Join(tb.TempDir(), "tuf")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		tb.Fatal(err)
	}
	return to
}

func versions(r *tufroot.Repository) [4]int64 {
	var out [4]int64
	for i, s := range r.Status() {
		out[i] = s.Version
	}
	return out
}
