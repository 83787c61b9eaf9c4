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
)

// checkChunk is how many leaves CheckTree holds at a time.
const checkChunk = 1000

// CheckTree recomputes a tree from its stored leaves and compares everything
// that storage derived from them: leaf hashes, both indexes, every node, the
// root. It returns the head that all of it agrees on, or an error naming the
// first entry or node that is wrong. It reads one consistent view.
func CheckTree(ctx context.Context, s Storage, id int64) (Head, error) {
	tree, err := storage.GetTree(ctx, s.Admin(), id)
	if err != nil {
		return Head{}, fmt.Errorf("check tree %d: %w", id, err)
	}
	tx, err := s.SnapshotForTree(ctx, tree)
	if err != nil {
		if tx != nil {
			err = errors.Join(err, tx.Close())
		}
		return Head{}, fmt.Errorf("check tree %d: %w", id, err)
	}
	c := checker{tx: tx, tree: (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewEmptyRange(0)}
	head, err := c.check(ctx)
	if err = errors.Join(err, tx.Close()); err != nil {
		return Head{}, fmt.Errorf("check tree %d: %w", id, err)
	}
	return head, nil
}

// checker rebuilds the tree beside the stored one.
type checker struct {
	tx   storage.ReadOnlyLogTreeTX
	tree *compact.Range
}

func (c *checker) check(ctx context.Context) (Head, error) {
	slr, err := c.tx.LatestSignedLogRoot(ctx)
	if err != nil {
		return Head{}, fmt.Errorf("read newest root: %w", err)
	}
	var root types.LogRootV1
	if err := root.UnmarshalBinary(slr.LogRoot); err != nil {
		return Head{}, fmt.Errorf("decode root: %w", err)
	}
	head, err := headOf(&root)
	if err != nil {
		return Head{}, err
	}
	for c.tree.End() < head.Size {
		first := c.tree.End()
		leaves, err := c.tx.GetLeavesByRange(ctx, int64(first), int64(min(checkChunk, head.Size-first)))
		if err != nil {
			return Head{}, fmt.Errorf("read entries from %d: %w", first, err)
		}
		if len(leaves) == 0 {
			return Head{}, fmt.Errorf("entry %d of %d is missing", first, head.Size)
		}
		for _, leaf := range leaves {
			if err := c.leaf(ctx, leaf); err != nil {
				return Head{}, err
			}
		}
	}
	return head, c.root(head)
}

func (c *checker) root(head Head) error {
	got := rfc6962.DefaultHasher.EmptyRoot()
	if head.Size > 0 {
		var err error
		if got, err = c.tree.GetRootHash(nil); err != nil {
			return fmt.Errorf("compute root: %w", err)
		}
	}
	if !bytes.Equal(got, head.Root[:]) {
		return fmt.Errorf("the %d entries hash to %x, the root is %x", head.Size, got, head.Root)
	}
	return nil
}

// leaf checks one leaf and the nodes that it completes.
func (c *checker) leaf(ctx context.Context, leaf *trillian.LogLeaf) error {
	if want := int64(c.tree.End()); leaf.LeafIndex != want {
		return fmt.Errorf("entry %d is missing", want)
	}
	hash := rfc6962.DefaultHasher.HashLeaf(leaf.LeafValue)
	if !bytes.Equal(hash, leaf.MerkleLeafHash) {
		return fmt.Errorf("entry %d hashes to %x, stored is %x", leaf.LeafIndex, hash, leaf.MerkleLeafHash)
	}
	if err := c.indexes(ctx, leaf); err != nil {
		return err
	}
	want := map[compact.NodeID][]byte{}
	var ids []compact.NodeID
	if err := c.tree.Append(hash, func(id compact.NodeID, hash []byte) {
		ids, want[id] = append(ids, id), hash
	}); err != nil {
		return fmt.Errorf("append entry %d: %w", leaf.LeafIndex, err)
	}
	nodes, err := c.tx.GetMerkleNodes(ctx, ids)
	if err != nil {
		return fmt.Errorf("entry %d: %w", leaf.LeafIndex, err)
	}
	for _, n := range nodes {
		if !bytes.Equal(n.Hash, want[n.ID]) {
			return fmt.Errorf("entry %d: node %d of level %d is %x, want %x", leaf.LeafIndex, n.ID.Index, n.ID.Level, n.Hash, want[n.ID])
		}
	}
	return nil
}

// indexes checks that leaf is found by its hash and by its identity.
func (c *checker) indexes(ctx context.Context, leaf *trillian.LogLeaf) error {
	if ids, ok := c.tx.(identityIndex); ok {
		index, found, err := ids.IndexByIdentity(ctx, leaf.LeafIdentityHash)
		if err != nil || !found || index != leaf.LeafIndex {
			return fmt.Errorf("entry %d: its identity leads to %d (found: %v, error: %w)", leaf.LeafIndex, index, found, err)
		}
	}
	found, err := c.tx.GetLeavesByHash(ctx, [][]byte{leaf.MerkleLeafHash}, false)
	if err != nil {
		return fmt.Errorf("entry %d: %w", leaf.LeafIndex, err)
	}
	for _, f := range found {
		if f.LeafIndex == leaf.LeafIndex {
			return nil
		}
	}
	return fmt.Errorf("entry %d is not found by its leaf hash", leaf.LeafIndex)
}
