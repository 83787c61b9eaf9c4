package merkle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"sigstack/internal/fault"
)

// Election decides which of several processes on one storage makes the batches.
// Lead runs f whenever this one leads, until ctx ends, which is no error, or f returns
// one. The context of f ends, and Lead waits for f, when the lead is lost, as far as
// that can be known: two that lead at once are slow, and storage keeps them one log.
type Election interface {
	Lead(ctx context.Context, f func(context.Context) error) error
}

// followEvery is how often a tree that follows looks what the leader did, so that
// what it shows of itself is not old.
const followEvery = time.Second

// errNotLeading says that the leaf is, or may be, in no batch of this process.
var errNotLeading = fault.New(fault.Unavailable, "another process leads the log; try again")

// term is a time in which this process leads, or another does, as far as it knows.
type term struct {
	leading bool
	lasts   context.Context // ends with it
	end     context.CancelFunc
}

func newTerm(leading bool) *term {
	t := &term{leading: leading}
	t.lasts, t.end = context.WithCancel(context.Background()) //nolint:gosec // called when the next term has begun
	return t
}

// turn begins a term, and returns how to end the one before.
func (t *Tree) turn(leading bool) (end func()) {
	return t.term.Swap(newTerm(leading)).end
}

// stand leads whenever the election says so, and follows otherwise.
func (t *Tree) stand(ctx context.Context) error {
	defer close(t.stopped)
	following, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); t.follow(following) }()
	err := t.cfg.Election.Lead(ctx, func(lead context.Context) error { return t.lead(ctx, lead) })
	stop()
	<-done
	t.close()
	return err
}

// follow keeps the head near the leader's, and proves it, until ctx ends.
func (t *Tree) follow(ctx context.Context) {
	ticker := time.NewTicker(followEvery)
	defer ticker.Stop()
	var proven Head
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		if t.term.Load().leading {
			continue
		}
		head, err := t.Newest(ctx)
		if err == nil && head.Size != proven.Size {
			err = t.proves(ctx, head)
		}
		if err == nil {
			proven = head
		} else if ctx.Err() == nil {
			t.log.WarnContext(ctx, "following the log", slog.Any("error", err))
		}
	}
}

// proves checks that the stored nodes hash to a head.
func (t *Tree) proves(ctx context.Context, head Head) error {
	root, err := t.rootAt(ctx, head.Size)
	if err == nil && root != head.Root {
		err = fmt.Errorf("stored nodes hash to %x, the root over %d entries is %x", root, head.Size, head.Root)
	}
	return err
}

// lead makes batches until the lead is lost, or ctx ends, and then commits what is
// queued.
func (t *Tree) lead(ctx, lead context.Context) error {
	// Who is deposed waits for nothing; who is told to end finishes what is under way.
	work, cancel := context.WithCancel(context.WithoutCancel(lead))
	defer cancel()
	defer context.AfterFunc(lead, func() {
		if ctx.Err() == nil {
			cancel()
		}
	})()
	t.stale = true // others wrote in the meantime
	if _, err := t.Newest(work); err != nil {
		t.log.WarnContext(ctx, "reading the head to lead from", slog.Any("error", err))
		return nil // and again
	}
	t.turn(true)()
	err := t.batches(lead, work)
	if err != nil || ctx.Err() != nil {
		t.close()
	}
	if err == nil && ctx.Err() != nil {
		err = t.drain(work)
	}
	end := t.turn(false)
	t.abandon()
	end()
	return err
}

// abandon answers what is queued; whoever waits asks the next leader.
func (t *Tree) abandon() {
	for {
		select {
		case p := <-t.queue:
			t.waiting.Add(-p.leaf.size())
			refuse([]*pending{p}, errNotLeading)
		default:
			return
		}
	}
}

// How an entry finds whoever leads: one try is short, for its answer may never come,
// and after the first an entry waits no longer than it takes to elect another leader.
const (
	forwardTry      = 3 * time.Second
	forwardPatience = 10 * time.Second
	forwardPause    = 50 * time.Millisecond
)

// addElected adds a leaf here or where the leader is, whoever that comes to be. A try
// of which nothing is known is repeated: two leaves of one identity are one entry.
func (t *Tree) addElected(p *pending) (Added, error) {
	if err := t.reserve(&p.leaf); err != nil {
		return Added{}, err
	}
	defer t.forwarding.Add(-p.leaf.size())
	added, err := t.addOnce(p)
	if err == nil || !worthRepeating(err) {
		return added, err
	}
	return t.addAgain(p, err)
}

// addAgain repeats a try that has failed, with err.
func (t *Tree) addAgain(p *pending, err error) (Added, error) {
	patience := time.NewTimer(forwardPatience)
	defer patience.Stop()
	for {
		select {
		case <-time.After(forwardPause):
		case <-patience.C:
			return Added{}, err
		case <-t.closing:
			return Added{}, errClosed()
		case <-p.ctx.Done():
			return Added{}, ended(p.ctx)
		}
		var added Added
		added, err = t.addOnce(p)
		if added.Duplicate && !added.Entry.IntegratedAt.Before(p.queued) {
			added.Duplicate = false // it is that of a try whose answer was lost
		}
		if err == nil || !worthRepeating(err) {
			return added, err
		}
	}
}

// reserve bounds what waits for answers of a leader, in bytes.
func (t *Tree) reserve(l *Leaf) error {
	size := l.size()
	if n := t.forwarding.Add(size); n <= t.cfg.QueueBytes || n == size {
		return nil
	}
	t.forwarding.Add(-size)
	t.metrics.refused.Inc()
	return errFull()
}

// worthRepeating reports whether another try may succeed soon.
func worthRepeating(err error) bool {
	var e *fault.Error
	return errors.As(err, &e) && e.Kind == fault.Unavailable && e.RetryAfter == 0 && !errors.Is(err, ErrFrozen)
}

// addOnce is one try. What it returns is about this try alone: a caller who is not in
// a hurry tries again.
func (t *Tree) addOnce(p *pending) (Added, error) {
	if p.ctx.Err() != nil {
		return Added{}, ended(p.ctx)
	}
	if t.frozen.Load() { // or was: others hand over, too
		if _, err := t.Newest(p.ctx); err != nil {
			return Added{}, err
		}
		if t.frozen.Load() {
			return Added{}, errFrozen()
		}
	}
	ctx, cancel := context.WithTimeout(p.ctx, forwardTry)
	defer cancel()
	now := t.term.Load()
	if now.leading {
		again := *p
		again.ctx, again.done = ctx, make(chan answer, 1)
		added, err := t.addHere(&again, now.lasts.Done())
		return added, t.tried(p, err)
	}
	if t.cfg.Forward == nil {
		return Added{}, errNotLeading
	}
	// This process may come to be the leader.
	defer context.AfterFunc(now.lasts, cancel)()
	added, err := t.cfg.Forward(ctx, p.leaf)
	if err == nil {
		err = t.believe(p, added)
	}
	if err != nil {
		return Added{}, t.frozenBy(p, t.tried(p, err))
	}
	return added, nil
}

// tried says of a try that ended before its caller's patience that it may be repeated.
func (t *Tree) tried(p *pending, err error) error {
	if err == nil || p.ctx.Err() != nil {
		return err
	}
	switch fault.KindOf(err) {
	case fault.Internal, fault.Timeout, fault.Canceled:
		return fault.Wrap(fault.Unavailable, err, "the leader of the log did not answer; try again")
	default:
		return err
	}
}

// frozenBy asks storage whether a leader that refused did so because the tree is
// frozen, which no wire tells.
func (t *Tree) frozenBy(p *pending, err error) error {
	if !worthRepeating(err) {
		return err
	}
	if _, lost := t.Newest(p.ctx); lost == nil && t.frozen.Load() {
		return errFrozen()
	}
	return err
}
