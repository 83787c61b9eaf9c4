package pebblelog

import (
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"sigstack/internal/fault"
)

// smallDisk says how much is free.
type smallDisk struct {
	vfs.FS
	free uint64
}

func (d smallDisk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: d.free}, nil
}

func TestOpenRefusesAFullDisk(t *testing.T) {
	for _, tt := range []struct {
		free uint64
		want string // "" opens
	}{{minFree, ""}, {minFree - 1, "only 31 MiB are free"}, {0, "only 0 MiB are free"}} {
		s, err := Open("db", Options{FS: smallDisk{vfs.NewMem(), tt.free}, Now: time.Now})
		switch {
		case err == nil:
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if tt.want != "" {
				t.Errorf("%d bytes free: opened", tt.free)
			}
		case tt.want == "" || !strings.Contains(err.Error(), tt.want):
			t.Errorf("%d bytes free: %v, want %q", tt.free, err, tt.want)
		}
	}
}

func TestFlushesThatKeepFailingFailTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		full := errors.New("no space left")
		var given []error
		w := &flushWatch{log: newLogger(nil), giveUp: func(err error) { given = append(given, err) }}
		start := time.Now()
		for range flushTries - 1 {
			w.failure(full)
		}
		w.ended(full)
		if len(given) != 0 {
			t.Errorf("gave up after %d failures, want %d", flushTries-1, flushTries)
		}
		w.ended(nil) // one that succeeds starts the count anew
		for range flushTries + 5 {
			w.failure(full)
		}
		if len(given) != 1 || !errors.Is(given[0], full) {
			t.Errorf("gave up %d times, %v, want once with the cause", len(given), given)
		}
		if took := time.Since(start); took < (2*flushTries)*flushPause {
			t.Errorf("%d failures took %v: Pebble would spin", 2*flushTries+4, took)
		}
	})
}

// TestFullDiskIsWaitedFor: an open Store refuses commits while its disk is full,
// for the moment, keeps reading, and goes on when there is space.
func TestFullDiskIsWaitedFor(t *testing.T) {
	disk := &varyingDisk{FS: vfs.NewMem()}
	disk.free.Store(LeastFree)
	s, err := Open("db", Options{FS: disk, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	commit := func() error {
		b := s.db.NewBatch()
		return errors.Join(b.Set([]byte("key"), []byte("value"), nil), s.commit(b))
	}
	for _, tt := range []struct {
		free    uint64
		failure error // of a table
		ended   bool  // a table was written
		full    bool
	}{
		{free: LeastFree},
		{free: LeastFree - 1, full: true},
		{free: 0, full: true},
		{free: LeastFree},
		{free: LeastFree, failure: syscall.ENOSPC, full: true},
		{free: LeastFree, full: true}, // until one succeeds
		{free: LeastFree, ended: true},
	} {
		disk.free.Store(tt.free)
		if tt.failure != nil {
			for range 5 {
				s.flushes.failure(tt.failure)
			}
		}
		if tt.ended {
			s.flushes.ended(nil)
		}
		err := commit()
		if got := fault.KindOf(err) == fault.Unavailable && fault.RetryAfterOf(err) > 0; got != tt.full || !tt.full && err != nil {
			t.Errorf("%+v: commit: %v", tt, err)
		}
		if _, found, err := get(s.db, layoutKey()); !found || err != nil {
			t.Errorf("%+v: read: %v, %v", tt, found, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// varyingDisk says how much is free, which varies.
type varyingDisk struct {
	vfs.FS
	free atomic.Uint64
}

func (d *varyingDisk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: d.free.Load()}, nil
}
