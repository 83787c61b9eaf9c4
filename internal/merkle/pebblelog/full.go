package pebblelog

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// minFree is what Open wants free on the disk, in bytes: room for a few
	// memtables and their tables, without which Pebble would not get started.
	minFree = 32 << 20
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

// flushWatch slows down and counts failing flushes. Safe for concurrent use.
type flushWatch struct {
	log    logger
	giveUp func(cause error) // called once, after flushTries failures in a row
	failed atomic.Int32
}

// failure is called by Pebble under its main lock, so that its pause holds up
// readers, too; a disk in this state has nothing better to offer.
func (w *flushWatch) failure(err error) {
	n := w.failed.Add(1)
	if n == 1 || n == flushTries {
		w.log.Errorf("writing a table failed, %d times in a row: %v", n, err)
	}
	if n == flushTries && w.giveUp != nil {
		w.giveUp(err)
	}
	time.Sleep(flushPause)
}

func (w *flushWatch) flushed(info pebble.FlushInfo) {
	if info.Err == nil {
		w.failed.Store(0)
	}
}
