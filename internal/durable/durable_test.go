package durable_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"sigstack/internal/durable"
)

func TestWriteFileReplacesAndLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	for _, want := range []string{"one", "two"} {
		if err := durable.WriteFile(path, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != want {
			t.Fatalf("read %q, %v; want %q", got, err, want)
		}
	}
	assertOnly(t, dir, "f")
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
}

func TestWriteFileFailureKeepsTheOldContent(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "occupied")
	if err := os.MkdirAll(filepath.Join(path, "child"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := durable.WriteFile(path, []byte("x"), 0o600); err == nil {
		t.Fatal("replacing a full directory by a file succeeded")
	}
	assertOnly(t, dir, "occupied")
}

func TestCreateFileRefusesAnExistingName(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := durable.CreateFile(path, []byte("first"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := durable.CreateFile(path, []byte("second"), 0o644); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second create: got %v, want fs.ErrExist", err)
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != "first" {
		t.Errorf("content %q, %v; want the first", got, err)
	}
	assertOnly(t, dir, "f")
}

func TestLockDirKeepsASecondHolderOut(t *testing.T) {
	dir := t.TempDir()
	l, err := durable.LockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = durable.LockDir(dir)
	if !errors.Is(err, durable.ErrLocked) || !strings.Contains(err.Error(), "pid ") {
		t.Errorf("second lock: got %v, want ErrLocked naming a pid", err)
	}
	if err := l.Unlock(); err != nil {
		t.Fatal(err)
	}
	l, err = durable.LockDir(dir)
	if err != nil {
		t.Fatalf("lock after unlock: %v", err)
	}
	if err := l.Unlock(); err != nil {
		t.Fatal(err)
	}
}

func assertOnly(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("directory holds %q, want %q", got, want)
	}
}

// A copy of the descriptor, such as a forked child has before it runs its
// program, must not keep a lock that was released.
func TestUnlockReleasesCopiesToo(t *testing.T) {
	dir := t.TempDir()
	l, err := durable.LockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	duplicate, err := syscall.Dup(durable.LockDescriptor(l))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Close(duplicate); err != nil {
			t.Error(err)
		}
	}()
	if err := l.Unlock(); err != nil {
		t.Fatal(err)
	}
	again, err := durable.LockDir(dir)
	if err != nil {
		t.Fatalf("lock after unlock: %v", err)
	}
	if err := again.Unlock(); err != nil {
		t.Fatal(err)
	}
}
