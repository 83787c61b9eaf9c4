package pebblelog

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/google/trillian"
	"github.com/google/trillian/storage"
	"github.com/google/trillian/storage/tree"

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
	err = s.Admin().ReadWriteTransaction(ctx, func(_ context.Context, tx storage.AdminTX) error {
		admin, ok := tx.(*adminTX)
		if !ok {
			return errors.New("admin transaction is not a Store's")
		}
		row, found, err := get(admin.rows, treeKey(t.TreeId))
		if err != nil {
			return err
		}
		if !found {
			return admin.put(imported(t, trillian.TreeState_DRAINING, t.DisplayName+copying))
		}
		there, err := decodeTree(row)
		if err != nil {
			return err
		}
		if whole = there.DisplayName == t.DisplayName; whole {
			return nil
		}
		if there.DisplayName != t.DisplayName+copying {
			return fault.Newf(fault.Conflict, "there is a tree %d already, named %q", t.TreeId, there.DisplayName)
		}
		have, err = leavesOf(admin.rows, t.TreeId)
		return err
	})
	if err != nil {
		return 0, false, fmt.Errorf("make room for tree %q: %w", t.DisplayName, err)
	}
	return have, whole, nil
}

// imported is the description of a tree in this storage.
func imported(t *trillian.Tree, state trillian.TreeState, name string) *trillian.Tree {
	t = cloneTree(t)
	t.TreeType, t.TreeState, t.DisplayName = trillian.TreeType_LOG, state, name
	return t
}

// leavesOf counts the leaves of a tree, which follow one another.
func leavesOf(rows pebble.Reader, id int64) (n uint64, err error) {
	it, err := rows.NewIter(&pebble.IterOptions{LowerBound: dataKey(id, kindLeaf), UpperBound: dataKey(id, kindLeaf+1)})
	if err != nil {
		return 0, fmt.Errorf("count leaves: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	if !it.Last() {
		return 0, it.Error()
	}
	last, err := indexOf(it.Key())
	return last + 1, err
}

// ImportLeaves stores leaves behind those that are there, and nodes that they
// complete, in one durable commit.
func (s *Store) ImportLeaves(ctx context.Context, t *trillian.Tree, leaves []*trillian.LogLeaf, nodes []tree.Node) error {
	err := s.update(t, func(tx *writeTX) error {
		if err := tx.unfinished(); err != nil {
			return err
		}
		for _, leaf := range leaves {
			if err := tx.setLeaf(leaf); err != nil {
				return err
			}
		}
		return tx.SetMerkleNodes(ctx, nodes)
	})
	if err != nil {
		return fmt.Errorf("copy leaves to tree %d: %w", t.TreeId, err)
	}
	return nil
}

// ImportRows stores services' rows, in place of those with such keys, in one durable
// commit.
func (s *Store) ImportRows(ctx context.Context, t *trillian.Tree, keys, values [][]byte) error {
	err := s.update(t, func(tx *writeTX) error {
		if err := tx.unfinished(); err != nil {
			return err
		}
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

// unfinished refuses a tree that is anything but a copy that has not come to its end.
func (t *writeTX) unfinished() error {
	row, found, err := get(t.rows, treeKey(t.tree.TreeId))
	if err != nil {
		return err
	}
	if found {
		there, err := decodeTree(row)
		if err != nil {
			return err
		}
		if there.DisplayName == t.tree.DisplayName+copying {
			return nil
		}
	}
	return fault.Newf(fault.Conflict, "there is no copy of tree %q under way", t.tree.DisplayName)
}

// ReopenImport makes a tree a copy that has not come to its end, in one durable commit.
func (s *Store) ReopenImport(ctx context.Context, t *trillian.Tree) error {
	err := s.Admin().ReadWriteTransaction(ctx, func(_ context.Context, tx storage.AdminTX) error {
		admin, ok := tx.(*adminTX)
		if !ok {
			return errors.New("admin transaction is not a Store's")
		}
		admin.lock(t.TreeId)
		return admin.put(imported(t, trillian.TreeState_DRAINING, t.DisplayName+copying))
	})
	if err != nil {
		return fmt.Errorf("go on with the copy of tree %q: %w", t.DisplayName, err)
	}
	return nil
}

// FinishImport makes the copy a tree with its name, its state and its root, in one
// durable commit.
func (s *Store) FinishImport(ctx context.Context, t *trillian.Tree, root *trillian.SignedLogRoot) error {
	row, err := encodeTree(imported(t, t.TreeState, t.DisplayName))
	if err == nil {
		err = s.update(t, func(tx *writeTX) error {
			if err := tx.unfinished(); err != nil {
				return err
			}
			if err := tx.StoreSignedLogRoot(ctx, root); err != nil {
				return err
			}
			return tx.batch.Set(treeKey(t.TreeId), row, nil)
		})
	}
	if err != nil {
		return fmt.Errorf("finish the copy of tree %q: %w", t.DisplayName, err)
	}
	return nil
}
