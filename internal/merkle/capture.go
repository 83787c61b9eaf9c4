package merkle

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/google/trillian"
	"github.com/google/trillian/storage"
	"github.com/google/trillian/storage/tree"
	"github.com/google/trillian/types"
	"github.com/transparency-dev/merkle/compact"
)

// What a driver's transactions offer beyond Trillian's interfaces.
type (
	// identityIndex finds the leaf of an identity; index is -1 for one that is
	// queued and not sequenced yet.
	identityIndex interface {
		IndexByIdentity(ctx context.Context, identity []byte) (index int64, found bool, err error)
	}
	// rowWriter commits a row with whatever else the transaction writes.
	rowWriter interface {
		PutRow(ctx context.Context, key, value []byte) error
	}
	// rowReader reads such rows: one, or those of low <= key < high, the last
	// first and at most limit of them, until each returns an error.
	rowReader interface {
		GetRow(ctx context.Context, key []byte) (value []byte, found bool, err error)
		LastRows(ctx context.Context, low, high []byte, limit int, each func(key, value []byte) error) error
	}
)

// batchStorage is what Trillian's sequencer sees in place of the driver: it
// hands out the batch instead of a queue, and notes what passes through.
type batchStorage struct {
	storage.LogStorage
	preordered bool // leaves are stored with their indexes

	leaves []*trillian.LogLeaf
	rows   [][]Row                   // of each leaf
	edge   map[compact.NodeID][]byte // may be nil

	// Set by the transaction.
	nodes map[compact.NodeID][]byte // the edge before, and every node written
	root  *types.LogRootV1          // nil: no root was written
}

// ReadWriteTransaction runs f in a transaction of the driver, which may retry:
// each try starts from a clean slate.
func (b *batchStorage) ReadWriteTransaction(ctx context.Context, t *trillian.Tree, f storage.LogTXFunc) error {
	return b.LogStorage.ReadWriteTransaction(ctx, t, func(ctx context.Context, tx storage.LogTreeTX) error {
		b.nodes, b.root = make(map[compact.NodeID][]byte, len(b.edge)+2*len(b.leaves)), nil
		return f(ctx, &batchTX{LogTreeTX: tx, b: b})
	})
}

type batchTX struct {
	storage.LogTreeTX
	b *batchStorage
}

// DequeueLeaves hands out the batch.
func (t *batchTX) DequeueLeaves(context.Context, int, time.Time) ([]*trillian.LogLeaf, error) {
	return t.b.leaves, nil
}

// UpdateSequencedLeaves stores the leaves, whole, and the services' rows.
func (t *batchTX) UpdateSequencedLeaves(ctx context.Context, leaves []*trillian.LogLeaf) error {
	if err := t.storeLeaves(ctx, leaves); err != nil {
		return err
	}
	for i, leaf := range t.b.leaves { // those of the call, numbered by now
		if err := t.putRows(ctx, uint64(leaf.LeafIndex), t.b.rows[i]); err != nil {
			return fmt.Errorf("store extra row of leaf %d: %w", leaf.LeafIndex, err)
		}
	}
	return nil
}

func (t *batchTX) putRows(ctx context.Context, index uint64, rows []Row) error {
	if len(rows) == 0 {
		return nil
	}
	w, ok := t.LogTreeTX.(rowWriter)
	if !ok {
		return errors.New("this storage driver takes no extra rows")
	}
	for _, row := range rows {
		key := row.Key
		if row.ByIndex {
			key = indexedKey(key, index)
		}
		if err := w.PutRow(ctx, key, row.Value); err != nil {
			return err
		}
	}
	return nil
}

// indexedKey is the key of a row ByIndex.
func indexedKey(key []byte, index uint64) []byte {
	return binary.BigEndian.AppendUint64(append(make([]byte, 0, len(key)+8), key...), index)
}

// GetMerkleNodes answers from the edge kept in memory, else from storage.
func (t *batchTX) GetMerkleNodes(ctx context.Context, ids []compact.NodeID) ([]tree.Node, error) {
	nodes := make([]tree.Node, 0, len(ids))
	for _, id := range ids {
		hash, ok := t.b.edge[id]
		if !ok {
			break
		}
		nodes = append(nodes, tree.Node{ID: id, Hash: hash})
	}
	if len(nodes) < len(ids) {
		var err error
		if nodes, err = t.LogTreeTX.GetMerkleNodes(ctx, ids); err != nil {
			return nil, err
		}
	}
	t.remember(nodes)
	return nodes, nil
}

// SetMerkleNodes stores the nodes that the batch completed.
func (t *batchTX) SetMerkleNodes(ctx context.Context, nodes []tree.Node) error {
	t.remember(nodes)
	return t.LogTreeTX.SetMerkleNodes(ctx, nodes)
}

func (t *batchTX) remember(nodes []tree.Node) {
	for _, n := range nodes {
		t.b.nodes[n.ID] = n.Hash
	}
}

// StoreSignedLogRoot stores the new root.
func (t *batchTX) StoreSignedLogRoot(ctx context.Context, slr *trillian.SignedLogRoot) error {
	root := new(types.LogRootV1)
	if err := root.UnmarshalBinary(slr.LogRoot); err != nil {
		return fmt.Errorf("decode root: %w", err)
	}
	t.b.root = root
	return t.LogTreeTX.StoreSignedLogRoot(ctx, slr)
}
