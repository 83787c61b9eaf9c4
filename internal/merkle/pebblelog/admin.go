package pebblelog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/google/trillian"
	"github.com/google/trillian/storage"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Admin returns the Store's list of trees.
func (s *Store) Admin() storage.AdminStorage { return adminStorage{s} }

// GetActiveLogIDs returns the trees that take entries or are still draining.
func (s *Store) GetActiveLogIDs(ctx context.Context) ([]int64, error) {
	ids := []int64{}
	err := storage.RunInAdminSnapshot(ctx, s.Admin(), func(tx storage.ReadOnlyAdminTX) error {
		trees, err := tx.ListTrees(ctx, false)
		for _, t := range trees {
			if t.TreeState == trillian.TreeState_ACTIVE || t.TreeState == trillian.TreeState_DRAINING {
				ids = append(ids, t.TreeId)
			}
		}
		return err
	})
	return ids, err
}

type adminStorage struct{ s *Store }

func (a adminStorage) CheckDatabaseAccessible(ctx context.Context) error {
	return a.s.CheckDatabaseAccessible(ctx)
}

func (a adminStorage) Snapshot(context.Context) (storage.ReadOnlyAdminTX, error) {
	rows, end, err := a.s.snapshot()
	if err != nil {
		return nil, err
	}
	return &adminTX{store: a.s, rows: rows, ending: end}, nil
}

func (a adminStorage) ReadWriteTransaction(ctx context.Context, f storage.AdminTXFunc) error {
	a.s.admin.Lock()
	defer a.s.admin.Unlock()
	if err := a.s.begin(); err != nil {
		return err
	}
	defer a.s.inFlight.Done()
	b := a.s.db.NewIndexedBatch() // an admin transaction reads what it wrote
	tx := &adminTX{store: a.s, rows: b, batch: b, ending: b.Close}
	defer tx.unlock()
	if err := f(ctx, tx); err != nil {
		return closing(tx, err)
	}
	return tx.Commit()
}

// adminTX reads the trees, and changes them if it has a batch.
type adminTX struct {
	store *Store
	rows  pebble.Reader
	batch *pebble.Batch // nil: read-only
	ending

	locked []*sync.Mutex // writers of trees whose state changes
}

// lock keeps writers away from a tree until the transaction has ended: a state
// that changes holds for every leaf from then on. Admin transactions take turns,
// and writers hold one such lock each, so that no two wait for one another.
func (t *adminTX) lock(tree int64) {
	w := t.store.writer(tree)
	if slices.Contains(t.locked, w) {
		return
	}
	w.Lock()
	t.locked = append(t.locked, w)
}

func (t *adminTX) unlock() {
	for _, w := range t.locked {
		w.Unlock()
	}
	t.locked = nil
}

func (t *adminTX) Commit() error {
	if t.batch == nil || t.ending == nil {
		return t.Close()
	}
	t.ending = nil
	return t.store.commit(t.batch)
}

func (t *adminTX) GetTree(_ context.Context, id int64) (*trillian.Tree, error) {
	row, found, err := get(t.rows, treeKey(id))
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, status.Errorf(codes.NotFound, "tree %d not found", id)
	}
	return decodeTree(row)
}

func decodeTree(row []byte) (*trillian.Tree, error) {
	row, _, sound := unsealTree(row)
	if !sound {
		return nil, errors.New("decode tree: row is damaged: its checksum is wrong")
	}
	tree := new(trillian.Tree)
	if err := proto.Unmarshal(row, tree); err != nil {
		return nil, fmt.Errorf("decode tree: %w", err)
	}
	return tree, nil
}

func (t *adminTX) ListTrees(_ context.Context, includeDeleted bool) (trees []*trillian.Tree, err error) {
	it, err := t.rows.NewIter(&pebble.IterOptions{LowerBound: []byte{spaceTree}, UpperBound: []byte{spaceTree + 1}})
	if err != nil {
		return nil, fmt.Errorf("list trees: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		row, err := it.ValueAndErr()
		if err != nil {
			return nil, fmt.Errorf("list trees: %w", err)
		}
		tree, err := decodeTree(slices.Clone(row))
		if err != nil {
			return nil, err
		}
		if includeDeleted || !tree.Deleted {
			trees = append(trees, tree)
		}
	}
	return trees, it.Error()
}

func (t *adminTX) CreateTree(ctx context.Context, tree *trillian.Tree) (*trillian.Tree, error) {
	if err := storage.ValidateTreeForCreation(ctx, tree); err != nil {
		return nil, err
	}
	id, err := storage.NewTreeID()
	if err != nil {
		return nil, fmt.Errorf("choose a tree id: %w", err)
	}
	created := cloneTree(tree)
	created.TreeId = id
	created.CreateTime = timestamppb.New(t.store.now())
	created.UpdateTime = timestamppb.New(created.CreateTime.AsTime())
	return created, t.put(created)
}

func (t *adminTX) UpdateTree(ctx context.Context, id int64, change func(*trillian.Tree)) (*trillian.Tree, error) {
	return t.modify(ctx, id, func(tree *trillian.Tree) error {
		before := cloneTree(tree)
		change(tree)
		if tree.TreeState != before.TreeState {
			t.lock(id)
		}
		if err := storage.ValidateTreeForUpdate(ctx, before, tree); err != nil {
			return err
		}
		tree.UpdateTime = timestamppb.New(t.store.now())
		return nil
	})
}

func (t *adminTX) SoftDeleteTree(ctx context.Context, id int64) (*trillian.Tree, error) {
	return t.modify(ctx, id, func(tree *trillian.Tree) error {
		if tree.Deleted {
			return status.Errorf(codes.FailedPrecondition, "tree %d is already deleted", id)
		}
		tree.Deleted, tree.DeleteTime = true, timestamppb.New(t.store.now())
		return nil
	})
}

func (t *adminTX) UndeleteTree(ctx context.Context, id int64) (*trillian.Tree, error) {
	return t.modify(ctx, id, func(tree *trillian.Tree) error {
		if !tree.Deleted {
			return status.Errorf(codes.FailedPrecondition, "tree %d is not deleted", id)
		}
		tree.Deleted, tree.DeleteTime = false, nil
		return nil
	})
}

func (t *adminTX) HardDeleteTree(ctx context.Context, id int64) error {
	tree, err := t.GetTree(ctx, id)
	if err != nil {
		return err
	}
	if !tree.Deleted {
		return status.Errorf(codes.FailedPrecondition, "tree %d is not deleted", id)
	}
	if err := t.batch.Delete(treeKey(id), nil); err != nil {
		return err
	}
	t.store.setInitialised(id, false)
	low, high := dataRange(id)
	return t.batch.DeleteRange(low, high, nil)
}

func (t *adminTX) modify(ctx context.Context, id int64, change func(*trillian.Tree) error) (*trillian.Tree, error) {
	tree, err := t.GetTree(ctx, id)
	if err != nil {
		return nil, err
	}
	if err := change(tree); err != nil {
		return nil, err
	}
	return tree, t.put(tree)
}

func (t *adminTX) put(tree *trillian.Tree) error {
	row, err := encodeTree(tree)
	if err != nil {
		return err
	}
	return t.batch.Set(treeKey(tree.TreeId), row, nil)
}

func encodeTree(tree *trillian.Tree) ([]byte, error) {
	row, err := proto.Marshal(tree)
	if err != nil {
		return nil, fmt.Errorf("encode tree: %w", err)
	}
	return sealTree(row), nil
}

func cloneTree(t *trillian.Tree) *trillian.Tree { return proto.CloneOf(t) }
