package merkle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/google/trillian"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"

	"sigstack/internal/fault"
)

// Tree is one open log. Its methods are safe for concurrent use. Reading needs
// nothing more; Add is answered while Run runs.
type Tree struct {
	cfg     Config
	tree    *trillian.Tree
	log     *slog.Logger
	metrics *metrics
	nodes   *NodeCache

	queue   chan *pending        // leaves for the next batch
	waiting atomic.Int64         // bytes of what is in queue, or about to be
	head    atomic.Pointer[Head] // newest durable root known; written by Open, and by publish
	running atomic.Bool          // Run was called
	frozen  atomic.Bool          // it takes no entries; written by Open, the batcher that hands over, and readNewest
	handing chan handover        // an order to freeze, for the batcher
	closing chan struct{}        // closed, by close: Add refuses
	close   func()
	stopped chan struct{} // closed: nothing queued will be answered any more

	gathering

	// Owned by the batcher, and by Open before it.
	edge  map[compact.NodeID][]byte // nodes that make the head's root; nil: read them from storage
	stale bool                      // a commit failed: re-read the head before anything else

	settled atomic.Bool // no root is made anew

	// Where others may write, too.
	term       atomic.Pointer[term] // never nil
	forwarding atomic.Int64         // bytes of what waits for a leader's answer
	fresh      freshness
}

// pending is a leaf on its way into the tree.
type pending struct {
	ctx      context.Context
	leaf     Leaf
	leafHash [32]byte
	queued   time.Time
	done     chan answer // buffered: the batcher never waits for a caller
}

// answer is what the batcher says about a pending leaf, once it is durable.
type answer struct {
	entry     Entry
	batch     *batch // nil: the entry is older than the batch; only entry.Index is set
	duplicate bool
	err       error
}

// ID is the tree's id in storage, positive.
func (t *Tree) ID() int64 { return t.tree.TreeId }

// Head returns the newest durable root, from memory.
func (t *Tree) Head() Head { return *t.head.Load() }

// Add logs leaf and returns once it is on disk. It fails with fault.Unavailable
// when the queue is full, which says when to try again, the clock went back too far or the commit failed, and
// with fault.Canceled or fault.Timeout when ctx ends first. Where another process
// leads, that one logs the leaf. After an error the
// leaf may still have been logged: adding it again answers with that entry. An
// error that matches ErrFrozen says that it was not.
func (t *Tree) Add(ctx context.Context, leaf Leaf) (Added, error) {
	p, err := t.pending(ctx, leaf)
	if err != nil {
		return Added{}, err
	}
	if t.cfg.Election != nil {
		return t.addElected(p)
	}
	return t.addHere(p, nil)
}

// pending is a leaf that came just now.
func (t *Tree) pending(ctx context.Context, leaf Leaf) (*pending, error) {
	if len(leaf.Value) == 0 {
		return nil, fault.New(fault.Invalid, "an entry must not be empty")
	}
	p := &pending{ctx: ctx, leaf: leaf, queued: wall(t.cfg.Now()), done: make(chan answer, 1)}
	copy(p.leafHash[:], rfc6962.DefaultHasher.HashLeaf(leaf.Value))
	if leaf.Identity == ([32]byte{}) {
		p.leaf.Identity = p.leafHash
	}
	return p, nil
}

// addHere has the batcher of this process log p, before its term has ended; nil: it
// has no end.
func (t *Tree) addHere(p *pending, over <-chan struct{}) (Added, error) {
	if err := t.enqueue(p); err != nil {
		return Added{}, err
	}
	a, err := t.answer(p, over)
	if err != nil {
		return Added{}, err
	}
	return t.added(p.ctx, a)
}

// answer waits for what the batcher says of p, as addHere does.
func (t *Tree) answer(p *pending, over <-chan struct{}) (answer, error) {
	var late error
	select {
	case a := <-p.done:
		return a, nil
	case <-p.ctx.Done():
		return answer{}, ended(p.ctx)
	case <-over:
		late = errNotLeading
	case <-t.stopped:
		late = errClosed()
	}
	select {
	case a := <-p.done: // answered just before the end
		return a, nil
	default:
		return answer{}, late
	}
}

// enqueue hands p to the batcher, or refuses it at once.
func (t *Tree) enqueue(p *pending) error {
	if p.ctx.Err() != nil {
		return ended(p.ctx)
	}
	select {
	case <-t.closing:
		return errClosed()
	default:
	}
	if t.frozen.Load() {
		return errFrozen()
	}
	size := p.leaf.size()
	if t.waiting.Add(size) <= t.cfg.QueueBytes || size > t.cfg.QueueBytes && len(t.queue) == 0 {
		select {
		case t.queue <- p:
			t.gathering.queued(len(t.queue))
			return nil
		default:
		}
	}
	t.waiting.Add(-size)
	t.metrics.refused.Inc()
	return errFull()
}

func errFull() error {
	return &fault.Error{Kind: fault.Unavailable, Public: "the log's queue is full; try again", RetryAfter: retryFull}
}

// retryFull is when to try again after the queue was full, which takes a few
// commits to empty.
const retryFull = time.Second

// added turns the batcher's answer into Add's. It runs in the caller's
// goroutine, so that the batcher is free for the next commit.
func (t *Tree) added(ctx context.Context, a answer) (Added, error) {
	if a.err != nil {
		return Added{}, a.err
	}
	if a.batch != nil {
		proof, err := a.batch.proof(a.entry.Index)
		return Added{Entry: a.entry, Proof: proof, Duplicate: a.duplicate}, err
	}
	entry, err := t.Entry(ctx, a.entry.Index)
	if err != nil {
		return Added{}, fmt.Errorf("read the entry that is there already: %w", err)
	}
	proof, err := t.Inclusion(ctx, entry.Index, t.Head().Size)
	return Added{Entry: entry, Proof: proof, Duplicate: true}, err
}

func errClosed() error {
	return fault.New(fault.Unavailable, "the log is shutting down; try again")
}

// ended classifies the end of a caller's context.
func ended(ctx context.Context) error {
	err := context.Cause(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return fault.Wrap(fault.Timeout, err, "the entry was not logged in time; it may still be")
	}
	return fault.Wrap(fault.Canceled, err, "the request was canceled; the entry may still be logged")
}
