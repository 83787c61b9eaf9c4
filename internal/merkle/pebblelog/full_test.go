package pebblelog

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
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
		w.flushed(pebble.FlushInfo{Err: full})
		if len(given) != 0 {
			t.Errorf("gave up after %d failures, want %d", flushTries-1, flushTries)
		}
		w.flushed(pebble.FlushInfo{}) // one that succeeds starts the count anew
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
