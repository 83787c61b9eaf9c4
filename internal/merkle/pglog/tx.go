package pglog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/trillian"
	"github.com/google/trillian/storage"
	"github.com/google/trillian/storage/cache"
	"github.com/google/trillian/storage/tree"
	"github.com/google/trillian/types"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/transparency-dev/merkle/compact"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// maxRange bounds the leaves that one GetLeavesByRange returns.
const maxRange = 4096

// The SQLSTATEs of the schema's guards.
const (
	stateRefused = "SG001" // a root that does not extend the newest
	stateFrozen  = "SG002"
)

// lent tells which connection a transaction of Trillian's driver got from the pool:
// what else belongs into the transaction is written and read by it.
type lent struct{ conn *pgx.Conn }

type lentKey struct{}

// readTX is a view, or the reading half of a transaction. Like Trillian's it is used
// by one goroutine at a time.
type readTX struct {
	storage.LogTreeTX
	conn    *pgx.Conn
	tree    int64
	timeout time.Duration
	cause   error // the first error of the database, before Trillian's sequencer made text of it
}

// writeTX is a read-write transaction.
type writeTX struct {
	readTX
	keys, values [][]byte            // extra rows to be stored
	subtrees     *cache.SubtreeCache // nil: no node was read or set
	newest       int64               // the time of the root that was stored, in nanoseconds; 0: none was
}

// SnapshotForTree returns a consistent read-only view of the tree.
func (s *Store) SnapshotForTree(ctx context.Context, t *trillian.Tree) (storage.ReadOnlyLogTreeTX, error) {
	begin, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	var l lent
	view, err := s.reads.SnapshotForTree(context.WithValue(begin, lentKey{}, &l), t)
	if view == nil {
		return nil, classified(err)
	}
	tx, ok := view.(storage.LogTreeTX)
	if !ok {
		return nil, errors.Join(errors.New("the driver's snapshots are not what they were"), view.Close())
	}
	return &readTX{LogTreeTX: tx, conn: l.conn, tree: t.TreeId, timeout: s.o.Timeout}, err
}

// ReadWriteTransaction runs f and, if it returns nil, commits what it wrote in one
// transaction of the database.
func (s *Store) ReadWriteTransaction(ctx context.Context, t *trillian.Tree, f storage.LogTXFunc) error {
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	var l lent
	var tx *writeTX
	err := s.LogStorage.ReadWriteTransaction(context.WithValue(ctx, lentKey{}, &l), t, func(ctx context.Context, inner storage.LogTreeTX) error {
		tx = &writeTX{readTX: readTX{LogTreeTX: inner, conn: l.conn, tree: t.TreeId, timeout: s.o.Timeout}}
		if err := f(ctx, tx); err != nil {
			return err
		}
		return tx.flush(ctx)
	})
	if err == nil {
		return nil
	}
	if tx != nil && tx.cause != nil && !errors.Is(err, tx.cause) {
		err = caused{err, tx.cause}
	}
	return classified(err)
}

// classified gives what the guards refuse the codes that Trillian has for it:
// PermissionDenied for a frozen tree, FailedPrecondition for a root that would fork
// the log. A database that is away is fault.Unavailable.
func classified(err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return away(err)
	}
	switch pg.Code {
	case stateFrozen:
		return refusal{status.New(codes.PermissionDenied, pg.Message), err}
	case stateRefused:
		return refusal{status.New(codes.FailedPrecondition, pg.Message), err}
	}
	return away(err)
}

// caused is an error that names its cause and does not lead to it.
type caused struct {
	error
	cause error
}

func (c caused) Unwrap() []error { return []error{c.error, c.cause} }

// refusal is an error of the database with a code.
type refusal struct {
	status *status.Status
	error
}

func (r refusal) GRPCStatus() *status.Status { return r.status }

func (r refusal) Unwrap() error { return r.error }

func (t *readTX) noted(err error) error {
	if t.cause == nil {
		t.cause = err
	}
	return away(err)
}

// within bounds what a read waits for, even where its caller does not.
func (t *readTX) within(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, t.timeout)
}

// keepRoots is how long roots are kept: none but the newest is read, and those of a day
// tell what has happened.
const keepRoots = 24 * time.Hour

// StoreSignedLogRoot stores a new root. The database refuses one that does not
// extend the newest.
func (t *writeTX) StoreSignedLogRoot(ctx context.Context, root *trillian.SignedLogRoot) error {
	if err := t.LogTreeTX.StoreSignedLogRoot(ctx, root); err != nil {
		return t.noted(err)
	}
	var stored types.LogRootV1
	if err := stored.UnmarshalBinary(root.LogRoot); err != nil {
		return fmt.Errorf("decode root: %w", err)
	}
	t.newest = int64(stored.TimestampNanos)
	return nil
}

// queuePrune drops old roots along with what is to be written. The one that was just
// stored is newer.
func (t *writeTX) queuePrune(batch *pgx.Batch) {
	if t.newest > keepRoots.Nanoseconds() {
		batch.Queue("DELETE FROM TreeHead WHERE TreeId = $1 AND TreeHeadTimestamp < $2", t.tree, t.newest-keepRoots.Nanoseconds())
	}
}

// GetMerkleNodes reads nodes.
func (t *readTX) GetMerkleNodes(ctx context.Context, ids []compact.NodeID) ([]tree.Node, error) {
	ctx, cancel := t.within(ctx)
	defer cancel()
	nodes, err := t.LogTreeTX.GetMerkleNodes(ctx, ids)
	return nodes, t.noted(err)
}

// GetLeavesByRange returns the leaves [start, start+count) that are there, at most
// some thousands.
func (t *readTX) GetLeavesByRange(ctx context.Context, start, count int64) ([]*trillian.LogLeaf, error) {
	ctx, cancel := t.within(ctx)
	defer cancel()
	leaves, err := t.LogTreeTX.GetLeavesByRange(ctx, start, min(count, maxRange))
	return leaves, t.noted(err)
}

// GetLeavesByHash returns the sequenced leaves with the given Merkle leaf hashes.
func (t *readTX) GetLeavesByHash(ctx context.Context, hashes [][]byte, ordered bool) ([]*trillian.LogLeaf, error) {
	ctx, cancel := t.within(ctx)
	defer cancel()
	leaves, err := t.LogTreeTX.GetLeavesByHash(ctx, hashes, ordered)
	return leaves, t.noted(err)
}
