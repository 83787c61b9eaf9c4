package pebblelog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/google/trillian"
	"github.com/google/trillian/storage"
	"github.com/google/trillian/types"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// readTX reads one tree as it was when the transaction began. Like every
// transaction it serves one goroutine.
type readTX struct {
	store *Store
	tree  *trillian.Tree
	rows  pebble.Reader
	ending

	root       *root            // nil: not read yet, or none
	identities *pebble.Iterator // over the identity rows; nil: not looked at yet
}

// writeTX adds a batch that Commit makes durable at once. Its reads do not see
// its own writes, which Trillian never asks for.
type writeTX struct {
	readTX
	batch    *pebble.Batch                // nil once committed or closed
	dequeued map[string]*trillian.LogLeaf // by identity
	hashRows map[string][]byte            // leaf hash rows written, by leaf hash
}

// snapshot is the rows as they are now, and what releases them.
func (s *Store) snapshot() (*pebble.Snapshot, ending, error) {
	if err := s.begin(); err != nil {
		return nil, nil, err
	}
	rows := s.db.NewSnapshot()
	return rows, func() error {
		defer s.inFlight.Done()
		return rows.Close()
	}, nil
}

// ending releases what a reader took; nil once it has.
type ending func() error

// Close releases the rows. Closing again does nothing.
func (e *ending) Close() error {
	end := *e
	if end == nil {
		return nil
	}
	*e = nil
	return end()
}

// Close ends the transaction. Closing again does nothing.
func (t *readTX) Close() error {
	it := t.identities
	t.identities = nil
	if it == nil {
		return t.ending.Close()
	}
	return errors.Join(it.Close(), t.ending.Close())
}

// SnapshotForTree starts a read-only transaction. For a tree without a root the
// transaction comes with storage.ErrTreeNeedsInit.
func (s *Store) SnapshotForTree(_ context.Context, t *trillian.Tree) (storage.ReadOnlyLogTreeTX, error) {
	rows, end, err := s.snapshot()
	if err != nil {
		return nil, err
	}
	tx := &readTX{store: s, tree: t, rows: rows, ending: end}
	if s.isInitialised(t.TreeId) {
		return tx, nil
	}
	if _, err := tx.newestRoot(); errors.Is(err, storage.ErrTreeNeedsInit) {
		return tx, err
	} else if err != nil {
		return nil, closing(tx, err)
	}
	s.setInitialised(t.TreeId, true)
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
		hashRows: map[string][]byte{},
	}
	if _, err := tx.newestRoot(); err != nil && !errors.Is(err, storage.ErrTreeNeedsInit) {
		return closing(tx, err)
	}
	if err := tx.writable(); err != nil {
		return closing(tx, err)
	}
	if err := f(tx); err != nil {
		return closing(tx, err)
	}
	return tx.Commit(context.Background())
}

// writable refuses a tree that is frozen, with PermissionDenied as Trillian does, by
// what the disk says of it now rather than by what the caller believes. A tree
// gets its first root in any state.
func (t *writeTX) writable() error {
	if t.root == nil {
		return nil
	}
	row, found, err := get(t.rows, treeKey(t.tree.TreeId))
	if err != nil {
		return err
	}
	if !found {
		return status.Errorf(codes.NotFound, "tree %d not found", t.tree.TreeId)
	}
	tree, err := decodeTree(row)
	if err != nil {
		return err
	}
	if tree.TreeState == trillian.TreeState_FROZEN {
		return status.Errorf(codes.PermissionDenied, "tree %d is frozen", t.tree.TreeId)
	}
	return nil
}

// closing gives tx up because of err.
func closing(tx interface{ Close() error }, err error) error {
	if closeErr := tx.Close(); closeErr != nil {
		return fmt.Errorf("%w (and closing the transaction: %w)", err, closeErr)
	}
	return err
}

// newestRoot reads the newest root. A tree that has none, which is
// storage.ErrTreeNeedsInit, is told from one that does not exist.
func (t *readTX) newestRoot() (*root, error) {
	if t.root != nil {
		return t.root, nil
	}
	row, found, err := get(t.rows, rootKey(t.tree.TreeId))
	if err != nil {
		return nil, err
	}
	if found {
		t.root, err = decodeRoot(row)
		return t.root, err
	}
	_, found, err = get(t.rows, treeKey(t.tree.TreeId))
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, status.Errorf(codes.NotFound, "tree %d not found", t.tree.TreeId)
	}
	return nil, storage.ErrTreeNeedsInit
}

// size is the number of integrated leaves, none in a tree without a root.
func (t *readTX) size() (int64, error) {
	root, err := t.newestRoot()
	if errors.Is(err, storage.ErrTreeNeedsInit) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return root.size, nil
}

// LatestSignedLogRoot returns the newest root as of the transaction's start.
func (t *readTX) LatestSignedLogRoot(context.Context) (*trillian.SignedLogRoot, error) {
	root, err := t.newestRoot()
	if err != nil {
		return nil, err
	}
	return &trillian.SignedLogRoot{LogRoot: root.row}, nil
}

// Commit ends a read-only transaction; what it read was consistent all along.
func (t *readTX) Commit(context.Context) error { return t.Close() }

// StoreSignedLogRoot replaces the newest root. It refuses a smaller tree and
// another hash for the same size: whatever asked for that would fork the log.
func (t *writeTX) StoreSignedLogRoot(_ context.Context, slr *trillian.SignedLogRoot) error {
	if err := new(types.LogRootV1).UnmarshalBinary(slr.LogRoot); err != nil {
		return fmt.Errorf("decode root: %w", err)
	}
	root, err := decodeRoot(slr.LogRoot)
	if err != nil {
		return err
	}
	old, err := t.newestRoot()
	if err != nil && !errors.Is(err, storage.ErrTreeNeedsInit) {
		return err
	}
	if old != nil && root.size < old.size {
		return status.Errorf(codes.FailedPrecondition, "tree %d has %d leaves, refusing a root over %d", t.tree.TreeId, old.size, root.size)
	}
	if old != nil && old.size > 0 && root.size == old.size && !bytes.Equal(root.hash, old.hash) {
		return status.Errorf(codes.FailedPrecondition, "tree %d: refusing a second root hash for size %d", t.tree.TreeId, old.size)
	}
	return t.batch.Set(rootKey(t.tree.TreeId), sealed(slices.Clip(root.row)), nil)
}

// Commit writes the batch durably.
func (t *writeTX) Commit(context.Context) error {
	if t.batch == nil {
		return nil
	}
	b := t.batch
	t.batch = nil
	if err := t.readTX.Close(); err != nil {
		return errors.Join(err, b.Close())
	}
	return t.store.commit(b)
}

// Close drops what was not committed.
func (t *writeTX) Close() error {
	if t.batch == nil {
		return nil
	}
	b := t.batch
	t.batch = nil
	return errors.Join(t.readTX.Close(), b.Close())
}
