package merkle_test

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"sigstack/internal/merkle"
	"sigstack/internal/merkle/pebblelog"
)

// cut is a moment at which the power fails.
type cut struct {
	after   int // acknowledgements
	writers int
	kept    int // percent of what was not synced that survives by luck
}

// powerCut adds leaves, cuts the power right after an acknowledgement, starts
// again on what the disk holds and returns the first promise that is broken.
func powerCut(t *testing.T, o pebblelog.Options, c cut) error {
	t.Helper()
	fs := vfs.NewCrashableMem()
	r := startOn(t, fs, pebblelog.Options{}, merkle.Config{}) // the tree itself is made durably
	r = r.restart(t, fs, o)
	disk, acknowledged := addUntilCut(t, fs, r, c)
	r = startOn(t, disk, pebblelog.Options{}, merkle.Config{TreeID: r.ID()})
	if err := keepsPromises(t.Context(), r.Tree, acknowledged); err != nil {
		return err
	}
	checkWhole(t, r)
	mustAdd(t, r.Tree, leaf(1<<20))
	return keepsPromises(t.Context(), r.Tree, acknowledged)
}

// addUntilCut returns the disk as the writer of the cut's acknowledgement found
// it, and all acknowledgements up to then.
func addUntilCut(t *testing.T, fs *vfs.MemFS, r *rig, c cut) (disk *vfs.MemFS, acknowledged []merkle.Added) {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	// acknowledge reports whether the power is still on.
	acknowledge := func(a merkle.Added) bool {
		mu.Lock()
		defer mu.Unlock()
		if disk != nil {
			return false
		}
		acknowledged = append(acknowledged, a)
		if len(acknowledged) == c.after {
			disk = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: c.kept, RNG: newRNG()})
		}
		return disk == nil
	}
	for w := range c.writers {
		wg.Go(func() {
			for i := w; ; i += c.writers {
				added, err := r.Add(t.Context(), leaf(i))
				if err != nil {
					t.Errorf("add: %v", err)
					return
				}
				if !acknowledge(added) {
					return
				}
			}
		})
	}
	wg.Wait()
	if disk == nil {
		t.FailNow()
	}
	return disk, acknowledged
}

// newRNG chooses, the same way each time, what survives a crash by luck.
func newRNG() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

func cuts() []cut {
	var all []cut
	for _, kept := range []int{0, 30, 90} {
		for _, after := range []int{1, 2, 17, 150} {
			for _, writers := range []int{1, 8} {
				all = append(all, cut{after, writers, kept})
			}
		}
	}
	return all
}

func TestPowerCutKeepsEveryAcknowledgedEntry(t *testing.T) {
	for _, c := range cuts() {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			if err := powerCut(t, pebblelog.Options{}, c); err != nil {
				t.Error(err)
			}
		})
	}
}

// Without this, the test above would prove nothing: it must notice a disk that
// is not synced.
func TestPowerCutWithoutSyncLosesAcknowledgedEntries(t *testing.T) {
	for _, c := range cuts() {
		if c.kept > 0 {
			continue // luck may keep everything
		}
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			err := powerCut(t, pebblelog.Options{NoSync: true}, c)
			if err == nil || !regexp.MustCompile(`acknowledged entry \d+ is missing`).MatchString(err.Error()) {
				t.Errorf("got %v, want a missing acknowledged entry named", err)
			}
		})
	}
}
