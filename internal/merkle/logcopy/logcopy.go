// Package logcopy moves a log from one storage to another as it is: id, name and state
// of its tree, every entry with its index, identity and times, every row of a service,
// and the newest root with its time. It computes the Merkle tree anew on the way, and
// afterwards compares all that was written with its source.
package logcopy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/trillian"
	"github.com/google/trillian/storage"
	"github.com/google/trillian/storage/tree"
	"github.com/google/trillian/types"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"

	"sigstack/internal/fault"
	"sigstack/internal/merkle"
)

// Source is storage whose logs can be copied. Nobody may write to it meanwhile.
type Source interface {
	merkle.Storage
	// ExportLeaves returns the leaves of a tree from index first on, in order: at most
	// count, and none behind the one that makes them more than size bytes; none where
	// they end. They have both of their times.
	ExportLeaves(ctx context.Context, tree int64, first uint64, count, size int) ([]*trillian.LogLeaf, error)
	// ExportRows returns the services' rows of a tree behind the key after, or, if
	// that is nil, from the first one on; in the order of keys, and bounded as leaves
	// are.
	ExportRows(ctx context.Context, tree int64, after []byte, count, size int) (keys, values [][]byte, err error)
}

// Target is storage that logs can be copied to. What is there before FinishImport is
// no log to anybody else.
type Target interface {
	Source
	// ImportTree makes room for a tree with its id and name. It returns how many
	// leaves a copy that was cut short has left, and whether one came to its end. It
	// refuses any other tree that is in the way with fault.Conflict.
	ImportTree(ctx context.Context, t *trillian.Tree) (have uint64, whole bool, err error)
	// ImportLeaves stores leaves, and the nodes that they complete: all or nothing.
	ImportLeaves(ctx context.Context, t *trillian.Tree, leaves []*trillian.LogLeaf, nodes []tree.Node) error
	// ImportRows stores services' rows, in place of those with such keys.
	ImportRows(ctx context.Context, t *trillian.Tree, keys, values [][]byte) error
	// ReopenImport makes a log that FinishImport made no log again.
	ReopenImport(ctx context.Context, t *trillian.Tree) error
	// FinishImport makes it a log, all or nothing, and is durable, with all before it,
	// when it returns.
	FinishImport(ctx context.Context, t *trillian.Tree, root *trillian.SignedLogRoot) error
}

// Bounds of what is in memory of one side at a time. The count is that of eight tiles,
// so that a chunk begins where a tile does.
const (
	chunkCount = 8 << 8
	chunkBytes = 4 << 20
)

// Moved is behind the name of a tree that a copy of goes on elsewhere.
const Moved = " (moved)"

// Steps that Progress is told of.
const (
	StepLeaves  = "entries copied"
	StepRows    = "rows copied"
	StepCompare = "entries compared"
	StepRowsToo = "rows compared"
)

// Config says what to copy.
type Config struct {
	From Source
	To   Target
	Tree int64 // its id
	// Beside are the ids of trees that may be in the target, too: those that move
	// together. One with any other is refused.
	Beside []int64
	// Progress is called now and then with how far a step is; total may be 0. Nil:
	// nobody is told.
	Progress func(step string, done, total uint64)
}

// Copied is a log that is the same in both places.
type Copied struct {
	Tree   int64
	Name   string
	Head   merkle.Head
	Rows   uint64 // of services
	Frozen bool   // it takes no entries
	Had    uint64 // entries that were there from a copy that was cut short
	Whole  bool   // a copy had come to its end before; all was compared, and nothing written
}

// Copy copies a log and proves that it is the same. A copy that was cut short, however
// that was, is taken up again by another Copy of the same log, and so is one of an
// earlier state; until it comes to its end nobody can open it. The error is
// fault.Conflict where there is another log, or one that went on by itself.
func Copy(ctx context.Context, c Config) (Copied, error) {
	if c.Progress == nil {
		c.Progress = func(string, uint64, uint64) {}
	}
	r, err := open(ctx, c)
	if err == nil {
		err = r.copy(ctx)
	}
	if err != nil {
		return Copied{}, fmt.Errorf("copy tree %d: %w", c.Tree, err)
	}
	return r.result, nil
}

// run is one copy.
type run struct {
	Config
	tree   *trillian.Tree // as it is to be
	moved  bool           // the source says that a copy goes on elsewhere
	head   merkle.Head
	result Copied
}

// open reads what the source says of the log.
func open(ctx context.Context, c Config) (*run, error) {
	t, head, err := describe(ctx, c.From, c.Tree)
	if err != nil {
		return nil, err
	}
	r := &run{Config: c, tree: t, head: head}
	if name, ok := strings.CutSuffix(t.DisplayName, Moved); ok {
		r.moved, t.DisplayName = true, name
	}
	if t.Deleted || t.TreeState != trillian.TreeState_ACTIVE && t.TreeState != trillian.TreeState_FROZEN {
		return nil, fmt.Errorf("tree %q is in state %v (deleted: %v), want a log that is active or frozen", t.DisplayName, t.TreeState, t.Deleted)
	}
	return r, nil
}

// describe returns a tree and its newest root.
func describe(ctx context.Context, s merkle.Storage, id int64) (*trillian.Tree, merkle.Head, error) {
	t, err := storage.GetTree(ctx, s.Admin(), id)
	if err != nil {
		return nil, merkle.Head{}, err
	}
	tx, err := s.SnapshotForTree(ctx, t)
	if err != nil {
		if tx != nil {
			err = errors.Join(err, tx.Close())
		}
		return nil, merkle.Head{}, err
	}
	slr, err := tx.LatestSignedLogRoot(ctx)
	if err = errors.Join(err, tx.Close()); err != nil {
		return nil, merkle.Head{}, fmt.Errorf("read newest root: %w", err)
	}
	var root types.LogRootV1
	if err := root.UnmarshalBinary(slr.LogRoot); err != nil {
		return nil, merkle.Head{}, fmt.Errorf("decode root: %w", err)
	}
	if len(root.RootHash) != rfc6962.DefaultHasher.Size() {
		return nil, merkle.Head{}, fmt.Errorf("root hash has %d bytes", len(root.RootHash))
	}
	return t, merkle.Head{Size: root.TreeSize, Root: [32]byte(root.RootHash), Time: time.Unix(0, int64(root.TimestampNanos)).UTC()}, nil
}

// copy carries it out. A crash before the end of finish leaves what the next copy goes
// on with; one behind it, what the next copy only compares.
func (r *run) copy(ctx context.Context) error {
	if err := r.room(ctx); err != nil {
		return err
	}
	have, whole, err := r.To.ImportTree(ctx, r.tree)
	if err != nil {
		return err
	}
	if whole {
		if have, whole, err = r.reopen(ctx); err != nil {
			return err
		}
	}
	if r.moved && !whole {
		return fmt.Errorf("tree %q was moved to another place, and goes on there: copy that one", r.tree.DisplayName)
	}
	r.result = Copied{
		Tree: r.Tree, Name: r.tree.DisplayName, Head: r.head, Frozen: r.tree.TreeState == trillian.TreeState_FROZEN, Had: have, Whole: whole,
	}
	if !whole {
		if err := r.leaves(ctx, have); err != nil {
			return err
		}
		if err := r.rows(ctx); err != nil {
			return err
		}
	}
	if err := r.compare(ctx); err != nil {
		return err
	}
	if !whole {
		if err := r.finish(ctx); err != nil {
			return err
		}
	}
	return r.ends(ctx)
}

// reopen makes a copy that had come to its end one that has not, where the log has grown
// since, or has a fresh root.
func (r *run) reopen(ctx context.Context) (have uint64, whole bool, err error) {
	_, there, err := describe(ctx, r.To, r.Tree)
	if err != nil || there == r.head {
		return 0, true, err
	}
	other := fault.Newf(fault.Conflict, "there is a log %q already, with %d entries of %v; this one has %d of %v, and does not extend it",
		r.tree.DisplayName, there.Size, there.Time, r.head.Size, r.head.Time)
	if r.moved || there.Size > r.head.Size || !there.Time.Before(r.head.Time) {
		return 0, false, other
	}
	before := &run{Config: r.Config, head: there}
	if err := before.each(ctx, r.From, func(*chunk) error { return nil }); err != nil {
		return 0, false, errors.Join(other, err)
	}
	return there.Size, false, r.To.ReopenImport(ctx, r.tree)
}

// room refuses a target that holds something else.
func (r *run) room(ctx context.Context) error {
	trees, err := storage.ListTrees(ctx, r.To.Admin(), true)
	if err != nil {
		return fmt.Errorf("list trees of the target: %w", err)
	}
	for _, t := range trees {
		if t.TreeId != r.Tree && !slices.Contains(r.Beside, t.TreeId) {
			return fault.Newf(fault.Conflict, "the target holds tree %d already, named %q", t.TreeId, t.DisplayName)
		}
	}
	return nil
}

// leaves copies those behind the first have, with the nodes that they complete.
func (r *run) leaves(ctx context.Context, have uint64) error {
	if have > r.head.Size {
		return fmt.Errorf("a copy that was cut short has %d entries, the log has %d: it is of another log; remove it", have, r.head.Size)
	}
	return r.each(ctx, r.From, func(c *chunk) error {
		r.Progress(StepLeaves, c.first, r.head.Size)
		if c.end() <= have {
			return nil
		}
		leaves := c.leaves
		if c.first < have {
			leaves = leaves[have-c.first:]
		}
		return r.To.ImportLeaves(ctx, r.tree, leaves, c.nodes)
	})
}

// chunk is some leaves, and the nodes above them that were not complete before.
type chunk struct {
	first  uint64
	leaves []*trillian.LogLeaf
	nodes  []tree.Node
}

func (c *chunk) end() uint64 { return c.first + uint64(len(c.leaves)) }

// each hands over all of the log's leaves, and in the end checks the root over them.
func (r *run) each(ctx context.Context, s Source, f func(*chunk) error) error {
	top := (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewEmptyRange(0)
	for top.End() < r.head.Size {
		if err := ctx.Err(); err != nil {
			return err
		}
		c := &chunk{first: top.End()}
		var err error
		if c.leaves, err = s.ExportLeaves(ctx, r.Tree, c.first, int(min(chunkCount, r.head.Size-c.first)), chunkBytes); err != nil {
			return err
		}
		if len(c.leaves) == 0 {
			return fmt.Errorf("entry %d of %d is missing", c.first, r.head.Size)
		}
		if err := c.hash(top); err != nil {
			return err
		}
		if err := f(c); err != nil {
			return err
		}
	}
	return checkRoot(top, r.head)
}

// hash puts the leaves into the tree, after a look at whether they are what their
// hashes say.
func (c *chunk) hash(top *compact.Range) error {
	c.nodes = make([]tree.Node, 0, 2*len(c.leaves))
	for _, leaf := range c.leaves {
		hash := rfc6962.DefaultHasher.HashLeaf(leaf.LeafValue)
		if string(hash) != string(leaf.MerkleLeafHash) {
			return fmt.Errorf("entry %d hashes to %x, stored is %x", leaf.LeafIndex, hash, leaf.MerkleLeafHash)
		}
		err := top.Append(hash, func(id compact.NodeID, hash []byte) { c.nodes = append(c.nodes, tree.Node{ID: id, Hash: hash}) })
		if err != nil {
			return fmt.Errorf("append entry %d: %w", leaf.LeafIndex, err)
		}
	}
	return nil
}

func checkRoot(top *compact.Range, head merkle.Head) error {
	root := rfc6962.DefaultHasher.EmptyRoot()
	if head.Size > 0 {
		var err error
		if root, err = top.GetRootHash(nil); err != nil {
			return fmt.Errorf("compute root: %w", err)
		}
	}
	if string(root) != string(head.Root[:]) {
		return fmt.Errorf("the %d entries hash to %x, the root is %x", head.Size, root, head.Root)
	}
	return nil
}

// rows copies the services' rows.
func (r *run) rows(ctx context.Context) error {
	var after []byte
	for done := uint64(0); ; {
		r.Progress(StepRows, done, 0)
		if err := ctx.Err(); err != nil {
			return err
		}
		keys, values, err := r.From.ExportRows(ctx, r.Tree, after, chunkCount, chunkBytes)
		if err != nil || len(keys) == 0 {
			return err
		}
		if err := r.To.ImportRows(ctx, r.tree, keys, values); err != nil {
			return err
		}
		done, after = done+uint64(len(keys)), keys[len(keys)-1]
	}
}

// finish gives the copy its root.
func (r *run) finish(ctx context.Context) error {
	root, err := (&types.LogRootV1{
		TreeSize: r.head.Size, RootHash: r.head.Root[:], TimestampNanos: uint64(r.head.Time.UnixNano()),
	}).MarshalBinary()
	if err != nil {
		return fmt.Errorf("encode root: %w", err)
	}
	return r.To.FinishImport(ctx, r.tree, &trillian.SignedLogRoot{LogRoot: root})
}

// ends looks at both logs once more: the copy as it is opened from now on, and the
// source, which nobody may have written to.
func (r *run) ends(ctx context.Context) error {
	t, head, err := describe(ctx, r.To, r.Tree)
	if err != nil {
		return fmt.Errorf("look at the copy: %w", err)
	}
	if head != r.head || t.DisplayName != r.tree.DisplayName || t.TreeState != r.tree.TreeState && !r.moved {
		return fmt.Errorf("the copy is %q, %v, with head %+v; its source is %q, %v, with %+v",
			t.DisplayName, t.TreeState, head, r.tree.DisplayName, r.tree.TreeState, r.head)
	}
	r.result.Frozen = t.TreeState == trillian.TreeState_FROZEN
	_, now, err := describe(ctx, r.From, r.Tree)
	if err != nil {
		return err
	}
	if now != r.head {
		return fmt.Errorf("the log grew from %d to %d entries while it was copied: end what writes to it, and copy again", r.head.Size, now.Size)
	}
	return nil
}
