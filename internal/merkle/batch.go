package merkle

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/trillian/storage"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sigstack/internal/fault"
)

// Bounds of one commit. A batch that reaches one leaves the rest queued.
const (
	maxBatch      = 1024
	maxBatchBytes = 4 << 20
)

// commit stores and integrates first and whatever queued behind it, and answers
// every leaf. The error it returns means that storage is lost for good.
//
// What a crash leaves behind, step by step:
//
//   - queued, not committed: nothing; nobody was answered.
//   - during the driver's commit: all of the batch or none of it. If all, its
//     entries are in the log unanswered; adding them again finds them.
//   - committed, head not published: the same; the next Open reads that head.
//   - head published, not in the head file: the head file is up to a second
//     behind; Open accepts a tree that extends it.
//   - answered: every answer is on disk already.
func (t *Tree) commit(ctx context.Context, first *pending) error {
	ps := t.collect(first)
	defer func() { t.company = len(ps) + len(t.queue) }()
	t.metrics.queued.Observe(float64(len(ps)))
	if t.frozen.Load() { // queued before that was known
		refuse(ps, errFrozen())
		return nil
	}
	if err := t.refreshState(ctx); err != nil {
		return t.fail(ctx, ps, err)
	}
	work, err := t.sortOut(ctx, ps)
	if err != nil {
		return t.fail(ctx, ps, err)
	}
	// Counted before the answer, so that who has it can rely on the count.
	t.metrics.duplicates.Add(float64(len(work.known) + len(work.followers)))
	for _, known := range work.known {
		known.p.done <- answer{entry: Entry{Index: known.index}, duplicate: true}
	}
	if len(work.fresh) == 0 {
		return nil
	}
	b, entries, err := t.integrate(ctx, work.fresh)
	if err != nil {
		return t.fail(ctx, work.waiting(), err)
	}
	t.metrics.added.Add(float64(len(work.fresh)))
	for i, p := range work.fresh {
		p.done <- answer{entry: entries[i], batch: b}
	}
	for _, f := range work.followers {
		f.p.done <- answer{entry: entries[f.leader], batch: b, duplicate: true}
	}
	return nil
}

// collect takes what is queued, without waiting, leaving out leaves nobody
// waits for any more.
func (t *Tree) collect(first *pending) []*pending {
	ps, size := []*pending{first}, first.leaf.size()
	t.waiting.Add(-size)
	for len(ps) < maxBatch && size < maxBatchBytes {
		select {
		case p := <-t.queue:
			t.waiting.Add(-p.leaf.size())
			if p.ctx.Err() == nil {
				ps, size = append(ps, p), size+p.leaf.size()
			}
		default:
			return ps
		}
	}
	return ps
}

// size is about what a leaf takes in memory and in a commit, in bytes.
func (l *Leaf) size() int64 {
	const leaf, row = 512, 64 // what is there besides the bytes
	n := leaf + len(l.Value) + len(l.Extra)
	for _, r := range l.Rows {
		n += row + len(r.Key) + len(r.Value)
	}
	return int64(n)
}

// worklist is a batch sorted by what is to be done.
type worklist struct {
	fresh     []*pending
	followers []follower // same identity as a fresh one of this batch
	known     []known    // identity in the tree already
}

type follower struct {
	p      *pending
	leader int // index in fresh
}

type known struct {
	p     *pending
	index uint64
}

// waiting returns the leaves whose answer hangs on the commit.
func (w *worklist) waiting() []*pending {
	ps := w.fresh
	for _, f := range w.followers {
		ps = append(ps, f.p)
	}
	return ps
}

// sortOut finds duplicates, within the batch and in the identity index. No other
// writer can add an identity before the batch is committed.
func (t *Tree) sortOut(ctx context.Context, ps []*pending) (*worklist, error) {
	w := &worklist{fresh: make([]*pending, 0, len(ps))}
	leaders := make(map[[32]byte]int, len(ps))
	err := t.view(ctx, func(tx storage.ReadOnlyLogTreeTX) error {
		find, err := indexes(ctx, tx, ps)
		if err != nil {
			return err
		}
		for _, p := range ps {
			if leader, ok := leaders[p.leaf.Identity]; ok {
				w.followers = append(w.followers, follower{p, leader})
				continue
			}
			index, found, err := find(p.leaf.Identity[:])
			if err != nil {
				return err
			}
			if found && (index < 0 || uint64(index) >= t.Head().Size) {
				return fmt.Errorf("identity %x is at index %d of a tree of %d", p.leaf.Identity, index, t.Head().Size)
			}
			if found {
				w.known = append(w.known, known{p, uint64(index)})
				continue
			}
			leaders[p.leaf.Identity] = len(w.fresh)
			w.fresh = append(w.fresh, p)
		}
		return nil
	})
	return w, err
}

// fail answers leaves that could not be committed and makes the next batch
// re-read the tree, since the commit may have happened all the same. It returns
// an error if storage is lost for good.
func (t *Tree) fail(ctx context.Context, ps []*pending, err error) error {
	if status.Code(err) == codes.PermissionDenied {
		t.frozen.Store(true) // by somebody else; storage wrote nothing
		err = errFrozen()
	}
	if t.cfg.Election != nil && ctx.Err() != nil {
		t.stale, err = true, errNotLeading // deposed in the middle of it
	}
	if fault.KindOf(err) == fault.Internal {
		err = fault.Wrap(fault.Unavailable, err, "the log could not store the entry; try again")
		t.stale = true
	}
	if t.cfg.Election != nil {
		t.stale = true // its cause may be that another leads
	}
	t.metrics.failed.Inc()
	refuse(ps, err)
	return t.lost(ctx, err)
}

func refuse(ps []*pending, err error) {
	for _, p := range ps {
		p.done <- answer{err: err}
	}
}

// lost asks storage, after a failure, whether going on makes sense.
func (t *Tree) lost(ctx context.Context, cause error) error {
	if !t.stale {
		return nil
	}
	if err := t.cfg.Storage.CheckDatabaseAccessible(ctx); err != nil {
		return fmt.Errorf("storage of tree %d is lost: %w", t.ID(), err)
	}
	if errors.Is(cause, errShrunk) {
		return cause
	}
	return nil
}
