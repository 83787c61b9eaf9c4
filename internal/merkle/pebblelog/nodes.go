package pebblelog

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/google/trillian/storage/tree"
	"github.com/transparency-dev/merkle/compact"
)

// GetMerkleNodes returns the nodes with the given ids, in their order. An id
// that is not stored is an error naming it.
func (t *readTX) GetMerkleNodes(_ context.Context, ids []compact.NodeID) (nodes []tree.Node, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	// The nodes of a tile are neighbours: one cursor that moves forward reads each
	// block once, and mostly is where the next one is.
	keys := make([][]byte, len(ids))
	order := make([]int, len(ids))
	room := make([]byte, 0, len(ids)*nodeKeySize)
	for i, id := range ids {
		room = appendNodeKey(room, t.tree.TreeId, id)
		keys[i], order[i] = room[i*nodeKeySize:(i+1)*nodeKeySize], i
	}
	byKey := func(a, b int) int { return bytes.Compare(keys[a], keys[b]) }
	if !slices.IsSortedFunc(order, byKey) {
		slices.SortFunc(order, byKey)
	}
	it, err := t.rows.NewIter(&pebble.IterOptions{
		LowerBound: dataKey(t.tree.TreeId, kindNode),
		UpperBound: dataKey(t.tree.TreeId, kindNode+1),
	})
	if err != nil {
		return nil, fmt.Errorf("read nodes: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	nodes = make([]tree.Node, len(ids))
	hashes := make([]byte, 0, len(ids)*hashSize)
	for n, i := range order {
		found := n > 0 && it.Next() && bytes.Equal(it.Key(), keys[i])
		if !found {
			found = it.SeekGE(keys[i]) && bytes.Equal(it.Key(), keys[i])
		}
		if !found || len(it.Value()) != hashSize {
			return nil, errors.Join(it.Error(), fmt.Errorf("tree %d: node %d of level %d is missing or damaged",
				t.tree.TreeId, ids[i].Index, ids[i].Level))
		}
		hashes = append(hashes, it.Value()...)
		nodes[i] = tree.Node{ID: ids[i], Hash: hashes[n*hashSize : (n+1)*hashSize : (n+1)*hashSize]}
	}
	return nodes, nil
}

// SetMerkleNodes stores nodes of perfect subtrees.
func (t *writeTX) SetMerkleNodes(_ context.Context, nodes []tree.Node) error {
	for _, n := range nodes {
		if len(n.Hash) != hashSize {
			return fmt.Errorf("node %d of level %d has %d bytes, want %d", n.ID.Index, n.ID.Level, len(n.Hash), hashSize)
		}
		if err := t.batch.Set(nodeKey(t.tree.TreeId, n.ID), n.Hash, nil); err != nil {
			return err
		}
	}
	return nil
}

// root is what the driver needs to know of a LogRootV1. Every read asks for the
// size, so it is picked out by hand: Trillian's decoder works by reflection.
type root struct {
	row  []byte // as stored
	size int64
	hash []byte
}

// decodeRoot reads a TLS-encoded LogRootV1, version2 size8 hashlen1 hash time8
// revision8 metadatalen2 metadata, and the checksum behind it, if it is there.
func decodeRoot(row []byte) (*root, error) {
	const fixed, behind = 2 + 8 + 1, 8 + 8 + 2
	damaged := fmt.Errorf("root %x is damaged", row)
	if len(row) < fixed || binary.BigEndian.Uint16(row) != 1 || len(row) < fixed+int(row[fixed-1])+behind {
		return nil, damaged
	}
	hash := row[fixed : fixed+int(row[fixed-1])]
	end := fixed + len(hash) + behind
	end += int(binary.BigEndian.Uint16(row[end-2:]))
	if len(row) == end+checksumSize {
		var ok bool
		if row, ok = unsealed(row); !ok {
			return nil, damaged
		}
	}
	size := binary.BigEndian.Uint64(row[2:])
	if len(row) != end || size > math.MaxInt64 {
		return nil, damaged
	}
	return &root{row: row, size: int64(size), hash: hash}, nil
}
