package merkle

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/trillian"
	"github.com/google/trillian/storage"
	"github.com/google/trillian/types"

	"sigstack/internal/fault"
)

// ErrFrozen is matched by the error of an Add to a tree that takes no more
// entries, or none yet: the leaf is not in it.
var ErrFrozen = errors.New("the tree is frozen")

func errFrozen() error {
	return fault.Wrap(fault.Unavailable, ErrFrozen, "this part of the log takes no entries; try again")
}

// Frozen reports whether the tree takes no entries. What is in it can be read and
// proved as ever.
func (t *Tree) Frozen() bool { return t.frozen.Load() }

// IsFrozen asks storage whether a tree takes no entries.
func IsFrozen(ctx context.Context, s Storage, id int64) (bool, error) {
	tree, err := loadTree(ctx, s, id)
	if err != nil {
		return false, fmt.Errorf("look at tree %d: %w", id, err)
	}
	return tree.TreeState == trillian.TreeState_FROZEN, nil
}

// PrepareTree returns the id of the tree of that name, which it makes if there is
// none: empty and frozen, until Succeed makes it the one that takes entries. A
// crash on the way leaves what the next PrepareTree of that name finishes. It
// refuses a tree that takes entries, or has some, with fault.Conflict.
func PrepareTree(ctx context.Context, s Storage, name string) (int64, error) {
	tree, err := findTree(ctx, s, name)
	if err == nil && tree != nil {
		if err = unused(ctx, s, tree); err == nil {
			return tree.TreeId, nil
		}
	}
	if err != nil && !errors.Is(err, storage.ErrTreeNeedsInit) {
		return 0, fmt.Errorf("prepare tree %q: %w", name, err)
	}
	return createTree(ctx, s, name, trillian.TreeState_FROZEN)
}

// unused refuses a tree that is anything but prepared.
func unused(ctx context.Context, s Storage, tree *trillian.Tree) error {
	if tree.TreeState != trillian.TreeState_FROZEN {
		return fault.Newf(fault.Conflict, "tree %d takes entries", tree.TreeId)
	}
	tx, err := s.SnapshotForTree(ctx, tree)
	if err != nil {
		if tx != nil {
			err = errors.Join(err, tx.Close())
		}
		return err
	}
	slr, err := tx.LatestSignedLogRoot(ctx)
	if err := errors.Join(err, tx.Close()); err != nil {
		return err
	}
	var root types.LogRootV1
	if err := root.UnmarshalBinary(slr.LogRoot); err != nil {
		return fmt.Errorf("decode root: %w", err)
	}
	if root.TreeSize > 0 {
		return fault.Newf(fault.Conflict, "tree %d has %d entries already", tree.TreeId, root.TreeSize)
	}
	return nil
}

// Succeed freezes one tree and makes another, prepared one take entries in its
// place, in one commit: a crash leaves the one or the other, never both and never
// neither. It is for trees that nobody adds to; Tree.HandOver is for others. The
// error is fault.Conflict unless old takes entries and next is frozen and empty.
func Succeed(ctx context.Context, s Storage, old, next int64) error {
	err := s.Admin().ReadWriteTransaction(ctx, func(ctx context.Context, tx storage.AdminTX) error {
		tree, err := tx.GetTree(ctx, next)
		if err != nil {
			return err
		}
		if err := unused(ctx, s, tree); err != nil {
			return err
		}
		return errors.Join(
			turn(ctx, tx, old, trillian.TreeState_ACTIVE, trillian.TreeState_FROZEN),
			turn(ctx, tx, next, trillian.TreeState_FROZEN, trillian.TreeState_ACTIVE))
	})
	if err != nil {
		return fmt.Errorf("replace tree %d by %d: %w", old, next, err)
	}
	return nil
}

// turn changes the state of a tree, which must have the one given.
func turn(ctx context.Context, tx storage.AdminTX, id int64, from, to trillian.TreeState) error {
	var was trillian.TreeState
	_, err := tx.UpdateTree(ctx, id, func(t *trillian.Tree) { was, t.TreeState = t.TreeState, to })
	if err == nil && was != from {
		err = fault.Newf(fault.Conflict, "tree %d is %v, not %v", id, was, from)
	}
	return err
}

// handover is an order to the batcher of a tree.
type handover struct {
	next *Tree      // nil: to settle
	done chan error // buffered
}

// HandOver freezes the tree and makes next take entries in its place, as Succeed
// does, while Run runs for both. What was queued is refused with ErrFrozen unless
// it is in the tree by then. When it returns, Head is the last one for ever. It
// fails with fault.Conflict as Succeed does, and otherwise when storage is lost,
// or the tree stops.
func (t *Tree) HandOver(ctx context.Context, next *Tree) error {
	h := handover{next, make(chan error, 1)}
	over, err := t.leads()
	if err != nil {
		return err
	}
	select {
	case t.handing <- h:
		return <-h.done // the batcher does not go away in between
	case <-over:
		return errNotLeading
	case <-t.stopped:
		return errClosed()
	case <-ctx.Done():
		return ended(ctx)
	}
}

// leads returns when the term of this process is over, nil for never, or an error if
// another leads.
func (t *Tree) leads() (over <-chan struct{}, err error) {
	if t.cfg.Election == nil {
		return nil, nil
	}
	now := t.term.Load()
	if !now.leading {
		return nil, errNotLeading
	}
	return now.lasts.Done(), nil
}

// Settle commits what is queued and lets the newest root be the last one, unless
// something is added later: an idle tree gets no fresh root any more. It returns that
// root's head. Where another process leads it makes none that is refreshed here. It is for trees that nobody adds to any more, while Run runs.
func (t *Tree) Settle(ctx context.Context) (Head, error) {
	if _, err := t.leads(); err != nil {
		t.settled.Store(true)
		return t.Newest(ctx)
	}
	if err := t.HandOver(ctx, nil); err != nil {
		return Head{}, err
	}
	return t.Newest(ctx)
}

// settle runs between two batches.
func (t *Tree) settle(ctx context.Context) error {
	t.settled.Store(true)
	if err := t.drain(ctx); err != nil {
		return err
	}
	return t.refreshState(ctx)
}

// handOver runs between two batches, so that no commit of this tree is under way
// and its head is the one that storage has. The error it returns means that
// storage is lost for good.
func (t *Tree) handOver(ctx context.Context, h handover) error {
	if h.next == nil {
		err := t.settle(ctx)
		h.done <- err
		return t.lost(ctx, err)
	}
	err := t.refreshState(ctx)
	if err == nil {
		err = Succeed(ctx, t.cfg.Storage, t.ID(), h.next.ID())
	}
	if err == nil {
		t.frozen.Store(true)
		h.next.frozen.Store(false)
	}
	h.done <- err
	if err == nil {
		return nil
	}
	if lost := t.cfg.Storage.CheckDatabaseAccessible(ctx); lost != nil {
		return fmt.Errorf("storage of tree %d is lost: %w", t.ID(), lost)
	}
	return nil
}
