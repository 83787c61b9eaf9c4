package merkle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/trillian"
	"github.com/google/trillian/types"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"sigstack/internal/fault"
)

// rootReader reads a tree's newest root, and whether the tree is frozen, in one
// round trip.
type rootReader interface {
	NewestRoot(ctx context.Context, tree int64) (root *types.LogRootV1, frozen bool, err error)
}

// freshness lets everyone who asks for the newest head at once share one question to
// storage. Nobody shares one that was asked before.
type freshness struct {
	mu   sync.Mutex
	next *look // guarded by mu: not asked yet; nil: nobody waits for one
	busy bool  // guarded by mu: somebody asks
}

// look is one question. Its result is set before done is closed.
type look struct {
	done chan struct{}
	head Head
	err  error
}

// lookTimeout bounds one question.
const lookTimeout = 5 * time.Second

// Newest returns the newest durable root there is, whoever made it: no head that
// anybody saw before the call is newer. Where this process alone writes it is Head.
// It fails with fault.Unavailable when storage does not tell.
func (t *Tree) Newest(ctx context.Context) (Head, error) {
	if t.cfg.Election == nil {
		return t.Head(), nil
	}
	t.fresh.mu.Lock()
	l := t.fresh.next
	if l == nil {
		l = &look{done: make(chan struct{})}
		t.fresh.next = l
		if !t.fresh.busy {
			t.fresh.busy = true
			go t.lookAround(context.WithoutCancel(ctx))
		}
	}
	t.fresh.mu.Unlock()
	select {
	case <-l.done:
		return l.head, l.err
	case <-ctx.Done():
		err := context.Cause(ctx)
		kind := fault.Canceled
		if errors.Is(err, context.DeadlineExceeded) {
			kind = fault.Timeout
		}
		return Head{}, fault.Wrap(kind, err, "the log's storage did not answer in time")
	}
}

// lookAround asks storage until nobody waits.
func (t *Tree) lookAround(ctx context.Context) {
	for {
		t.fresh.mu.Lock()
		l := t.fresh.next
		t.fresh.next, t.fresh.busy = nil, l != nil
		t.fresh.mu.Unlock()
		if l == nil {
			return
		}
		l.head, l.err = t.readNewest(ctx)
		close(l.done)
	}
}

// readNewest asks storage once.
func (t *Tree) readNewest(ctx context.Context) (Head, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	known := t.Head() // before the question: the answer may not lie behind it
	head, frozen, err := t.askNewest(ctx)
	if err == nil && (head.Size < known.Size || head.Size == known.Size && head.Root != known.Root) {
		err = fmt.Errorf("%w: it has %d entries and root %x, published were %d and %x", errShrunk, head.Size, head.Root, known.Size, known.Root)
	}
	if err != nil {
		if fault.KindOf(err) == fault.Internal {
			err = fault.Wrap(fault.Unavailable, err, "the log's newest head cannot be read; try again")
		}
		return Head{}, err
	}
	t.frozen.Store(frozen)
	return t.publish(head), nil
}

func (t *Tree) askNewest(ctx context.Context) (Head, bool, error) {
	if r, ok := t.cfg.Storage.(rootReader); ok {
		root, frozen, err := r.NewestRoot(ctx, t.ID())
		if err != nil {
			return Head{}, false, err
		}
		head, err := headOf(root)
		return head, frozen, err
	}
	head, err := storedHead(ctx, t)
	if err != nil {
		return Head{}, false, err
	}
	tree, err := loadTree(ctx, t.cfg.Storage, t.ID())
	if err != nil {
		return Head{}, false, err
	}
	return head, tree.TreeState == trillian.TreeState_FROZEN, nil
}

// publish makes head the newest, unless a newer one is known, and returns which is.
func (t *Tree) publish(head Head) Head {
	for {
		old := t.head.Load()
		if old != nil && (head.Size < old.Size || head.Size == old.Size && !head.Time.After(old.Time)) {
			return *old
		}
		if t.head.CompareAndSwap(old, &head) {
			return head
		}
	}
}

// covering returns a head over at least size entries, or else the newest.
func (t *Tree) covering(ctx context.Context, size uint64) (Head, error) {
	if head := t.Head(); size <= head.Size {
		return head, nil
	}
	return t.Newest(ctx)
}

// believe checks the answer of a leader, and learns its head.
func (t *Tree) believe(p *pending, a Added) error {
	e := a.Entry
	same := e.Leaf.Identity == p.leaf.Identity && bytes.Equal(rfc6962.DefaultHasher.HashLeaf(e.Leaf.Value), e.LeafHash[:])
	if !same || !a.Duplicate && e.LeafHash != p.leafHash || a.Proof.Index != e.Index {
		return errors.New("the leader of the log answered for another entry")
	}
	if err := proof.VerifyInclusion(rfc6962.DefaultHasher, e.Index, a.Proof.Size, e.LeafHash[:], a.Proof.Hashes, a.Proof.Root[:]); err != nil {
		return fmt.Errorf("the leader of the log proves nothing: %w", err)
	}
	if !a.Proof.Time.IsZero() {
		t.publish(Head{Size: a.Proof.Size, Root: a.Proof.Root, Time: a.Proof.Time})
	}
	return nil
}
