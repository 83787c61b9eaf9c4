package filewatch_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigstack/internal/filewatch"
)

// watched is a set of two files behind a link, as Kubernetes mounts them, and what
// was taken of it.
type watched struct {
	dir   string
	set   filewatch.Set
	taken []string
	err   error // of the next Take
}

func newWatched(t *testing.T) *watched {
	t.Helper()
	w := &watched{dir: t.TempDir()}
	w.set.Paths = func() []string { return []string{filepath.Join(w.dir, "data", "a"), filepath.Join(w.dir, "data", "b")} }
	w.set.Take = func(contents [][]byte) error {
		if w.err != nil {
			return w.err
		}
		w.taken = append(w.taken, string(contents[0])+string(contents[1]))
		return nil
	}
	w.swap(t, "1", "a1", "b1")
	return w
}

// swap makes a directory and lets the link point at it in one step.
func (w *watched) swap(t *testing.T, name, a, b string) {
	t.Helper()
	dir := filepath.Join(w.dir, name)
	next := filepath.Join(w.dir, "next")
	err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, "a"), []byte(a), 0o600),
		os.WriteFile(filepath.Join(dir, "b"), []byte(b), 0o600), os.Symlink(name, next), os.Rename(next, filepath.Join(w.dir, "data")))
	if err != nil {
		t.Fatal(err)
	}
}

func (w *watched) want(t *testing.T, when string, taken ...string) {
	t.Helper()
	if got, want := strings.Join(w.taken, " "), strings.Join(taken, " "); got != want {
		t.Errorf("%s: took %q, want %q", when, got, want)
	}
}

func TestLook(t *testing.T) {
	w := newWatched(t)
	if err := w.set.Now(); err != nil {
		t.Fatal(err)
	}
	w.want(t, "now", "a1b1")
	w.set.Look()
	w.want(t, "looking at what is in use", "a1b1")
	w.swap(t, "2", "a2", "b2")
	if w.set.Look() {
		t.Error("took what was not there at the look before")
	}
	if !w.set.Look() {
		t.Error("did not take what was there twice")
	}
	w.want(t, "after a swap", "a1b1", "a2b2")
}

func TestHalfWritten(t *testing.T) {
	w := newWatched(t)
	w.set.Note()
	file := filepath.Join(w.dir, "1", "a")
	for i, text := range []string{"a2", "a3", "a4"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if w.set.Waiting() {
			t.Errorf("look %d: waits while the files change", i)
		}
	}
	for range 2 {
		if !w.set.Waiting() {
			t.Error("does not wait once the files have settled")
		}
	}
	w.want(t, "waiting takes nothing")
	if !w.set.Look() {
		t.Error("did not take what has settled")
	}
	w.want(t, "settled", "a4b1")
}

func TestRefused(t *testing.T) {
	w := newWatched(t)
	w.set.Note()
	w.swap(t, "2", "a2", "b2")
	w.err = errors.New("not yet")
	w.set.Look()
	for range 2 {
		if w.set.Look() || !errors.Is(w.set.Err(), w.err) {
			t.Errorf("error %v, want %v", w.set.Err(), w.err)
		}
	}
	w.err = nil
	if !w.set.Look() || w.set.Err() != nil {
		t.Errorf("not taken once it would be: %v", w.set.Err())
	}
	w.want(t, "mended by time", "a2b2")
}

func TestUnreadable(t *testing.T) {
	w := newWatched(t)
	w.set.Note()
	if err := os.Remove(filepath.Join(w.dir, "data")); err != nil {
		t.Fatal(err)
	}
	w.set.Look()
	w.set.Look()
	if !errors.Is(w.set.Err(), os.ErrNotExist) {
		t.Errorf("error %v, want that the file is not there", w.set.Err())
	}
	if err := os.Symlink("1", filepath.Join(w.dir, "data")); err != nil {
		t.Fatal(err)
	}
	w.set.Look()
	w.want(t, "back with the same content")
	if w.set.Err() != nil {
		t.Errorf("error %v, want none: what is there is in use", w.set.Err())
	}
}

func TestPrivate(t *testing.T) {
	w := newWatched(t)
	w.set.Private = w.set.Paths()[1]
	if err := os.Chmod(w.set.Private, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := w.set.Now(); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a secret that everybody may read: %v", err)
	}
	if err := os.Chmod(w.set.Private, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := w.set.Now(); err != nil {
		t.Errorf("a secret that the group may read: %v", err)
	}
}
