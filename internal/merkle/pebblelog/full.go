package pebblelog

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"sigstack/internal/fault"
)

const (
	// minFree is what Open wants free on the disk, in bytes: room for a few
	// memtables and their tables, without which Pebble would not get started.
	minFree = 32 << 20
	// LeastFree is what a commit wants free on the disk, in bytes: more than Open
	// does, so that a log that has filled its disk by itself can be opened again.
	LeastFree = 2 * minFree
	// fullRetry is when to ask again after a commit was refused for want of space.
	fullRetry = 10 * time.Second
	// flushPause and flushTries bound how Pebble, which would at once try again
	// for ever, goes about a disk that takes no table: after some five seconds
	// the Store counts as failed.
	flushPause = 100 * time.Millisecond
	flushTries = 50
)

// checkSpace refuses a disk that is full, naming it. File systems that do not
// tell are let pass.
func checkSpace(fs vfs.FS, dir string) error {
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	usage, err := fs.GetDiskUsage(dir)
	if errors.Is(err, vfs.ErrUnsupported) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("ask for free space: %w", err)
	}
	if usage.AvailBytes < minFree {
		return fmt.Errorf("only %d MiB are free on its disk, want %d: free some space and start again",
			usage.AvailBytes>>20, minFree>>20)
	}
	return nil
}

// room refuses a commit while the disk is full, as fault.Unavailable: before the
// write-ahead log is touched, whose failure would cost the whole Store. So reading
// goes on, and writing does too as soon as there is space.
func (s *Store) room() error {
	if s.flushes.full.Load() {
		return errFull(errors.New("tables cannot be written"))
	}
	usage, err := s.fs.GetDiskUsage(s.dir)
	if errors.Is(err, vfs.ErrUnsupported) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("ask for free space: %w", err)
	}
	if usage.AvailBytes < LeastFree {
		return errFull(fmt.Errorf("only %d MiB are free in %s, want %d", usage.AvailBytes>>20, s.dir, LeastFree>>20))
	}
	return nil
}

func errFull(cause error) error {
	return &fault.Error{
		Kind: fault.Unavailable, Public: "the log's disk is full; nothing is accepted until there is space again",
		Err: cause, RetryAfter: fullRetry,
	}
}

// flushWatch slows down and counts failing flushes and compactions. A disk that is
// merely full is waited for; nothing is lost meanwhile, since the write-ahead log
// has it all. Safe for concurrent use.
type flushWatch struct {
	log     logger
	giveUp  func(cause error) // called once, after flushTries failures in a row
	failed  atomic.Int32
	full    atomic.Bool // the last failure was for want of space
	patient atomic.Bool // the Store is open, so that readers have something of waiting
}

// failure is called by Pebble under its main lock, so that its pause holds up
// readers, too; a disk in this state has nothing better to offer.
func (w *flushWatch) failure(err error) {
	full := vfs.IsNoSpaceError(err)
	before := w.full.Swap(full)
	if full && w.patient.Load() {
		if !before {
			w.log.Errorf("writing a table failed, and will until there is space: %v", err)
		}
		time.Sleep(flushPause)
		return
	}
	n := w.failed.Add(1)
	if n == 1 || n == flushTries {
		w.log.Errorf("writing a table failed, %d times in a row: %v", n, err)
	}
	if n == flushTries && w.giveUp != nil {
		w.giveUp(err)
	}
	time.Sleep(flushPause)
}

// ended is called after each flush and each compaction.
func (w *flushWatch) ended(err error) {
	if err == nil {
		w.failed.Store(0)
		w.full.Store(false)
	}
}
