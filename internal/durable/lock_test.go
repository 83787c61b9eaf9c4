package durable_test

import (
	"sync"
	"testing"

	"sigstack/internal/durable"
)

// TestLockWhileLookedAt: whoever asks all the time whether a directory is in use keeps
// nobody from taking it, and is told the truth.
func TestLockWhileLookedAt(t *testing.T) {
	dir := t.TempDir()
	stop := make(chan struct{})
	var lookers sync.WaitGroup
	defer lookers.Wait()
	defer close(stop)
	for range 2 {
		lookers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					_ = durable.Unlocked(dir) // locked or not
				}
			}
		})
	}
	for range 300 {
		lock, err := durable.LockDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := durable.Unlocked(dir); err == nil {
			t.Error("a locked directory is said to be free")
		}
		if err := lock.Unlock(); err != nil {
			t.Fatal(err)
		}
	}
}
