package pebblelog

import (
	"context"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/google/trillian"
	"github.com/google/trillian/storage"
	"github.com/google/trillian/storage/tree"
	"github.com/google/trillian/types"
	"github.com/transparency-dev/merkle/compact"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// readTX reads one tree as it was when the transaction began.
type readTX struct {
	store *Store
	tree  *trillian.Tree
	rows  pebble.Reader
	root  *types.LogRootV1 // nil: the tree has no root yet
	slr   []byte           // root as stored
	end   func() error     // releases what begin took
}

// writeTX adds a batch that Commit makes durable at once. Its reads do not see
// its own writes, which Trillian never asks for.
type writeTX struct {
	readTX
	batch *pebble.Batch

	mu       sync.Mutex // guards dequeued
	dequeued map[string]*trillian.LogLeaf
}

// SnapshotForTree starts a read-only transaction. For a tree without a root the
// transaction comes with storage.ErrTreeNeedsInit.
func (s *Store) SnapshotForTree(_ context.Context, t *trillian.Tree) (storage.ReadOnlyLogTreeTX, error) {
	if err := s.begin(); err != nil {
		return nil, err
	}
	snap := s.db.NewSnapshot()
	end := func() error {
		defer s.inFlight.Done()
		return snap.Close()
	}
	tx := &readTX{store: s, tree: t, rows: snap, end: end}
	if err := tx.loadRoot(); err != nil {
		return nil, closing(tx, err)
	}
	if tx.root == nil {
		return tx, storage.ErrTreeNeedsInit
	}
	return tx, nil
}

// ReadWriteTransaction runs f and, if it returns nil, commits what it wrote in
// one durable write. Those of one tree take turns.
func (s *Store) ReadWriteTransaction(ctx context.Context, t *trillian.Tree, f storage.LogTXFunc) error {
	return s.update(t, func(tx *writeTX) error { return f(ctx, tx) })
}

func (s *Store) update(t *trillian.Tree, f func(*writeTX) error) error {
	w := s.writer(t.TreeId)
	w.Lock()
	defer w.Unlock()
	if err := s.begin(); err != nil {
		return err
	}
	defer s.inFlight.Done()
	tx := &writeTX{
		readTX:   readTX{store: s, tree: t, rows: s.db},
		batch:    s.db.NewBatch(),
		dequeued: map[string]*trillian.LogLeaf{},
	}
	if err := tx.loadRoot(); err != nil {
		return closing(tx, err)
	}
	if err := f(tx); err != nil {
		return closing(tx, err)
	}
	return tx.Commit(context.Background())
}

// closing gives tx up because of err.
func closing(tx interface{ Close() error }, err error) error {
	if closeErr := tx.Close(); closeErr != nil {
		return fmt.Errorf("%w (and closing the transaction: %w)", err, closeErr)
	}
	return err
}

// loadRoot reads the newest root and checks that the tree exists.
func (t *readTX) loadRoot() error {
	row, found, err := get(t.rows, rootKey(t.tree.TreeId))
	if err != nil {
		return err
	}
	if found {
		root := new(types.LogRootV1)
		if err := root.UnmarshalBinary(row); err != nil {
			return fmt.Errorf("decode root: %w", err)
		}
		t.root, t.slr = root, row
		return nil
	}
	_, found, err = get(t.rows, treeKey(t.tree.TreeId))
	if err == nil && !found {
		return status.Errorf(codes.NotFound, "tree %d not found", t.tree.TreeId)
	}
	return err
}

// size is the number of integrated leaves.
func (t *readTX) size() uint64 {
	if t.root == nil {
		return 0
	}
	return t.root.TreeSize
}

// LatestSignedLogRoot returns the newest root as of the transaction's start.
func (t *readTX) LatestSignedLogRoot(context.Context) (*trillian.SignedLogRoot, error) {
	if t.root == nil {
		return nil, storage.ErrTreeNeedsInit
	}
	return &trillian.SignedLogRoot{LogRoot: t.slr}, nil
}

// GetMerkleNodes returns the nodes with the given ids, in their order. An id
// that is not stored is an error naming it.
func (t *readTX) GetMerkleNodes(_ context.Context, ids []compact.NodeID) ([]tree.Node, error) {
	nodes := make([]tree.Node, len(ids))
	for i, id := range ids {
		hash, found, err := get(t.rows, nodeKey(t.tree.TreeId, id))
		if err != nil {
			return nil, err
		}
		if !found || len(hash) != hashSize {
			return nil, fmt.Errorf("tree %d: node %d of level %d is missing or damaged", t.tree.TreeId, id.Index, id.Level)
		}
		nodes[i] = tree.Node{ID: id, Hash: hash}
	}
	return nodes, nil
}

// GetRow returns the extra row that a write transaction put under key.
func (t *readTX) GetRow(_ context.Context, key []byte) (value []byte, found bool, err error) {
	return get(t.rows, extraKey(t.tree.TreeId, key))
}

// Commit ends a read-only transaction; what it read was consistent all along.
func (t *readTX) Commit(context.Context) error { return t.Close() }

// Close releases the transaction. Closing again does nothing.
func (t *readTX) Close() error {
	if t.end == nil {
		return nil
	}
	end := t.end
	t.end = nil
	return end()
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

// StoreSignedLogRoot replaces the newest root. It refuses a smaller tree and
// another hash for the same size: whatever asked for that would fork the log.
func (t *writeTX) StoreSignedLogRoot(_ context.Context, slr *trillian.SignedLogRoot) error {
	var root types.LogRootV1
	if err := root.UnmarshalBinary(slr.LogRoot); err != nil {
		return fmt.Errorf("decode root: %w", err)
	}
	if size := t.size(); root.TreeSize < size {
		return status.Errorf(codes.FailedPrecondition, "tree %d has %d leaves, refusing a root over %d", t.tree.TreeId, size, root.TreeSize)
	}
	if size := t.size(); size > 0 && root.TreeSize == size && string(root.RootHash) != string(t.root.RootHash) {
		return status.Errorf(codes.FailedPrecondition, "tree %d: refusing a second root hash for size %d", t.tree.TreeId, size)
	}
	return t.batch.Set(rootKey(t.tree.TreeId), slr.LogRoot, nil)
}

// PutRow stores an extra row of a service in the same commit.
func (t *writeTX) PutRow(_ context.Context, key, value []byte) error {
	return t.batch.Set(extraKey(t.tree.TreeId, key), value, nil)
}

// Commit writes the batch durably.
func (t *writeTX) Commit(context.Context) error {
	if t.batch == nil {
		return nil
	}
	b := t.batch
	t.batch = nil
	return t.store.commit(b)
}

// Close drops what was not committed.
func (t *writeTX) Close() error {
	if t.batch == nil {
		return nil
	}
	b := t.batch
	t.batch = nil
	return b.Close()
}
