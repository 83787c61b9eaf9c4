package merkle

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/google/trillian"
	"github.com/google/trillian/storage"
	"github.com/google/trillian/types"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"

	"sigstack/internal/fault"
)

// How many leaves a check holds at a time, and asks about at once; and after how many
// it takes another view, since one keeps the nodes that it has read. What an entry was
// logged with never changes, so that views may differ.
const (
	checkChunk = 1000
	checkView  = 32 * checkChunk
)

// Damage is one thing of a tree that is not what its leaves demand.
type Damage struct {
	What    string // leaf, identity, leaf hash, node or root
	Index   uint64 // the entry; of a node the one that completes it, of the root the newest
	Missing bool   // it is not there, or cannot be read
	Detail  string
}

// Error tells it in a sentence.
func (d Damage) Error() string { return fmt.Sprintf("entry %d: %s: %s", d.Index, d.What, d.Detail) }

// Examination is who hears what Examine finds. What a function returns ends it.
type Examination struct {
	// Damage is called with each thing that is wrong, in the order of entries.
	Damage func(Damage) error
	// Entries is called with the entries whose leaves are sound, in their order, some at a
	// time; nil: nobody asks.
	Entries func([]Entry) error
	// Progress is called now and then with how many entries were looked at; nil: nobody asks.
	Progress func(done, total uint64)
}

// CheckTree recomputes a tree from its stored leaves and compares everything
// that storage derived from them: leaf hashes, both indexes, every node, the
// root. It returns the head that all of it agrees on, or an error naming the
// first entry or node that is wrong.
func CheckTree(ctx context.Context, s Storage, id int64) (Head, error) {
	return Examine(ctx, s, id, Examination{Damage: func(d Damage) error { return d }})
}

// Examine does what CheckTree does, and goes on behind what is wrong: it tells x of
// each. It returns the newest head as it is stored. The error is one of x, or says why
// the tree could not be looked at, fault.Unavailable among them.
func Examine(ctx context.Context, s Storage, id int64, x Examination) (Head, error) {
	c := checker{
		Examination: x, storage: s,
		hashes: (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewEmptyRange(0),
	}
	head, err := c.run(ctx, id)
	if err = errors.Join(err, c.close()); err != nil {
		return Head{}, fmt.Errorf("check tree %d: %w", id, err)
	}
	return head, nil
}

// checker rebuilds the tree beside the stored one.
type checker struct {
	Examination

	storage Storage
	tree    *trillian.Tree
	tx      storage.ReadOnlyLogTreeTX // nil: none is open
	viewed  uint64                    // entries before this view
	hashes  *compact.Range
}

// view opens another view.
func (c *checker) view(ctx context.Context) error {
	if err := c.close(); err != nil {
		return err
	}
	tx, err := c.storage.SnapshotForTree(ctx, c.tree)
	if err != nil {
		if tx != nil {
			err = errors.Join(err, tx.Close())
		}
		return err
	}
	c.tx, c.viewed = tx, c.hashes.End()
	return nil
}

func (c *checker) close() error {
	if c.tx == nil {
		return nil
	}
	defer func() { c.tx = nil }()
	return c.tx.Close()
}

func (c *checker) run(ctx context.Context, id int64) (Head, error) {
	var err error
	if c.tree, err = storage.GetTree(ctx, c.storage.Admin(), id); err != nil {
		return Head{}, err
	}
	if err := c.view(ctx); err != nil {
		return Head{}, err
	}
	head, err := c.head(ctx)
	if err != nil {
		return Head{}, err
	}
	for c.hashes.End() < head.Size {
		if c.hashes.End()-c.viewed >= checkView {
			if err := c.view(ctx); err != nil {
				return Head{}, err
			}
		}
		if err := c.chunk(ctx, min(checkChunk, head.Size-c.hashes.End())); err != nil {
			return Head{}, err
		}
		if c.Progress != nil {
			c.Progress(c.hashes.End(), head.Size)
		}
	}
	return head, c.root(head)
}

func (c *checker) head(ctx context.Context) (Head, error) {
	slr, err := c.tx.LatestSignedLogRoot(ctx)
	if err != nil {
		return Head{}, fmt.Errorf("read newest root: %w", err)
	}
	var root types.LogRootV1
	if err := root.UnmarshalBinary(slr.LogRoot); err != nil {
		return Head{}, fmt.Errorf("decode root: %w", err)
	}
	return headOf(&root)
}

func (c *checker) root(head Head) error {
	got := rfc6962.DefaultHasher.EmptyRoot()
	if head.Size > 0 {
		var err error
		if got, err = c.hashes.GetRootHash(nil); err != nil {
			return fmt.Errorf("compute root: %w", err)
		}
	}
	if !bytes.Equal(got, head.Root[:]) {
		return c.Damage(Damage{What: "root", Index: max(head.Size, 1) - 1, Detail: fmt.Sprintf("the %d entries hash to %x, the root is %x", head.Size, got, head.Root)})
	}
	return nil
}

// chunk checks the next n leaves.
func (c *checker) chunk(ctx context.Context, n uint64) error {
	first := c.hashes.End()
	leaves, err := c.leaves(ctx, first, n)
	if err != nil {
		return err
	}
	stored, err := c.nodes(ctx, first, n)
	if err != nil {
		return err
	}
	var sound []*trillian.LogLeaf
	for index := first; index < first+n; index++ {
		leaf := leaves[index]
		hash, ok, err := c.judge(index, leaf, stored[compact.NodeID{Index: index}])
		if err != nil {
			return err
		}
		if ok {
			sound = append(sound, leaf)
		}
		if err := c.append(hash, stored); err != nil {
			return err
		}
	}
	if err := c.indexes(ctx, sound); err != nil || c.Entries == nil || len(sound) == 0 {
		return err
	}
	entries := make([]Entry, len(sound))
	for i, leaf := range sound {
		if c.tree.TreeType == trillian.TreeType_PREORDERED_LOG {
			leaf.IntegrateTimestamp = leaf.QueueTimestamp // see storeLeaves
		}
		if entries[i], err = entryOf(leaf); err != nil {
			return err
		}
	}
	return c.Entries(entries)
}

// leaves reads leaves [first, first+n), by index. Where a range cannot be read halves of
// it may be; what cannot be read alone is not in the map.
func (c *checker) leaves(ctx context.Context, first, n uint64) (map[uint64]*trillian.LogLeaf, error) {
	out := make(map[uint64]*trillian.LogLeaf, n)
	var read func(first, n uint64) error
	read = func(first, n uint64) error {
		leaves, err := c.tx.GetLeavesByRange(ctx, int64(first), int64(n))
		for _, leaf := range leaves {
			if index := uint64(leaf.LeafIndex); err == nil && index >= first && index < first+n && len(leaf.LeafIdentityHash) == 32 {
				out[index] = leaf
			}
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case fault.KindOf(err) == fault.Unavailable:
			return fmt.Errorf("read entries from %d: %w", first, err)
		case err == nil && uint64(len(leaves)) == n || n == 1:
			return nil
		}
		if err := c.view(ctx); err != nil { // a view that has failed may answer nothing more
			return err
		}
		return errors.Join(read(first, n/2), read(first+n/2, n-n/2))
	}
	if err := read(first, n); err != nil {
		return nil, err
	}
	return out, nil
}

// nodes reads the nodes that leaves [first, first+n) complete.
func (c *checker) nodes(ctx context.Context, first, n uint64) (map[compact.NodeID][]byte, error) {
	var ids []compact.NodeID
	for index := first; index < first+n; index++ {
		for id, end := (compact.NodeID{Index: index}), index+1; ; id, end = (compact.NodeID{Level: id.Level + 1, Index: id.Index / 2}), end/2 {
			ids = append(ids, id)
			if end%2 != 0 {
				break
			}
		}
	}
	out := make(map[compact.NodeID][]byte, len(ids))
	read := func(ids ...compact.NodeID) error {
		nodes, err := c.tx.GetMerkleNodes(ctx, ids)
		for _, node := range nodes {
			if err == nil {
				out[node.ID] = node.Hash
			}
		}
		if gone := ctx.Err() != nil || fault.KindOf(err) == fault.Unavailable; gone {
			return fmt.Errorf("read nodes of entries from %d: %w", first, err)
		}
		if err == nil {
			return nil
		}
		if err := c.view(ctx); err != nil {
			return err
		}
		return errSome
	}
	err := read(ids...)
	if !errors.Is(err, errSome) {
		return out, err
	}
	for _, id := range ids {
		if err := read(id); err != nil && !errors.Is(err, errSome) {
			return nil, err
		}
	}
	return out, nil
}

// errSome says that a node, of those that were asked for, cannot be read.
var errSome = errors.New("a node cannot be read")

// judge says what is wrong with a leaf, and returns the hash to go on with: what two of
// value, leaf hash and node agree on. ok is false for a leaf that cannot be used.
func (c *checker) judge(index uint64, leaf *trillian.LogLeaf, node []byte) (hash []byte, ok bool, err error) {
	if leaf == nil {
		if len(node) != 32 {
			node = make([]byte, 32) // the nodes above are told, too
		}
		return node, false, c.Damage(Damage{What: "leaf", Index: index, Missing: true, Detail: "it is missing, or cannot be read"})
	}
	value := rfc6962.DefaultHasher.HashLeaf(leaf.LeafValue)
	if bytes.Equal(value, leaf.MerkleLeafHash) {
		return value, true, nil
	}
	hash = leaf.MerkleLeafHash
	if bytes.Equal(value, node) || len(hash) != 32 {
		hash = value
	}
	return hash, false, c.Damage(Damage{What: "leaf", Index: index, Detail: fmt.Sprintf("it hashes to %x, stored is %x", value, leaf.MerkleLeafHash)})
}

// append adds a leaf hash to the tree, and compares the nodes that it completes.
func (c *checker) append(hash []byte, stored map[compact.NodeID][]byte) error {
	index := c.hashes.End()
	var wrong []error
	err := c.hashes.Append(hash, func(id compact.NodeID, hash []byte) {
		if got := stored[id]; !bytes.Equal(got, hash) {
			wrong = append(wrong, c.Damage(Damage{
				What: "node", Index: index, Missing: got == nil,
				Detail: fmt.Sprintf("node %d of level %d is %x, want %x", id.Index, id.Level, got, hash),
			}))
		}
	})
	if err != nil {
		return fmt.Errorf("append entry %d: %w", index, err)
	}
	return errors.Join(wrong...)
}

// indexes checks that leaves are found by their hashes and by their identities.
func (c *checker) indexes(ctx context.Context, leaves []*trillian.LogLeaf) error {
	if len(leaves) == 0 {
		return nil
	}
	ps, hashes := make([]*pending, len(leaves)), make([][]byte, len(leaves))
	for i, leaf := range leaves {
		ps[i], hashes[i] = &pending{leaf: Leaf{Identity: [32]byte(leaf.LeafIdentityHash)}}, leaf.MerkleLeafHash
	}
	find, err := indexes(ctx, c.tx, ps)
	if err != nil {
		return fmt.Errorf("read identities: %w", err)
	}
	byHash, err := c.tx.GetLeavesByHash(ctx, hashes, false)
	if err != nil {
		return fmt.Errorf("read by leaf hash: %w", err)
	}
	found := make(map[int64]bool, len(byHash))
	for _, leaf := range byHash {
		found[leaf.LeafIndex] = true
	}
	for _, leaf := range leaves {
		d := Damage{Index: uint64(leaf.LeafIndex)}
		index, ok, err := find(leaf.LeafIdentityHash)
		switch {
		case err != nil:
			return fmt.Errorf("read identity of entry %d: %w", leaf.LeafIndex, err)
		case !ok:
			d.What, d.Missing, d.Detail = "identity", true, "it leads to no entry"
		case index != leaf.LeafIndex:
			d.What, d.Detail = "identity", fmt.Sprintf("it leads to entry %d", index)
		}
		if d.What != "" {
			if err := c.Damage(d); err != nil {
				return err
			}
		}
		if !found[leaf.LeafIndex] {
			if err := c.Damage(Damage{What: "leaf hash", Index: d.Index, Missing: true, Detail: "the entry is not found by it"}); err != nil {
				return err
			}
		}
	}
	return nil
}
