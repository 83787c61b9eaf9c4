package tufroot_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	tufroot "sigstack/tuf-root"
)

// TestBefore: a new timestamp is shown before clients see it, with all that it refers
// to in place, and stays unpublished while that is refused.
func TestBefore(t *testing.T) {
	c, keys := newClock(), newKeys(t)
	_, dir := newRepo(t, c, keys)
	cfg := c.cfg(dir)
	refused := errors.New("not now")
	var shown []byte
	cfg.Before = func(timestamp []byte) error {
		if now := files(t, dir)["timestamp.json"]; now == string(timestamp) {
			t.Error("clients see the timestamp already")
		}
		copied := copyDir(t, dir)
		if err := os.WriteFile(filepath.Join(copied, "timestamp.json"), timestamp, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := tufroot.Open(c.cfg(copied)); err != nil {
			t.Errorf("what the timestamp refers to: %v", err)
		}
		shown = timestamp
		return refused
	}
	r, err := tufroot.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	before := r.Status()[3]
	if err := r.Resign(keys.Online); !errors.Is(err, refused) || r.Status()[3] != before {
		t.Errorf("resign: %v, status %v, want it refused and %v", err, r.Status()[3], before)
	}
	refused = nil
	if _, err := r.Refresh(keys.Online); err != nil {
		t.Fatal(err)
	}
	if got := files(t, dir)["timestamp.json"]; got != string(shown) || r.Status()[3] == before {
		t.Errorf("the publication was not carried through: %v", r.Status())
	}
}

// TestReload: what another process has published is taken, verified, or nothing is.
func TestReload(t *testing.T) {
	c, keys := newClock(), newKeys(t)
	r, dir := newRepo(t, c, keys)
	other, err := tufroot.Open(c.cfg(dir))
	if err != nil {
		t.Fatal(err)
	}
	if err := other.PublishTargets(targetsOf("two"), keys.Targets, keys.Online); err != nil {
		t.Fatal(err)
	}
	if err := r.Reload(); err != nil {
		t.Fatal(err)
	}
	if got, want := versions(r), versions(other); got != want {
		t.Errorf("versions %v, want %v", got, want)
	}
	if data, err := r.Target("trusted_root.json"); err != nil || string(data) != "two" {
		t.Errorf("target %q, %v", data, err)
	}
	before := versions(r)
	if err := os.WriteFile(filepath.Join(dir, "timestamp.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.Reload(); err == nil || versions(r) != before {
		t.Errorf("reload of what is no timestamp: %v, versions %v, want an error and %v", err, versions(r), before)
	}
	c2, keys2 := newClock(), newKeys(t)
	_, foreign := newRepo(t, c2, keys2)
	if err := errors.Join(os.RemoveAll(dir), os.CopyFS(dir, os.DirFS(foreign))); err != nil {
		t.Fatal(err)
	}
	if err := r.Reload(); err == nil || versions(r) != before {
		t.Errorf("reload of another repository: %v, versions %v, want an error and %v", err, versions(r), before)
	}
}
