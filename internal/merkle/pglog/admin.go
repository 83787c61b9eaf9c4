package pglog

import (
	"context"
	"fmt"
	"time"

	"github.com/google/trillian"
	"github.com/google/trillian/storage"
	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// adminStorage is Trillian's, but for the times of trees: those are the machine's
// there, and a tree's first root, which has the time of its creation, has to be on
// the log's clock.
type adminStorage struct {
	storage.AdminStorage
	s *Store
}

// ReadWriteTransaction runs f and, if it returns nil, commits what it changed.
func (a adminStorage) ReadWriteTransaction(ctx context.Context, f storage.AdminTXFunc) error {
	ctx, cancel := context.WithTimeout(ctx, a.s.o.Timeout)
	defer cancel()
	var l lent
	return a.AdminStorage.ReadWriteTransaction(context.WithValue(ctx, lentKey{}, &l), func(ctx context.Context, tx storage.AdminTX) error {
		return f(ctx, &adminTX{AdminTX: tx, conn: l.conn, now: a.s.o.Now})
	})
}

type adminTX struct {
	storage.AdminTX
	conn *pgx.Conn
	now  func() time.Time
}

// stamp writes the time, in milliseconds as Trillian keeps it, into columns of a tree.
func (t *adminTX) stamp(ctx context.Context, tree int64, set string) (*timestamppb.Timestamp, error) {
	at := t.now().UnixMilli()
	if _, err := t.conn.Exec(ctx, "UPDATE Trees SET "+set+" WHERE TreeId = $2", at, tree); err != nil {
		return nil, fmt.Errorf("set the time of tree %d: %w", tree, err)
	}
	return timestamppb.New(time.UnixMilli(at)), nil
}

// CreateTree makes a tree.
func (t *adminTX) CreateTree(ctx context.Context, tree *trillian.Tree) (*trillian.Tree, error) {
	made, err := t.AdminTX.CreateTree(ctx, tree)
	if err != nil {
		return nil, err
	}
	if made.CreateTime, err = t.stamp(ctx, made.TreeId, "CreateTimeMillis = $1, UpdateTimeMillis = $1"); err != nil {
		return nil, err
	}
	made.UpdateTime = timestamppb.New(made.CreateTime.AsTime())
	return made, nil
}

// UpdateTree changes a tree.
func (t *adminTX) UpdateTree(ctx context.Context, id int64, change func(*trillian.Tree)) (*trillian.Tree, error) {
	tree, err := t.AdminTX.UpdateTree(ctx, id, change)
	if err != nil {
		return nil, err
	}
	tree.UpdateTime, err = t.stamp(ctx, id, "UpdateTimeMillis = $1")
	return tree, err
}

// SoftDeleteTree marks a tree as deleted.
func (t *adminTX) SoftDeleteTree(ctx context.Context, id int64) (*trillian.Tree, error) {
	tree, err := t.AdminTX.SoftDeleteTree(ctx, id)
	if err != nil {
		return nil, err
	}
	tree.DeleteTime, err = t.stamp(ctx, id, "DeleteTimeMillis = $1")
	return tree, err
}
