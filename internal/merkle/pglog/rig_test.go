package pglog_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/trillian"
	"github.com/google/trillian/storage"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"sigstack/internal/merkle"
	"sigstack/internal/merkle/pglog"
)

// newTree makes a tree in a store.
func newTree(t testing.TB, s merkle.Storage) int64 {
	t.Helper()
	id, err := merkle.CreateTree(t.Context(), s, "test")
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// engine is a running tree.
type engine struct {
	*merkle.Tree
	stop func() error // ends Run and waits for it; later calls repeat the result
}

func start(t testing.TB, s merkle.Storage, id int64) *engine {
	t.Helper()
	return run(t, openTree(t, merkle.Config{Storage: s, TreeID: id}))
}

func openTree(t testing.TB, c merkle.Config) *merkle.Tree {
	t.Helper()
	if c.Now == nil {
		c.Now = time.Now
	}
	tree, err := merkle.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func run(t testing.TB, tree *merkle.Tree) *engine {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tree.Run(ctx) }()
	stopped := false
	e := &engine{Tree: tree, stop: sync.OnceValue(func() error { stopped = true; cancel(); return <-done })}
	t.Cleanup(func() {
		if stopped {
			return // the test has seen how it ended
		}
		if err := e.stop(); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return e
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
	return added
}

// promised collects what was acknowledged, and at the end checks it against the
// database as somebody would who trusts neither the engine nor the driver: from
// leaves, times and roots that it reads by SQL.
type promised struct {
	mu    sync.Mutex // guards added
	added []merkle.Added
}

func (p *promised) note(a merkle.Added) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.added = append(p.added, a)
}

// stored is a leaf as the database has it.
type stored struct {
	value []byte
	at    int64
}

// check walks every acknowledged response and every root of the tree.
func (p *promised) check(t testing.TB, s *pglog.Store, id int64) {
	t.Helper()
	leaves, roots := readTables(t, s, id)
	hashes := make([][]byte, len(leaves))
	for i, l := range leaves {
		hashes[i] = rfc6962.DefaultHasher.HashLeaf(l.value)
	}
	for _, r := range roots {
		if r.Size > uint64(len(leaves)) {
			t.Fatalf("a root is over %d leaves, there are %d", r.Size, len(leaves))
		}
		if got := rootOf(hashes[:r.Size]); got != r.Root {
			t.Fatalf("the first %d leaves hash to %x, the root of %v says %x: the log is forked", r.Size, got, r.Time, r.Root)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	at := map[uint64][32]byte{} // roots of sizes that answers named
	for _, a := range p.added {
		e := a.Entry
		if e.Index >= uint64(len(leaves)) {
			t.Fatalf("acknowledged entry %d is not among %d leaves", e.Index, len(leaves))
		}
		l := leaves[e.Index]
		if string(l.value) != string(e.Leaf.Value) {
			t.Fatalf("acknowledged entry %d was %q, is %q", e.Index, e.Leaf.Value, l.value)
		}
		if l.at != e.IntegratedAt.UnixNano() {
			t.Fatalf("acknowledged entry %d was integrated at %d, now at %d", e.Index, e.IntegratedAt.UnixNano(), l.at)
		}
		if err := proof.VerifyInclusion(rfc6962.DefaultHasher, a.Proof.Index, a.Proof.Size, hashes[e.Index], a.Proof.Hashes, a.Proof.Root[:]); err != nil {
			t.Fatalf("acknowledged entry %d: %v", e.Index, err)
		}
		root, ok := at[a.Proof.Size]
		if !ok {
			root = rootOf(hashes[:a.Proof.Size])
			at[a.Proof.Size] = root
		}
		if root != a.Proof.Root {
			t.Fatalf("entry %d was proved in a root over %d that is none of this log: %x, want %x", e.Index, a.Proof.Size, a.Proof.Root, root)
		}
	}
}

// readTables reads leaves, in order, and roots.
func readTables(t testing.TB, s *pglog.Store, id int64) (leaves []stored, roots []merkle.Head) {
	t.Helper()
	rows := query(t, s, "SELECT s.SequenceNumber, l.LeafValue, l.QueueTimestampNanos FROM SequencedLeafData s "+
		"JOIN LeafData l USING (TreeId, LeafIdentityHash) WHERE TreeId = $1 ORDER BY s.SequenceNumber", id)
	for _, r := range rows {
		if index := r[0].(int64); index != int64(len(leaves)) {
			t.Fatalf("leaf %d follows leaf %d", index, len(leaves)-1)
		}
		leaves = append(leaves, stored{r[1].([]byte), r[2].(int64)})
	}
	for _, r := range query(t, s, "SELECT TreeSize, RootHash, TreeHeadTimestamp FROM TreeHead WHERE TreeId = $1 ORDER BY TreeHeadTimestamp", id) {
		h := merkle.Head{Size: uint64(r[0].(int64)), Root: [32]byte(r[1].([]byte)), Time: time.Unix(0, r[2].(int64))}
		if n := len(roots); n > 0 && h.Size < roots[n-1].Size {
			t.Fatalf("a root over %d follows one over %d", h.Size, roots[n-1].Size)
		}
		roots = append(roots, h)
	}
	return leaves, roots
}

// rootOf is RFC 6962 §2.1, by its own words.
func rootOf(hashes [][]byte) [32]byte {
	switch n := len(hashes); n {
	case 0:
		return [32]byte(rfc6962.DefaultHasher.EmptyRoot())
	case 1:
		return [32]byte(hashes[0])
	default:
		k := 1
		for 2*k < n {
			k *= 2
		}
		left, right := rootOf(hashes[:k]), rootOf(hashes[k:])
		return [32]byte(rfc6962.DefaultHasher.HashChildren(left[:], right[:]))
	}
}

// whole recomputes a tree from what the driver returns.
func whole(t testing.TB, s merkle.Storage, id int64) merkle.Head {
	t.Helper()
	head, err := merkle.CheckTree(t.Context(), s, id)
	if err != nil {
		t.Fatal(err)
	}
	return head
}

// tx is all that a transaction of the Store offers.
type tx interface {
	storage.LogTreeTX
	AddSequencedLeaves(ctx context.Context, leaves []*trillian.LogLeaf, at time.Time) ([]*trillian.QueuedLogLeaf, error)
	PutRow(ctx context.Context, key, value []byte) error
}

// spoilt is storage whose transactions are another's: a remedy taken out, or a
// process that stands still at a bad moment.
type spoilt struct {
	*pglog.Store
	wrap func(tx) storage.LogTreeTX
}

func (s spoilt) ReadWriteTransaction(ctx context.Context, t *trillian.Tree, f storage.LogTXFunc) error {
	return s.Store.ReadWriteTransaction(ctx, t, func(ctx context.Context, inner storage.LogTreeTX) error {
		return f(ctx, s.wrap(inner.(tx)))
	})
}
