package merkle

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/trillian/storage"
	"github.com/google/trillian/types"
)

// errShrunk says that storage holds less than what was published: whatever it
// is, it is not this log any more.
var errShrunk = errors.New("the stored tree does not extend the published one")

// refreshState re-reads the head after a failed commit, whose outcome only
// storage knows.
func (t *Tree) refreshState(ctx context.Context) error {
	if !t.stale {
		return nil
	}
	if err := t.reload(ctx); err != nil {
		return err
	}
	t.stale = false
	return nil
}

// reload sets head and edge from storage. It never goes back behind a head that
// was published.
func (t *Tree) reload(ctx context.Context) error {
	t.edge = nil
	old := t.head.Load() // before the question: others may write, and be read, meanwhile
	head, err := storedHead(ctx, t)
	if err != nil {
		return fmt.Errorf("read newest root: %w", err)
	}
	err = t.proves(ctx, head)
	if err == nil && old != nil && head.Size < old.Size {
		err = fmt.Errorf("%w: it has %d entries, %d were published", errShrunk, head.Size, old.Size)
	}
	if err == nil {
		t.publish(head)
	}
	return err
}

func storedHead(ctx context.Context, t *Tree) (head Head, err error) {
	err = t.view(ctx, func(tx storage.ReadOnlyLogTreeTX) error {
		slr, err := tx.LatestSignedLogRoot(ctx)
		if err != nil {
			return err
		}
		var root types.LogRootV1
		if err := root.UnmarshalBinary(slr.LogRoot); err != nil {
			return fmt.Errorf("decode root: %w", err)
		}
		head, err = headOf(&root)
		return err
	})
	return head, err
}

// view runs f on a consistent read-only view of the tree.
func (t *Tree) view(ctx context.Context, f func(storage.ReadOnlyLogTreeTX) error) error {
	tx, err := t.cfg.Storage.SnapshotForTree(ctx, t.tree)
	if err != nil {
		if tx != nil {
			return errors.Join(err, tx.Close())
		}
		return err
	}
	if err := f(tx); err != nil {
		return errors.Join(err, tx.Close())
	}
	return tx.Commit(ctx)
}
