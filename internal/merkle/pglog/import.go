package pglog

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/trillian"
	"github.com/google/trillian/storage"
	"github.com/google/trillian/storage/tree"
	"github.com/jackc/pgx/v5"

	"sigstack/internal/fault"
)

// What follows writes a log as it was in other storage.

// copying is behind the name of a tree whose copy is not whole. Its state is neither
// active nor frozen and it has no root, so that nobody opens it, and a tree of the
// name without this is another one.
const copying = " (being copied)"

// ImportTree makes room for the copy of a tree, with its id and under a name of its
// own until FinishImport. It returns how many leaves an earlier copy, which was cut
// short, has left there, and whether that one came to its end, so that there is nothing
// to import. Another tree of that id is refused with fault.Conflict.
func (s *Store) ImportTree(ctx context.Context, t *trillian.Tree) (have uint64, whole bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	err = pgx.BeginFunc(ctx, s.writers, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT lock_tree($1)", t.TreeId); err != nil {
			return err
		}
		var name string
		err := tx.QueryRow(ctx, "SELECT coalesce(DisplayName, '') FROM Trees WHERE TreeId = $1", t.TreeId).Scan(&name)
		if errors.Is(err, pgx.ErrNoRows) {
			return makeRoom(ctx, tx, t)
		}
		if err != nil {
			return err
		}
		if whole = name == t.DisplayName; whole {
			return nil
		}
		if name != t.DisplayName+copying {
			return fault.Newf(fault.Conflict, "there is a tree %d already, named %q", t.TreeId, name)
		}
		return tx.QueryRow(ctx, "SELECT coalesce(max(SequenceNumber) + 1, 0) FROM SequencedLeafData WHERE TreeId = $1", t.TreeId).Scan(&have)
	})
	if err != nil {
		return 0, false, fmt.Errorf("make room for tree %q: %w", t.DisplayName, err)
	}
	return have, whole, nil
}

func makeRoom(ctx context.Context, tx pgx.Tx, t *trillian.Tree) error {
	if _, err := tx.Exec(ctx, "INSERT INTO Trees (TreeId, TreeState, TreeType, DisplayName, Description, CreateTimeMillis, UpdateTimeMillis, MaxRootDurationMillis) "+
		"VALUES ($1, 'DRAINING', 'PREORDERED_LOG', $2, $3, $4, $5, $6)",
		t.TreeId, t.DisplayName+copying, t.Description, t.CreateTime.AsTime().UnixMilli(), t.UpdateTime.AsTime().UnixMilli(),
		t.MaxRootDuration.AsDuration().Milliseconds()); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, "INSERT INTO TreeControl (TreeId, SigningEnabled, SequencingEnabled, SequenceIntervalSeconds) VALUES ($1, true, true, 60)", t.TreeId)
	return err
}

// ImportLeaves stores leaves behind those that are there, and nodes that they
// complete, in one transaction. It is durable when FinishImport is, and before that
// as much of it as came first.
func (s *Store) ImportLeaves(ctx context.Context, t *trillian.Tree, leaves []*trillian.LogLeaf, nodes []tree.Node) error {
	err := s.importing(ctx, t, func(ctx context.Context, tx *writeTX) error {
		data, places := make([][]any, len(leaves)), make([][]any, len(leaves))
		for i, l := range leaves {
			integrated, queued := l.IntegrateTimestamp.AsTime().UnixNano(), l.QueueTimestamp.AsTime().UnixNano()
			if queued == integrated {
				queued = 0
			}
			data[i] = []any{t.TreeId, l.LeafIdentityHash, l.LeafValue, l.ExtraData, integrated}
			places[i] = []any{t.TreeId, l.LeafIndex, l.LeafIdentityHash, l.MerkleLeafHash, queued}
		}
		if err := copyRows(ctx, tx, "leafdata", []string{"treeid", "leafidentityhash", "leafvalue", "extradata", "queuetimestampnanos"}, data); err != nil {
			return err
		}
		columns := []string{"treeid", "sequencenumber", "leafidentityhash", "merkleleafhash", "integratetimestampnanos"}
		if err := copyRows(ctx, tx, "sequencedleafdata", columns, places); err != nil {
			return err
		}
		return tx.SetMerkleNodes(ctx, nodes)
	})
	if err != nil {
		return fmt.Errorf("copy leaves to tree %d: %w", t.TreeId, err)
	}
	return nil
}

func copyRows(ctx context.Context, tx *writeTX, table string, columns []string, rows [][]any) error {
	if _, err := tx.conn.CopyFrom(ctx, pgx.Identifier{table}, columns, pgx.CopyFromRows(rows)); err != nil {
		return tx.noted(fmt.Errorf("fill table %s: %w", table, err))
	}
	return nil
}

// ImportRows stores services' rows, in place of those with such keys, as ImportLeaves
// does with leaves.
func (s *Store) ImportRows(ctx context.Context, t *trillian.Tree, keys, values [][]byte) error {
	err := s.importing(ctx, t, func(ctx context.Context, tx *writeTX) error {
		for i, key := range keys {
			if err := tx.PutRow(ctx, key, values[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("copy rows to tree %d: %w", t.TreeId, err)
	}
	return nil
}

// importing runs f in a transaction of a tree whose copy is under way, without waiting
// for the disk: what is committed later, and synced, is behind it in PostgreSQL's log.
func (s *Store) importing(ctx context.Context, t *trillian.Tree, f func(context.Context, *writeTX) error) error {
	return s.ReadWriteTransaction(ctx, t, func(ctx context.Context, inner storage.LogTreeTX) error {
		tx, ok := inner.(*writeTX)
		if !ok {
			return errors.New("transaction is not a Store's")
		}
		if _, err := tx.conn.Exec(ctx, "SET LOCAL synchronous_commit = off"); err != nil {
			return tx.noted(err)
		}
		if err := tx.unfinished(ctx, t); err != nil {
			return err
		}
		return f(ctx, tx)
	})
}

// unfinished refuses a tree that is anything but a copy that has not come to its end.
func (t *writeTX) unfinished(ctx context.Context, want *trillian.Tree) error {
	var is bool
	found, err := t.one(ctx, &is, "SELECT DisplayName = $2 FROM Trees WHERE TreeId = $1 FOR UPDATE", t.tree, want.DisplayName+copying)
	if err == nil && !(found && is) {
		err = fault.Newf(fault.Conflict, "there is no copy of tree %q under way", want.DisplayName)
	}
	return err
}

// ReopenImport makes a tree a copy that has not come to its end, in one transaction.
func (s *Store) ReopenImport(ctx context.Context, t *trillian.Tree) error {
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	_, err := s.writers.Exec(ctx, "UPDATE Trees SET TreeState = 'DRAINING', DisplayName = $3 WHERE TreeId = $1 AND DisplayName = $2",
		t.TreeId, t.DisplayName, t.DisplayName+copying)
	if err != nil {
		return fmt.Errorf("go on with the copy of tree %q: %w", t.DisplayName, err)
	}
	return nil
}

// FinishImport makes the copy a tree with its name, its state and its root, in one
// durable transaction.
func (s *Store) FinishImport(ctx context.Context, t *trillian.Tree, root *trillian.SignedLogRoot) error {
	err := s.ReadWriteTransaction(ctx, t, func(ctx context.Context, inner storage.LogTreeTX) error {
		tx, ok := inner.(*writeTX)
		if !ok {
			return errors.New("transaction is not a Store's")
		}
		if err := tx.unfinished(ctx, t); err != nil {
			return err
		}
		if err := tx.StoreSignedLogRoot(ctx, root); err != nil {
			return err
		}
		_, err := tx.conn.Exec(ctx, "UPDATE Trees SET TreeState = $2, DisplayName = $3 WHERE TreeId = $1", t.TreeId, t.TreeState.String(), t.DisplayName)
		return tx.noted(err)
	})
	if err != nil {
		return fmt.Errorf("finish the copy of tree %q: %w", t.DisplayName, err)
	}
	return nil
}
