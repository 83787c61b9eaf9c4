package tuf_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sigstack/internal/httpd"
	tufroot "sigstack/tuf-root"
)

// TestFullDisk: nothing can be written for a while. Clients go on seeing a whole
// repository, and the next attempt with space signs the next version.
func TestFullDisk(t *testing.T) {
	now := time.Now()
	s := newStack(t, func() time.Time { return now })
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(disk, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=256k"); err != nil {
		t.Skipf("no small disk, which takes root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	if err := os.CopyFS(disk, os.DirFS(s.repoDir())); err != nil {
		t.Fatal(err)
	}
	repo, err := tufroot.Open(tufroot.Config{Dir: disk, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	full := newServiceOf(t, s, repo, func() time.Time { return now })
	fill(t, filepath.Join(disk, "ballast"))
	before := repo.Status()
	for range 3 {
		now = now.Add(2 * time.Hour)
		if err := full.RefreshNow(t.Context()); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("got %v, want that the disk is full", err)
		}
	}
	if status, detail := full.Health(); status != httpd.Warn || !strings.Contains(detail, "could not be signed again since") {
		t.Errorf("got %s %q, want a warning", status, detail)
	}
	if again, err := tufroot.Open(tufroot.Config{Dir: disk, Now: func() time.Time { return now }}); err != nil || again.Status()[3] != before[3] {
		t.Errorf("what clients see: %v, want timestamp %d as before", err, before[3].Version)
	}
	if err := os.Remove(filepath.Join(disk, "ballast")); err != nil {
		t.Fatal(err)
	}
	if err := full.RefreshNow(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := repo.Status(); after[3].Version <= before[3].Version || after[2].Version <= before[2].Version {
		t.Errorf("got %v after %v, want newer versions", after, before)
	}
	if status, detail := full.Health(); status != httpd.OK {
		t.Errorf("got %s %q, want ok", status, detail)
	}
}

// fill takes all that is free.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for size := 64 << 10; size > 0; {
		if _, err := f.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
