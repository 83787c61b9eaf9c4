package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestWaitingForAPassphraseEnds: nothing ends the opening of a pipe into which
// nobody writes, so it must not be waited for.
func TestWaitingForAPassphraseEnds(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	got, err := passphraseFlags{file: pipe, fd: -1}.read(ctx)
	if !errors.Is(err, context.Canceled) || exitCode(err, true) != exitInterrupted {
		t.Errorf("got %q, %v; want none, as of an interrupted command", got, err)
	}
	w, err := os.OpenFile(pipe, os.O_RDWR, 0) // lets the reader go
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}
