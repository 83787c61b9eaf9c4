package merkle

import (
	"context"

	"github.com/google/trillian/storage"
	"github.com/transparency-dev/merkle/compact"
)

// hashes returns the hashes of stored nodes, in the order of ids: from memory,
// else tile by tile from storage.
func (t *Tree) hashes(ctx context.Context, ids []compact.NodeID) ([][]byte, error) {
	hashes := make([][]byte, len(ids))
	cold := t.nodes.get(t.ID(), ids, hashes)
	if len(cold) == 0 {
		return hashes, nil
	}
	size := t.Head().Size
	err := t.view(ctx, func(tx storage.ReadOnlyLogTreeTX) error {
		for _, tile := range cold {
			if err := t.readTile(ctx, tx, tile, size, ids, hashes); err != nil {
				return err
			}
		}
		return nil
	})
	return hashes, err
}

// readTile sets those hashes that are missing and of one tile. It reads the whole
// tile and keeps it: the nodes are neighbours in storage, and the proofs of 256
// entries share them.
func (t *Tree) readTile(ctx context.Context, tx storage.ReadOnlyLogTreeTX, tile tileID, size uint64, ids []compact.NodeID, hashes [][]byte) error {
	wanted := map[compact.NodeID]int{}
	var only []compact.NodeID
	for i, id := range ids {
		if at, _ := tileOf(t.ID(), id); at == tile && hashes[i] == nil {
			wanted[id], only = i, append(only, id)
		}
	}
	nodes, err := tx.GetMerkleNodes(ctx, tile.nodes(size))
	if err != nil { // a node that is damaged is in the way of no other
		if nodes, err = tx.GetMerkleNodes(ctx, only); err != nil {
			return err
		}
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
