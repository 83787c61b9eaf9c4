package tufroot_test

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tufroot "sigstack/tuf-root"
)

// operations are all that write, with what a client reads afterwards.
var operations = []struct {
	name string
	wait time.Duration
	run  func(*tufroot.Repository, tufroot.Keys) error
	want string
}{
	{"publish targets", 0, func(r *tufroot.Repository, k tufroot.Keys) error {
		return r.PublishTargets(targetsOf("two"), k.Targets, k.Online)
	}, "two"},
	{"refresh snapshot", 3 * day, refresh, "one"},
	{"refresh timestamp", 9 * time.Hour, refresh, "one"},
	{"renew root", 0, func(r *tufroot.Repository, k tufroot.Keys) error { return r.RenewRoot(k.Root) }, "one"},
}

func refresh(r *tufroot.Repository, k tufroot.Keys) error {
	_, err := r.Refresh(k.Online)
	return err
}

// TestCrashBetweenWrites stops each operation at each of its writes, before and
// after it takes place, and then goes on in two ways: with the process that saw
// the error, and with one that starts anew on the directory.
func TestCrashBetweenWrites(t *testing.T) {
	for _, op := range operations {
		t.Run(op.name, func(t *testing.T) {
			t.Parallel()
			for n := 0; ; n++ {
				finished := false
				for _, crash := range []tufroot.Crash{{N: n}, {N: n, Done: true}} {
					for _, restart := range []bool{false, true} {
						name := fmt.Sprintf("%+v restart %v", crash, restart)
						finished = crashOnce(t, name, op.wait, op.run, op.want, crash, restart)
					}
				}
				if !finished {
					continue
				}
				if n == 0 {
					t.Error("no write was ever interrupted")
				}
				break
			}
		})
	}
}

// crashOnce reports whether the operation finished before the crash was due.
func crashOnce(t *testing.T, name string, wait time.Duration, run func(*tufroot.Repository, tufroot.Keys) error, want string, crash tufroot.Crash, restart bool) (finished bool) {
	c, keys := newClock(), newKeys(t)
	r, dir := newRepo(t, c, keys)
	m := newMirror(t, dir)
	old := newClient(t, m, r.RootJSON(), c)
	old.want(t, "one")
	before := files(t, dir)

	c.Add(wait)
	r.Break(crash)
	err := run(r, keys)
	if err == nil {
		return true
	}
	t.Run(name, func(t *testing.T) {
		if !errors.Is(err, tufroot.ErrCrash) {
			t.Fatalf("got %v, want the injected crash", err)
		}
		// Both clients accept what lies there, whichever of the two it is, once
		// the day-old timestamp of the longer wait is out of the way.
		if wait < day {
			for _, cl := range []*client{old, newClient(t, m, r.RootJSON(), c)} {
				if got, err := cl.update(); err != nil || (got != "one" && got != want) {
					t.Fatalf("client got %q, %v; want %q or %q", got, err, "one", want)
				}
			}
		}
		r.Heal()
		if restart {
			if r, err = tufroot.Open(c.cfg(dir)); err != nil {
				t.Fatal(err)
			}
		}
		if err := run(r, keys); err != nil {
			t.Fatalf("again: %v", err)
		}
		old.want(t, want)
		newClient(t, m, r.RootJSON(), c).want(t, want)
		assertNothingRewritten(t, before, files(t, dir))
		if _, err := tufroot.Open(c.cfg(dir)); err != nil {
			t.Error(err)
		}
	})
	return false
}

// assertNothingRewritten: a name with a version or hash has one content for ever.
func assertNothingRewritten(t *testing.T, before, after map[string]string) {
	t.Helper()
	for name, content := range before {
		if tufroot.Serves(name) && tufroot.Immutable(name) && after[name] != content {
			t.Errorf("%s was rewritten", name)
		}
	}
}

// FuzzServes: whatever is served is a plain path inside the repository.
func FuzzServes(f *testing.F) {
	for _, seed := range []string{"timestamp.json", "1.root.json", "targets/" + strings.Repeat("ab", 32) + ".x", "../1.root.json", "targets/../timestamp.json"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if tufroot.Serves(name) && (!filepath.IsLocal(name) || path.Clean(name) != name || strings.ContainsAny(name, "\\\x00:")) {
			t.Errorf("%q is served", name)
		}
	})
}

// TestPowerCutUndoesTheRename takes back the rename of timestamp.json after a
// client has seen it, with all that was durable before it still there.
func TestPowerCutUndoesTheRename(t *testing.T) {
	c, keys := newClock(), newKeys(t)
	r, dir := newRepo(t, c, keys)
	oldTimestamp := files(t, dir)["timestamp.json"]
	m := newMirror(t, dir)
	cl := newClient(t, m, r.RootJSON(), c)
	if err := r.PublishTargets(targetsOf("two"), keys.Targets, keys.Online); err != nil {
		t.Fatal(err)
	}
	cl.want(t, "two")
	if err := os.WriteFile(filepath.Join(dir, "timestamp.json"), []byte(oldTimestamp), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := tufroot.Open(c.cfg(dir))
	if err != nil {
		t.Fatal(err)
	}
	if next := r.NextRefresh(); next.After(c.now) {
		t.Errorf("next refresh is at %s, want at once", next)
	}
	if _, err := r.Refresh(keys.Online); err != nil {
		t.Fatal(err)
	}
	cl.want(t, "two")
	c.Add(9 * time.Hour)
	if _, err := r.Refresh(keys.Online); err != nil {
		t.Fatal(err)
	}
	cl.want(t, "two")
}

func TestCreateAfterACrash(t *testing.T) {
	for n := 0; ; n++ {
		c, keys := newClock(), newKeys(t)
		dir := filepath.Join(t.TempDir(), "tuf")
		_, err := tufroot.CreateBroken(c.cfg(dir), keys, targetsOf("one"), tufroot.Crash{N: n})
		if err == nil {
			if n < 5 {
				t.Errorf("create made %d writes, want at least 5", n)
			}
			return
		}
		if _, err := tufroot.Open(c.cfg(dir)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("crash %d: open got %v, want that there is no repository", n, err)
		}
		// Even with other keys, should those of the attempt be lost.
		r, err := tufroot.Create(c.cfg(dir), newKeys(t), targetsOf("two"))
		if err != nil {
			t.Fatalf("crash %d: create again: %v", n, err)
		}
		newClient(t, newMirror(t, dir), r.RootJSON(), c).want(t, "two")
		if _, err := tufroot.Open(c.cfg(dir)); err != nil {
			t.Errorf("crash %d: %v", n, err)
		}
	}
}
