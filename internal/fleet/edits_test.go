package fleet_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"sigstack/internal/fleet"
	"sigstack/internal/pgtest"
)

// takes starts a replica as a process does, and returns what it took of its operator's
// edits.
func takes(t *testing.T, url, name, dir string) []string {
	t.Helper()
	f, err := fleet.Open(t.Context(), config(t, url, name, dir, 0))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	edited, err := f.TakeEdits(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.Pull(t.Context()); err != nil {
		t.Fatal(err)
	}
	return edited
}

func TestEditsOfAStoppedFleet(t *testing.T) {
	const conf, journal, rules = "config.yaml", "rotations/ca.json", "policies/ci.yaml"
	url := migrated(t, pgtest.New(t))
	a := founded(t, url)
	b := joined(t, url, "b")
	want := func(what, dir, path, content string) {
		t.Helper()
		if got := read(t, dir, path); got != content {
			t.Errorf("%s: %s is %q, want %q", what, path, got, content)
		}
	}

	write(t, a, conf, "two")
	write(t, a, rules, "stricter")
	write(t, a, journal, "the step is done") // by a command, since the last act
	write(t, a, "keys/ca.key", "half an act")
	if got := takes(t, url, "a", a); !slices.Equal(got, []string{conf, rules, journal}) {
		t.Errorf("of what nobody else has changed, %q counts", got)
	}
	want("nobody edits keys", a, "keys/ca.key", "secret")
	if got := takes(t, url, "b", b); got != nil {
		t.Errorf("a copy that is out of date was taken for an edit: %q", got)
	}
	want("the other replica", b, conf, "two")
	want("the other replica", b, rules, "stricter")
	want("the other replica", b, journal, "the step is done")

	if err := os.Remove(filepath.Join(a, journal)); err != nil { // it is finished
		t.Fatal(err)
	}
	if got := takes(t, url, "a", a); !slices.Equal(got, []string{journal}) {
		t.Errorf("of a journal that is gone, %q counts", got)
	}
	if got := takes(t, url, "b", b); got != nil {
		t.Errorf("a journal that is there still was taken for an edit: %q", got)
	}
	for _, dir := range []string{a, b} {
		if _, err := os.Stat(filepath.Join(dir, journal)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a journal that is gone is in %s: %v", dir, err)
		}
	}

	write(t, a, conf, "three")
	write(t, b, conf, "three of b")
	if got := takes(t, url, "a", a); !slices.Equal(got, []string{conf}) {
		t.Errorf("of two edits the first one counts, got %q", got)
	}
	if got := takes(t, url, "b", b); got != nil {
		t.Errorf("of two edits the second one was taken: %q", got)
	}
	want("of two edits the second", b, conf, "three")
	want("of two edits the second", b, conf+".replaced", "three of b")

	leader := start(t, url, "a", a, 0)
	leader.within(t, 5*time.Second, "leads", func(s fleet.State) bool { return s.Leading })
	write(t, b, conf, "four of b")
	if got := takes(t, url, "b", b); got != nil {
		t.Errorf("while a replica leads, an edit elsewhere was taken: %q", got)
	}
	want("while a replica leads", b, conf, "three")
	write(t, a, conf, "four")
	if _, err := leader.Push(t.Context(), nil, nil); err != nil {
		t.Fatal(err)
	}
	leader.stop()
	write(t, a, conf, "five")
	if got := takes(t, url, "a", a); !slices.Equal(got, []string{conf}) {
		t.Errorf("an edit of what this replica has pushed: got %q", got)
	}
	if got := takes(t, url, "a", a); got != nil {
		t.Errorf("the same edit was taken twice: %q", got)
	}
}

// TestLinkedConfig: a config.yaml that is a link, as in mounted volumes, is what it leads
// to, and one that is missing is not taken from the others.
func TestLinkedConfig(t *testing.T) {
	url := migrated(t, pgtest.New(t))
	a := founded(t, url)
	b := joined(t, url, "b")
	leader := start(t, url, "a", a, 0)
	leader.within(t, 5*time.Second, "leads", func(s fleet.State) bool { return s.Leading })
	push := func() {
		t.Helper()
		if _, err := leader.Push(t.Context(), nil, nil); err != nil {
			t.Fatal(err)
		}
		takes(t, url, "b", b)
	}
	write(t, a, "elsewhere/config.yaml", "linked")
	if err := errors.Join(os.Remove(filepath.Join(a, "config.yaml")), os.Symlink(filepath.Join(a, "elsewhere", "config.yaml"), filepath.Join(a, "config.yaml"))); err != nil {
		t.Fatal(err)
	}
	push()
	if got := read(t, b, "config.yaml"); got != "linked" {
		t.Errorf("of a link the other replica has %q", got)
	}
	if err := os.Remove(filepath.Join(a, "config.yaml")); err != nil {
		t.Fatal(err)
	}
	push()
	if got := read(t, b, "config.yaml"); got != "linked" {
		t.Errorf("where config.yaml is missing the other replica has %q", got)
	}
}

// A leader that has lost its lock and does not know is refused once an edit was taken.
func TestEditsDeposeAStaleLeader(t *testing.T) {
	url := migrated(t, pgtest.New(t))
	a := founded(t, url)
	b := joined(t, url, "b")
	stale := start(t, url, "a", a, 0)
	stale.within(t, 5*time.Second, "leads", func(s fleet.State) bool { return s.Leading })
	belief, applied := stale.Belief(), stale.State().Applied
	stale.stop()
	write(t, b, "config.yaml", "of b")
	if got := takes(t, url, "b", b); got == nil {
		t.Fatal("the edit was not taken")
	}
	again, err := fleet.Open(t.Context(), config(t, url, "a", a, 0))
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	again.Believe(belief, applied+1)
	if _, err := again.Push(t.Context(), map[string][]byte{"config.yaml": []byte("of a")}, nil); err == nil {
		t.Error("a leader of an older term has pushed")
	}
}

// FuzzAgreed: whatever is accepted has hashes for paths that may be replicated.
func FuzzAgreed(f *testing.F) {
	f.Add([]byte("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  config.yaml\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		paths, err := fleet.ParseAgreed(data)
		if err != nil {
			return
		}
		for _, p := range paths {
			if !fleet.MayReplicate(p) {
				t.Errorf("%q was accepted", p)
			}
		}
	})
}
