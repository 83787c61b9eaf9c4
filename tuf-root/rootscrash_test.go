package tufroot_test

import (
	"bytes"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	tufroot "sigstack/tuf-root"
)

// councilOperations are the writing operations that take what was signed elsewhere.
// Each returns the act, which is repeated with the same bytes after a crash.
var councilOperations = []struct {
	name    string
	writes  int // at least
	prepare func(testing.TB, *tufroot.Repository, council) func(*tufroot.Repository) error
	want    string
	version [2]int64 // of root and targets in the end
}{
	{"publish root", 2, func(tb testing.TB, r *tufroot.Repository, k council) func(*tufroot.Repository) error {
		fresh := newSigners(tb, 1)
		signed := append(k.root[:2:2], fresh[0]).sign(tb, draftRoot(tb, r, tufroot.RootChange{Root: append(k.root[:2:2], fresh[0]).need(3)}))
		return func(r *tufroot.Repository) error { return r.PublishRoot(signed) }
	}, "one", [2]int64{2, 1}},
	{"publish what is signed already", 5, func(tb testing.TB, r *tufroot.Repository, k council) func(*tufroot.Repository) error {
		draft, err := r.DraftTargets(targetsOf("two"))
		if err != nil {
			tb.Fatal(err)
		}
		signed := k.targets[:2].sign(tb, draft)
		more := k.targets.sign(tb, draft) // another signature has come meanwhile
		return func(r *tufroot.Repository) error {
			err := r.PublishSigned(signed, targetsOf("two"), k.online)
			signed = more
			if errors.Is(err, tufroot.ErrStale) && versions(r)[1] == 2 {
				return nil // it was carried through
			}
			return err
		}
	}, "two", [2]int64{1, 2}},
	{"publish a new draft", 6, func(tb testing.TB, r *tufroot.Repository, k council) func(*tufroot.Repository) error {
		return func(r *tufroot.Repository) error {
			draft, err := r.DraftTargets(targetsOf("two"))
			if err != nil {
				return err
			}
			return r.PublishSigned(k.targets.sign(tb, draft), targetsOf("two"), k.online)
		}
	}, "two", [2]int64{1, 0}},
	{"resign with both keys", 3, func(tb testing.TB, _ *tufroot.Repository, k council) func(*tufroot.Repository) error {
		fresh := newKeys(tb).Online
		k.online.AlsoSnapshot, k.online.AlsoTimestamp = []crypto.Signer{fresh.Snapshot}, []crypto.Signer{fresh.Timestamp}
		return func(r *tufroot.Repository) error { return r.Resign(k.online) }
	}, "one", [2]int64{1, 1}},
	{"renew the root, then refresh to a shorter life", 4, func(tb testing.TB, r *tufroot.Repository, k council) func(*tufroot.Repository) error {
		signed := k.root.sign(tb, draftRoot(tb, r, tufroot.RootChange{Life: 50 * day}))
		return func(r *tufroot.Repository) error {
			if err := r.PublishRoot(signed); err != nil {
				return err
			}
			return r.Resign(k.online)
		}
	}, "one", [2]int64{2, 1}},
}

// TestCrashBetweenWritesOfTheCouncil stops each operation at each of its writes,
// before and after it takes place, and goes on with the process that saw the error
// and with one that starts anew.
func TestCrashBetweenWritesOfTheCouncil(t *testing.T) {
	for _, op := range councilOperations {
		t.Run(op.name, func(t *testing.T) {
			t.Parallel()
			for n := 0; ; n++ {
				finished := false
				for _, crash := range []tufroot.Crash{{N: n}, {N: n, Done: true}} {
					for _, restart := range []bool{false, true} {
						h := newCouncilCrash(t)
						act := op.prepare(t, h.repo, h.council)
						h.repo.Break(crash)
						err := act(h.repo)
						if finished = err == nil; finished {
							continue
						}
						t.Run(fmt.Sprintf("%+v restart %v", crash, restart), func(t *testing.T) {
							h.goOn(t, err, act, restart, op.want, op.version)
						})
					}
				}
				if finished {
					if n < op.writes {
						t.Errorf("made %d writes, want at least %d", n, op.writes)
					}
					return
				}
			}
		})
	}
}

// councilCrash is a repository with clients, about to be interrupted.
type councilCrash struct {
	clock   *clock
	council council
	repo    *tufroot.Repository
	dir     string
	mirror  *mirror
	old     *client
	before  map[string]string
}

func newCouncilCrash(t *testing.T) *councilCrash {
	h := &councilCrash{clock: newClock(), council: newCouncil(t)}
	h.repo, h.dir = newCouncilRepo(t, h.clock, h.council)
	h.mirror = newMirror(t, h.dir)
	h.old = newClient(t, h.mirror, h.repo.RootJSON(), h.clock)
	h.old.want(t, "one")
	h.before = files(t, h.dir)
	h.clock.Add(time.Hour)
	return h
}

func (h *councilCrash) goOn(t *testing.T, err error, act func(*tufroot.Repository) error, restart bool, want string, version [2]int64) {
	if !errors.Is(err, tufroot.ErrCrash) {
		t.Fatalf("got %v, want the injected crash", err)
	}
	// Whichever state lies there, both clients accept it.
	first := h.repo.RootJSON()
	for _, cl := range []*client{h.old, newClient(t, h.mirror, first, h.clock)} {
		if got, err := cl.update(); err != nil || (got != "one" && got != want) {
			t.Fatalf("client got %q, %v; want %q or %q", got, err, "one", want)
		}
	}
	h.repo.Heal()
	crashed := files(t, h.dir)
	if restart {
		if h.repo, err = tufroot.Open(h.clock.cfg(h.dir)); err != nil {
			t.Fatal(err)
		}
	}
	h.clock.Add(time.Hour)
	if err := act(h.repo); err != nil {
		t.Fatalf("again: %v", err)
	}
	h.old.want(t, want)
	newClient(t, h.mirror, first, h.clock).want(t, want)
	assertNothingRewritten(t, h.before, files(t, h.dir))
	assertNothingRewritten(t, crashed, files(t, h.dir))
	again, err := tufroot.Open(h.clock.cfg(h.dir))
	if err != nil {
		t.Fatal(err)
	}
	got := versions(again)
	if got[0] != version[0] || (version[1] != 0 && got[1] != version[1]) {
		t.Errorf("got versions %v, want root and targets %v", got, version)
	}
	assertRecorded(t, again)
}

// assertRecorded: every publication is there once, in order, and the last is what is
// out.
func assertRecorded(t *testing.T, r *tufroot.Repository) {
	t.Helper()
	list, err := r.Publications()
	if err != nil || len(list) == 0 {
		t.Fatalf("publications: %v, %v", list, err)
	}
	for i, p := range list {
		if p.At.IsZero() || (i > 0 && (!p.At.After(list[i-1].At) || p.Root < list[i-1].Root || p.Targets < list[i-1].Targets)) {
			t.Errorf("publication %d of %v is out of order", i, list)
		}
	}
	if last, now := list[len(list)-1], versions(r); last.Root != now[0] || last.Targets != now[1] {
		t.Errorf("last publication is %+v, but %v is out", last, now)
	}
}

// TestCreateSignedAfterACrash: the same signed files create the repository in the end.
func TestCreateSignedAfterACrash(t *testing.T) {
	for n := 0; ; n++ {
		finished := false
		for _, done := range []bool{false, true} {
			c, k := newClock(), newCouncil(t)
			dir := filepath.Join(t.TempDir(), "tuf")
			root, targets := k.drafts(t, c)
			_, err := tufroot.CreateSignedBroken(c.cfg(dir), root, targets, targetsOf("one"), k.online, tufroot.Crash{N: n, Done: done})
			if finished = err == nil; finished {
				continue
			}
			r, err := tufroot.CreateSigned(c.cfg(dir), root, targets, targetsOf("one"), k.online)
			if errors.Is(err, tufroot.ErrExists) && done {
				// The last write took place.
				r, err = tufroot.Open(c.cfg(dir))
			}
			if err != nil {
				t.Fatalf("crash %d: again: %v", n, err)
			}
			if !bytes.Equal(r.RootJSON(), root) {
				t.Errorf("crash %d: the root is another", n)
			}
			newClient(t, newMirror(t, dir), r.RootJSON(), c).want(t, "one")
			again, err := tufroot.Open(c.cfg(dir))
			if err != nil {
				t.Fatalf("crash %d: %v", n, err)
			}
			assertRecorded(t, again)
		}
		if finished {
			if n < 8 {
				t.Errorf("create made %d writes, want at least 8", n)
			}
			return
		}
	}
}

// TestLeftoversOfOtherSignatures are not taken for one's own, and not replaced.
func TestLeftoversOfOtherSignatures(t *testing.T) {
	c, k := newClock(), newCouncil(t)
	dir := filepath.Join(t.TempDir(), "tuf")
	root, targets := k.drafts(t, c)
	if _, err := tufroot.CreateSignedBroken(c.cfg(dir), root, targets, targetsOf("one"), k.online, tufroot.Crash{N: 3}); err == nil {
		t.Fatal("not interrupted")
	}
	before := files(t, dir)["1.targets.json"]
	other := newCouncil(t)
	root, targets = other.drafts(t, c)
	if _, err := tufroot.CreateSigned(c.cfg(dir), root, targets, targetsOf("one"), other.online); err == nil || !strings.Contains(err.Error(), "remove that directory") {
		t.Errorf("got %v, want what to do", err)
	}
	if got := files(t, dir)["1.targets.json"]; got != before || before == "" {
		t.Errorf("1.targets.json was replaced: %q, before %q", got, before)
	}
}

// TestRecordFromBefore: a repository without a record gets one that claims nothing.
func TestRecordFromBefore(t *testing.T) {
	c, k := newClock(), newCouncil(t)
	_, dir := newCouncilRepo(t, c, k)
	record := filepath.Join(dir, ".publications.json")
	if err := os.Remove(record); err != nil {
		t.Fatal(err)
	}
	r, err := tufroot.Open(c.cfg(dir))
	if err != nil {
		t.Fatal(err)
	}
	c.Add(9 * time.Hour)
	if _, err := r.Refresh(k.online); err != nil {
		t.Fatal(err)
	}
	publishTargets(t, r, "two", k.online, k.targets)
	want := []tufroot.Publication{{Root: 1, Targets: 1}, {At: c.now.UTC(), Root: 1, Targets: 2}}
	if r, err = tufroot.Open(c.cfg(dir)); err != nil {
		t.Fatal(err)
	}
	if got, err := r.Publications(); err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	if err := os.WriteFile(record, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := tufroot.Open(c.cfg(dir)); err == nil || !strings.Contains(err.Error(), ".publications.json") {
		t.Errorf("with a torn record: got %v, want an error that names it", err)
	}
}

// FuzzParseRecord: what is accepted is in order, and is accepted again.
func FuzzParseRecord(f *testing.F) {
	f.Add([]byte(`{"roots":[{"version":1}],"targets":[{"version":1,"at":"2026-03-01T12:00:00Z","timestamp":1},{"version":3}]}`))
	f.Add([]byte(`{"roots":[{"version":2},{"version":1}],"targets":[]}`))
	f.Add([]byte(`{"roots":[{"version":9223372036854775807},{"version":-9223372036854775807}],"targets":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		again, err := tufroot.ParseRecord(data)
		if err != nil {
			return
		}
		if same, err := tufroot.ParseRecord(again); err != nil || !bytes.Equal(same, again) {
			t.Fatalf("written again: %s, %v; want %s", same, err, again)
		}
		var rec struct{ Roots, Targets []struct{ Version int64 } }
		if err := json.Unmarshal(again, &rec); err != nil {
			t.Fatal(err)
		}
		for _, list := range [][]struct{ Version int64 }{rec.Roots, rec.Targets} {
			last := int64(0)
			for _, m := range list {
				if m.Version <= last {
					t.Fatalf("version %d after %d", m.Version, last)
				}
				last = m.Version
			}
		}
	})
}
