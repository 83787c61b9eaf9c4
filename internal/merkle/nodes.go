package merkle

import (
	"context"

	"github.com/google/trillian/storage"
	"github.com/transparency-dev/merkle/compact"
)

// hashes returns the hashes of stored nodes, in the order of ids: from memory,
// else tile by tile from storage. They are nodes of a tree of that size.
func (t *Tree) hashes(ctx context.Context, size uint64, ids []compact.NodeID) ([][]byte, error) {
	hashes := make([][]byte, len(ids))
	cold := t.nodes.get(t.ID(), ids, hashes)
	if len(cold) == 0 {
		return hashes, nil
	}
	err := t.view(ctx, func(tx storage.ReadOnlyLogTreeTX) error {
		for tile, again := range cold {
			if err := t.readTile(ctx, tx, tile, again, size, ids, hashes); err != nil {
				return err
			}
		}
		return nil
	})
	return hashes, err
}

// readTile sets those hashes that are missing and of one tile, and keeps what it
// read. When it comes to a tile again it reads the whole of it: the nodes are
// neighbours in storage, and the proofs of 256 entries share them.
func (t *Tree) readTile(ctx context.Context, tx storage.ReadOnlyLogTreeTX, tile tileID, again bool, size uint64, ids []compact.NodeID, hashes [][]byte) error {
	wanted := map[compact.NodeID]int{}
	var only []compact.NodeID
	for i, id := range ids {
		if at, _ := tileOf(t.ID(), id); at == tile && hashes[i] == nil {
			wanted[id], only = i, append(only, id)
		}
	}
	read := only
	if again {
		read = tile.nodes(size)
	}
	nodes, err := tx.GetMerkleNodes(ctx, read)
	if err != nil && again { // a node that is damaged is in the way of no other
		nodes, err = tx.GetMerkleNodes(ctx, only)
	}
	if err != nil {
		return err
	}
	t.nodes.put(t.ID(), func(yield func(compact.NodeID, []byte) bool) {
		for _, n := range nodes {
			if i, ok := wanted[n.ID]; ok {
				hashes[i] = n.Hash
			}
			if !yield(n.ID, n.Hash) {
				return
			}
		}
	})
	return nil
}
