package merkle_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"sigstack/internal/merkle"
	"sigstack/internal/merkle/pebblelog"
)

// rig is a tree on storage of its own, running until the test ends.
type rig struct {
	*merkle.Tree
	cfg   merkle.Config
	store *pebblelog.Store
	stop  func() error // ends Run and waits for it; later calls repeat the result
}

// openOn opens storage on fs and in it a tree, which it creates if c names none.
func openOn(t testing.TB, fs vfs.FS, o pebblelog.Options, c merkle.Config) *rig {
	t.Helper()
	if c.Now == nil {
		c.Now = time.Now
	}
	o.FS, o.Now = fs, c.Now
	store, err := pebblelog.Open("db", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil && !errors.Is(err, pebblelog.ErrFailed) {
			t.Errorf("close storage: %v", err)
		}
	})
	if c.TreeID == 0 {
		if c.TreeID, err = merkle.CreateTree(t.Context(), store, "test"); err != nil {
			t.Fatal(err)
		}
	}
	c.Storage = store
	tree, err := merkle.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return &rig{Tree: tree, cfg: c, store: store}
}

func open(t testing.TB, fs vfs.FS, c merkle.Config) *rig {
	t.Helper()
	return openOn(t, fs, pebblelog.Options{NoSync: true}, c)
}

func startOn(t testing.TB, fs vfs.FS, o pebblelog.Options, c merkle.Config) *rig {
	t.Helper()
	return run(t, openOn(t, fs, o, c))
}

func start(t testing.TB, c merkle.Config) *rig {
	t.Helper()
	return startOn(t, vfs.NewMem(), pebblelog.Options{NoSync: true}, c)
}

func run(t testing.TB, r *rig) *rig {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	r.stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() {
		if err := r.stop(); err != nil && !errors.Is(err, pebblelog.ErrFailed) {
			t.Errorf("run: %v", err)
		}
	})
	return r
}

// restart stops r and opens its directory anew, as the next process would.
func (r *rig) restart(t testing.TB, fs vfs.FS, o pebblelog.Options) *rig {
	t.Helper()
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if err := r.store.Close(); err != nil {
		t.Fatal(err)
	}
	return startOn(t, fs, o, r.cfg)
}

func leaf(i int) merkle.Leaf {
	return merkle.Leaf{Value: fmt.Appendf(nil, "leaf %d", i), Extra: fmt.Appendf(nil, "extra %d", i)}
}

func mustAdd(t testing.TB, tree *merkle.Tree, l merkle.Leaf) merkle.Added {
	t.Helper()
	added, err := tree.Add(t.Context(), l)
	if err != nil {
		t.Fatalf("add: %v", err)
	}
	if err := verify(added.Entry, added.Proof); err != nil {
		t.Fatal(err)
	}
	return added
}

// verify checks an inclusion proof as a client would.
func verify(e merkle.Entry, p merkle.Proof) error {
	if got, want := e.LeafHash, [32]byte(rfc6962.DefaultHasher.HashLeaf(e.Leaf.Value)); got != want {
		return fmt.Errorf("entry %d: leaf hash %x, want %x", e.Index, got, want)
	}
	if p.Index != e.Index || p.Hashes == nil {
		return fmt.Errorf("entry %d: proof is of entry %d, hashes %v", e.Index, p.Index, p.Hashes)
	}
	if err := proof.VerifyInclusion(rfc6962.DefaultHasher, p.Index, p.Size, e.LeafHash[:], p.Hashes, p.Root[:]); err != nil {
		return fmt.Errorf("entry %d: %w", e.Index, err)
	}
	return nil
}

// extends checks that newer extends older, by a consistency proof of tree.
func extends(ctx context.Context, tree *merkle.Tree, older, newer merkle.Head) error {
	if older.Size == 0 {
		return nil // everything extends the empty tree, and RFC 6962 has no proof of it
	}
	hashes, err := tree.Consistency(ctx, older.Size, newer.Size)
	if err != nil {
		return err
	}
	if err := proof.VerifyConsistency(rfc6962.DefaultHasher, older.Size, newer.Size, hashes, older.Root[:], newer.Root[:]); err != nil {
		return fmt.Errorf("head of %d does not extend head of %d: %w", newer.Size, older.Size, err)
	}
	return nil
}

// keepsPromises checks that every answer given so far still holds: each entry is
// there unchanged, provable in the newest tree, and each head is extended.
func keepsPromises(ctx context.Context, tree *merkle.Tree, acknowledged []merkle.Added) error {
	head := tree.Head()
	for _, a := range acknowledged {
		e, err := tree.Entry(ctx, a.Entry.Index)
		if err != nil {
			return fmt.Errorf("acknowledged entry %d is missing: %w", a.Entry.Index, err)
		}
		if e.LeafHash != a.Entry.LeafHash || !e.IntegratedAt.Equal(a.Entry.IntegratedAt) || !e.QueuedAt.Equal(a.Entry.QueuedAt) {
			return fmt.Errorf("acknowledged entry %d has changed: got %+v, want %+v", a.Entry.Index, e, a.Entry)
		}
		p, err := tree.Inclusion(ctx, e.Index, head.Size)
		if err != nil {
			return fmt.Errorf("acknowledged entry %d: %w", e.Index, err)
		}
		if err := verify(e, p); err != nil {
			return err
		}
		if p.Root != head.Root {
			return fmt.Errorf("entry %d is proved in root %x, head is %x", e.Index, p.Root, head.Root)
		}
		if err := extends(ctx, tree, merkle.Head{Size: a.Proof.Size, Root: a.Proof.Root}, head); err != nil {
			return err
		}
	}
	return nil
}

// checkWhole recomputes the tree from its leaves.
func checkWhole(t testing.TB, r *rig) {
	t.Helper()
	head, err := merkle.CheckTree(t.Context(), r.store, r.ID())
	if err != nil {
		t.Fatal(err)
	}
	if head != r.Head() {
		t.Fatalf("recomputed head %+v, want %+v", head, r.Head())
	}
}

func headFile(t testing.TB) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "head")
}
