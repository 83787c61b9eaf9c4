package merkle_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"sigstack/internal/fault"
	"sigstack/internal/merkle"
	"sigstack/internal/merkle/pebblelog"
)

// prepare makes the tree that is to succeed r's, and opens it.
func prepare(t testing.TB, r *rig) *rig {
	t.Helper()
	id, err := merkle.PrepareTree(t.Context(), r.store, "next")
	if err != nil {
		t.Fatal(err)
	}
	cfg := r.cfg
	cfg.TreeID, cfg.HeadFile = id, ""
	tree, err := merkle.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return run(t, &rig{Tree: tree, cfg: cfg, store: r.store})
}

// TestHandOverUnderLoad: each leaf of many writers ends in one tree, that which
// its answer names, and no answer is lost.
func TestHandOverUnderLoad(t *testing.T) {
	old := start(t, merkle.Config{})
	next := prepare(t, old)
	const writers, each = 16, 60
	var mu sync.Mutex
	answers := map[*rig][]merkle.Added{} // guarded by mu
	var wg sync.WaitGroup
	begun := make(chan struct{}, writers*each)
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				into := old
				added, err := old.Add(t.Context(), leaf(w*each+i))
				if errors.Is(err, merkle.ErrFrozen) && old.Frozen() {
					into = next
					for err != nil { // next may be told a moment later
						added, err = next.Add(t.Context(), leaf(w*each+i))
					}
				}
				if err != nil {
					t.Errorf("add: %v", err)
					return
				}
				mu.Lock()
				answers[into] = append(answers[into], added)
				mu.Unlock()
				begun <- struct{}{}
			}
		})
	}
	for range writers * each / 3 {
		<-begun
	}
	if err := old.HandOver(t.Context(), next.Tree); err != nil {
		t.Fatal(err)
	}
	last := old.Head()
	wg.Wait()
	if got, want := last.Size+next.Head().Size, uint64(writers*each); got != want || next.Head().Size == 0 || last.Size == 0 {
		t.Errorf("trees have %d and %d entries, want %d together, some in each", last.Size, next.Head().Size, want)
	}
	if old.Head() != last {
		t.Errorf("head of the frozen tree went from %+v to %+v", last, old.Head())
	}
	for tree, acknowledged := range answers {
		if err := keepsPromises(t.Context(), tree.Tree, acknowledged); err != nil {
			t.Error(err)
		}
		checkWhole(t, tree)
	}
}

// TestFrozenInStorage: whoever believes that the tree takes entries is refused by
// storage, also after a restart, and reads go on.
func TestFrozenInStorage(t *testing.T) {
	fs := vfs.NewMem()
	old := startOn(t, fs, pebblelog.Options{}, merkle.Config{})
	first := mustAdd(t, old.Tree, leaf(1))
	stale, err := merkle.Open(t.Context(), old.cfg)
	if err != nil {
		t.Fatal(err)
	}
	stranger := run(t, &rig{Tree: stale, cfg: old.cfg, store: old.store})
	next := prepare(t, old)
	if _, err := next.Add(t.Context(), leaf(2)); !errors.Is(err, merkle.ErrFrozen) {
		t.Errorf("add to a prepared tree: got %v, want ErrFrozen", err)
	}
	if err := merkle.Succeed(t.Context(), old.store, old.ID(), next.ID()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := stranger.Add(t.Context(), leaf(3)); !errors.Is(err, merkle.ErrFrozen) || fault.KindOf(err) != fault.Unavailable {
			t.Errorf("add to a frozen tree: got %v, want ErrFrozen", err)
		}
	}
	if !stranger.Frozen() {
		t.Error("a tree that storage refused is not frozen")
	}
	if err := errors.Join(stranger.stop(), next.stop()); err != nil {
		t.Fatal(err)
	}
	old = old.restart(t, fs, pebblelog.Options{})
	if !old.Frozen() || old.Head().Size != 1 {
		t.Errorf("after a restart: frozen %v with %d entries, want frozen with 1", old.Frozen(), old.Head().Size)
	}
	if err := keepsPromises(t.Context(), old.Tree, []merkle.Added{first}); err != nil {
		t.Error(err)
	}
	cfg := old.cfg
	cfg.TreeID, cfg.Storage = next.ID(), old.store
	tree, err := merkle.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	mustAdd(t, run(t, &rig{Tree: tree, cfg: cfg, store: old.store}).Tree, leaf(1)) // again, in another tree
}

// TestSucceedRefuses what would leave two trees that take entries, or none.
func TestSucceedRefuses(t *testing.T) {
	old := start(t, merkle.Config{})
	next := prepare(t, old)
	other, err := merkle.CreateTree(t.Context(), old.store, "other")
	if err != nil {
		t.Fatal(err)
	}
	refused := func(what string, from, to int64) {
		t.Helper()
		if err := merkle.Succeed(t.Context(), old.store, from, to); fault.KindOf(err) != fault.Conflict {
			t.Errorf("%s: got %v, want it refused", what, err)
		}
	}
	refused("an active successor", old.ID(), other)
	refused("a frozen predecessor", next.ID(), next.ID())
	mustAdd(t, old.Tree, leaf(1))
	if again, err := merkle.PrepareTree(t.Context(), old.store, "next"); err != nil || again != next.ID() {
		t.Errorf("prepare again: %d, %v, want %d", again, err, next.ID())
	}
	if err := old.HandOver(t.Context(), next.Tree); err != nil {
		t.Fatal(err)
	}
	refused("again", old.ID(), next.ID())
	refused("back, to a tree with entries", next.ID(), old.ID())
	for _, name := range []string{"next", "test"} { // the one takes entries, the other has some
		if _, err := merkle.PrepareTree(t.Context(), old.store, name); fault.KindOf(err) != fault.Conflict {
			t.Errorf("prepare %s: got %v, want it refused", name, err)
		}
	}
	if err := old.HandOver(t.Context(), next.Tree); fault.KindOf(err) != fault.Conflict {
		t.Errorf("hand over again: got %v, want it refused", err)
	}
	mustAdd(t, next.Tree, leaf(2))
}

// TestPowerCutsAroundHandOver: at each write of preparing and of handing over,
// whatever survives of it, one tree and no more takes entries after a restart.
func TestPowerCutsAroundHandOver(t *testing.T) {
	seen := map[string]int{}
	for _, kept := range []int{0, 50, 100} {
		for cut := 0; ; cut++ {
			disk, id, more := cutAround(t, cut, kept)
			seen[afterCut(t, disk, id)]++
			if !more {
				break
			}
		}
	}
	if seen["old"] == 0 || seen["new"] == 0 {
		t.Errorf("states after a cut: %v, want some of each", seen)
	}
}

// cutAround prepares and hands over, and returns the disk as it is after so many
// syncs of that, and whether there were more.
func cutAround(t *testing.T, cut, kept int) (disk *vfs.MemFS, old int64, more bool) {
	t.Helper()
	fs := vfs.NewCrashableMem()
	r := startOn(t, fs, pebblelog.Options{}, merkle.Config{})
	mustAdd(t, r.Tree, leaf(1))
	steps := []func() error{
		func() error { return nil },
		func() error { _, err := merkle.PrepareTree(t.Context(), r.store, "next"); return err },
		func() error {
			id, err := merkle.PrepareTree(t.Context(), r.store, "next")
			return errors.Join(err, merkle.Succeed(t.Context(), r.store, r.ID(), id))
		},
	}
	for i, step := range steps[:min(cut/2+1, len(steps))] {
		if 2*i == cut-1 { // before a sync of this step
			disk = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: kept, RNG: newRNG()})
		}
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	if disk == nil {
		disk = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: kept, RNG: newRNG()})
	}
	return disk, r.ID(), cut < 2*len(steps)-1
}

// afterCut opens what a cut has left, and says which tree takes entries.
func afterCut(t *testing.T, disk *vfs.MemFS, id int64) string {
	t.Helper()
	old := openOn(t, disk, pebblelog.Options{}, merkle.Config{TreeID: id})
	next, err := merkle.PrepareTree(t.Context(), old.store, "next") // what a start does not, but prepare again
	if !old.Frozen() {
		if err != nil {
			t.Errorf("prepare after a cut: %v", err)
		}
		mustAdd(t, run(t, old).Tree, leaf(2))
		if err := merkle.Succeed(t.Context(), old.store, id, next); err != nil {
			t.Errorf("activate after a cut: %v", err)
		}
		return "old"
	}
	if fault.KindOf(err) != fault.Conflict {
		t.Errorf("the old tree is frozen, and the next one not active: %v", err)
	}
	if size := old.Head().Size; size != 1 {
		t.Errorf("the old tree has %d entries, want 1", size)
	}
	return "new"
}
