package durable_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"sigstack/internal/durable"
)

// TestUpdateLosesNothing has many writers add to one file.
func TestUpdateLosesNothing(t *testing.T) {
	const writers = 20
	path := filepath.Join(t.TempDir(), "file")
	var done sync.WaitGroup
	for range writers {
		done.Go(func() {
			err := durable.Update(path, 0o600, 1000, func(old []byte) ([]byte, error) { return append(old, "line\n"...), nil })
			if err != nil {
				t.Error(err)
			}
		})
	}
	done.Wait()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != strings.Repeat("line\n", writers) {
		t.Errorf("got %q, %v, want %d lines", got, err, writers)
	}
	assertOnly(t, filepath.Dir(path), "file")
}

func TestUpdateRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	wanted := errors.New("no")
	if err := durable.Update(path, 0o600, 3, func([]byte) ([]byte, error) { return nil, wanted }); !errors.Is(err, wanted) {
		t.Errorf("got %v, want the error of change", err)
	}
	if err := durable.Update(path, 0o600, 2, func([]byte) ([]byte, error) { return nil, nil }); err == nil {
		t.Error("a file of too many bytes was updated")
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "old" {
		t.Errorf("got %q, %v, want the old content", got, err)
	}
	if err := durable.Update(filepath.Join(path, "x"), 0o600, 3, func([]byte) ([]byte, error) { return nil, nil }); err == nil {
		t.Error("a file in a file was updated")
	}
}
