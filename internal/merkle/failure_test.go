package merkle_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/google/trillian"
	"github.com/google/trillian/storage"

	"sigstack/internal/fault"
	"sigstack/internal/merkle"
	"sigstack/internal/merkle/pebblelog"
)

// failingLog makes writes and syncs of the write-ahead log fail from the moment
// it is switched on.
type failingLog struct {
	on   atomic.Bool
	kind errorfs.OpKind
}

func (f *failingLog) String() string { return "failing log" }

func (f *failingLog) MaybeError(op errorfs.Op) error {
	if f.on.Load() && op.Kind == f.kind && strings.HasSuffix(op.Path, ".log") {
		return errorfs.ErrInjected
	}
	return nil
}

func TestFailingDiskLosesNothingAcknowledged(t *testing.T) {
	for name, kind := range map[string]errorfs.OpKind{
		"write":     errorfs.OpFileWrite,
		"sync data": errorfs.OpFileSyncData,
	} {
		for _, kept := range []int{0, 100} {
			t.Run(fmt.Sprintf("%s, %d%% survives", name, kept), func(t *testing.T) {
				disk := vfs.NewCrashableMem()
				inject := &failingLog{kind: kind}
				r := startOn(t, errorfs.Wrap(disk, inject), pebblelog.Options{}, merkle.Config{})
				acknowledged := addUntilFailure(t, r, func(n int) {
					if n == 40 {
						inject.on.Store(true)
					}
				})
				if err := r.stop(); !errors.Is(err, pebblelog.ErrFailed) {
					t.Errorf("run: got %v, want ErrFailed", err)
				}
				if _, err := r.Add(t.Context(), leaf(0)); fault.KindOf(err) != fault.Unavailable {
					t.Errorf("add after the failure: got %v, want kind Unavailable", err)
				}
				if _, err := r.Entry(t.Context(), 0); !errors.Is(err, pebblelog.ErrFailed) {
					t.Errorf("read after the failure: got %v, want ErrFailed", err)
				}
				reopened := startOn(t, crashed(disk, kept), pebblelog.Options{}, merkle.Config{TreeID: r.ID()})
				if err := keepsPromises(t.Context(), reopened.Tree, acknowledged); err != nil {
					t.Error(err)
				}
				checkWhole(t, reopened)
			})
		}
	}
}

func crashed(disk *vfs.MemFS, kept int) *vfs.MemFS {
	if kept == 100 {
		return disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: newRNG()})
	}
	return disk.CrashClone(vfs.CrashCloneCfg{})
}

// addUntilFailure adds with 8 writers until each has met an error, telling note
// the number of acknowledgements so far.
func addUntilFailure(t *testing.T, r *rig, note func(n int)) (acknowledged []merkle.Added) {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	const writers = 8
	for w := range writers {
		wg.Go(func() {
			for i := w; ; i += writers {
				added, err := r.Add(t.Context(), leaf(i))
				if err != nil {
					if fault.KindOf(err) != fault.Unavailable {
						t.Errorf("add: got %v, want kind Unavailable", err)
					}
					return
				}
				mu.Lock()
				acknowledged = append(acknowledged, added)
				note(len(acknowledged))
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return acknowledged
}

// flaky fails the next commits on demand.
type flaky struct {
	merkle.Storage
	before, after atomic.Int32 // commits to fail before or after they happen
}

var errFlaky = errors.New("connection lost")

func (f *flaky) ReadWriteTransaction(ctx context.Context, tree *trillian.Tree, do storage.LogTXFunc) error {
	if f.before.Add(-1) >= 0 {
		return errFlaky
	}
	if err := f.Storage.ReadWriteTransaction(ctx, tree, do); err != nil {
		return err
	}
	if f.after.Add(-1) >= 0 {
		return errFlaky
	}
	return nil
}

// reopen replaces r, which must not run yet, by a tree on storage s.
func (r *rig) reopen(t *testing.T, s merkle.Storage) *rig {
	t.Helper()
	c := r.cfg
	c.Storage = s
	tree, err := merkle.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return &rig{Tree: tree, cfg: c, store: r.store}
}

func TestFailedCommitIsFollowedByWhatStorageSays(t *testing.T) {
	tests := []struct {
		name   string
		fail   func(*flaky)
		logged bool // the leaf whose Add failed
	}{
		{"before it happened", func(f *flaky) { f.before.Store(1) }, false},
		{"after it happened", func(f *flaky) { f.after.Store(1) }, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := open(t, vfs.NewMem(), merkle.Config{})
			f := &flaky{Storage: r.store}
			r = run(t, r.reopen(t, f))
			acknowledged := addAll(t, r.Tree, 5, 1)
			tt.fail(f)
			if _, err := r.Add(t.Context(), leaf(5)); fault.KindOf(err) != fault.Unavailable || !errors.Is(err, errFlaky) {
				t.Fatalf("add: got %v, want kind Unavailable with its cause", err)
			}
			acknowledged = append(acknowledged, mustAdd(t, r.Tree, leaf(6)))
			again := mustAdd(t, r.Tree, leaf(5))
			if again.Duplicate != tt.logged {
				t.Errorf("adding again: duplicate %v, want %v", again.Duplicate, tt.logged)
			}
			if got := r.Head().Size; got != 7 {
				t.Errorf("the log has %d entries, want 7", got)
			}
			if err := keepsPromises(t.Context(), r.Tree, acknowledged); err != nil {
				t.Error(err)
			}
			checkWhole(t, r)
		})
	}
}

// swapped answers from another store once set.
type swapped struct {
	flaky
	other atomic.Pointer[pebblelog.Store]
}

func (s *swapped) SnapshotForTree(ctx context.Context, tree *trillian.Tree) (storage.ReadOnlyLogTreeTX, error) {
	if other := s.other.Load(); other != nil {
		return other.SnapshotForTree(ctx, tree)
	}
	return s.Storage.SnapshotForTree(ctx, tree)
}

func TestStorageThatShrankStopsTheTree(t *testing.T) {
	fs := vfs.NewCrashableMem()
	r := openOn(t, fs, pebblelog.Options{}, merkle.Config{})
	s := &swapped{flaky: flaky{Storage: r.store}}
	r = run(t, r.reopen(t, s))
	addAll(t, r.Tree, 3, 1)
	old := openOn(t, fs.CrashClone(vfs.CrashCloneCfg{}), pebblelog.Options{}, merkle.Config{TreeID: r.ID()})
	addAll(t, r.Tree, 6, 1)
	s.other.Store(old.store)
	s.before.Store(1)
	for i := range 2 {
		if _, err := r.Add(t.Context(), leaf(10+i)); fault.KindOf(err) != fault.Unavailable {
			t.Fatalf("add: got %v, want kind Unavailable", err)
		}
	}
	if got := r.Head().Size; got != 6 {
		t.Errorf("head went back to %d", got)
	}
	err := r.stop()
	if want := "it has 3 entries, 6 were published"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("run: got %v, want %q", err, want)
	}
	r.stop = func() error { return nil } // reported above
}
