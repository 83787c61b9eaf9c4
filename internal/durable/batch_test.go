package durable_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"sigstack/internal/durable"
)

// TestBatch creates few files and many, in several directories and from several goroutines.
func TestBatch(t *testing.T) {
	for _, n := range []int{1, 7, 100} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			top := t.TempDir()
			var b durable.Batch
			var wg sync.WaitGroup
			for i := range n {
				wg.Go(func() {
					path := batchPath(top, i)
					if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
						t.Error(err)
					}
					if err := b.Create(path, []byte(path), 0o644); err != nil {
						t.Error(err)
					}
					if err := b.CreateAfter(path+".after", []byte("after"), 0o600); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if b.Len() != 2*n {
				t.Errorf("%d files wait, want %d", b.Len(), 2*n)
			}
			if got := tree(t, top); len(got) != 2*n || got[filepath.Base(batchPath(top, 0))] {
				t.Errorf("before the commit there are %v, want %d temporary files", got, 2*n)
			}
			if err := b.Commit(); err != nil || b.Len() != 0 {
				t.Fatalf("commit: %v, %d files wait", err, b.Len())
			}
			if got := tree(t, top); len(got) != 2*n {
				t.Errorf("got %d files, want %d: %v", len(got), 2*n, got)
			}
			for i := range n {
				path := batchPath(top, i)
				got, err := os.ReadFile(path)
				info, statErr := os.Stat(path)
				if err != nil || statErr != nil || string(got) != path || info.Mode().Perm() != 0o644 {
					t.Errorf("%s: %q, %v, %v, want its own name, 0644", path, got, err, statErr)
				}
				if got, err := os.ReadFile(path + ".after"); err != nil || string(got) != "after" {
					t.Errorf("%s.after: %q, %v", path, got, err)
				}
			}
			if err := b.Commit(); err != nil {
				t.Errorf("a commit of nothing: %v", err)
			}
		})
	}
}

func batchPath(top string, i int) string {
	return filepath.Join(top, fmt.Sprint(i%3), fmt.Sprintf("f%d", i))
}

// tree is the set of names of the files below top.
func tree(t *testing.T, top string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	err := filepath.WalkDir(top, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names[d.Name()] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestBatchKeepsWhatIsThere has one name of many taken: no file of CreateAfter is put in
// place, and nothing is left behind.
func TestBatchKeepsWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	var b durable.Batch
	for i := range 40 {
		name := filepath.Join(dir, fmt.Sprintf("f%d", i))
		if err := errors.Join(b.Create(name, []byte("new"), 0o600), b.CreateAfter(name+".after", []byte("new"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	taken := filepath.Join(dir, "f20")
	if err := os.WriteFile(taken, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := b.Commit()
	if !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), taken) {
		t.Errorf("got %v, want fs.ErrExist of %s", err, taken)
	}
	if got, err := os.ReadFile(taken); err != nil || string(got) != "old" {
		t.Errorf("the file that was there holds %q, %v", got, err)
	}
	for name := range tree(t, dir) {
		if strings.HasSuffix(name, ".after") || strings.HasPrefix(name, ".") {
			t.Errorf("%s is there", name)
		}
	}
}

// TestBatchTemporaryNames are those that IsTemp knows.
func TestBatchTemporaryNames(t *testing.T) {
	dir := t.TempDir()
	var b durable.Batch
	if err := b.Create(filepath.Join(dir, "f"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name := range tree(t, dir) {
		if !durable.IsTemp(name, "f") {
			t.Errorf("IsTemp does not know %s", name)
		}
	}
	if err := b.Create(filepath.Join(dir, "missing", "f"), nil, 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want fs.ErrNotExist", err)
	}
	if err := b.Commit(); err != nil {
		t.Fatal(err)
	}
	assertOnly(t, dir, "f")
}
