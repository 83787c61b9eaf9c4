package merkle

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"sigstack/internal/fault"
)

// How leaves travel together: a request costs as much as many leaves do.
const (
	bundleLeaves   = 256
	bundleBytes    = 1 << 20
	bundleSenders  = 4                    // requests at once: while one is being committed the next ones queue behind it
	bundlePatience = 2 * time.Millisecond // how long a leaf waits for company
)

// Outcome is what came of one leaf.
type Outcome struct {
	Added Added
	Err   error // nil, or why it was not added, as far as is known
}

// Bundler hands leaves of many callers to the process that leads a log, those that
// come at about the same time in one request. It is safe for concurrent use.
type Bundler struct {
	send   func(context.Context, []Leaf) ([]Outcome, error)
	enough chan struct{} // has one soon after nobody more is expected; capacity 1

	// Guarded by mu. Whenever something waits a sender gathers, or all of them are out.
	mu        sync.Mutex
	waiting   []*parcel
	senders   int  // goroutines that send
	gathering bool // one of them waits for company
	expected  int  // leaves answered lately, whose writers may come back
}

// parcel is a leaf on its way.
type parcel struct {
	ctx  context.Context
	leaf Leaf
	done chan Outcome // buffered: no sender waits for a caller
}

// NewBundler returns a Bundler. The function sends leaves, at least one, and returns
// as many outcomes in their order, or why there are none. It is called by some
// goroutines at once, with a context that ends when no caller can wait any more.
func NewBundler(send func(context.Context, []Leaf) ([]Outcome, error)) *Bundler {
	return &Bundler{send: send, enough: make(chan struct{}, 1)}
}

// Add sends leaf along with others and returns what came of it. When ctx ends first
// the leaf may have been sent, and be logged all the same.
func (b *Bundler) Add(ctx context.Context, leaf Leaf) (Added, error) {
	p := &parcel{ctx, leaf, make(chan Outcome, 1)}
	b.post(p)
	select {
	case o := <-p.done:
		return o.Added, o.Err
	case <-ctx.Done():
		return Added{}, ended(ctx)
	}
}

func (b *Bundler) post(p *parcel) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting = append(b.waiting, p)
	b.expected = max(b.expected-1, 0)
	if b.gathering {
		if b.complete() {
			select {
			case b.enough <- struct{}{}:
			default:
			}
		}
		return
	}
	b.another()
}

// another has one more sender gather, if there may be more; it needs mu.
func (b *Bundler) another() {
	if b.senders < bundleSenders {
		b.senders++
		b.gathering = true
		go b.work()
	}
}

// complete reports whether there is nobody to wait for; it needs mu.
func (b *Bundler) complete() bool { return b.expected == 0 || len(b.waiting) >= bundleLeaves }

// work sends what waits until nothing does, or somebody else gathers it.
func (b *Bundler) work() {
	for more := true; more; {
		b.gather()
		b.deliver(b.take())
		b.mu.Lock()
		more = len(b.waiting) > 0 && !b.gathering
		if more {
			b.gathering = true
		} else {
			b.senders--
		}
		b.mu.Unlock()
	}
}

// gather waits until those are there whose writers were answered lately, for they come
// back one by one. A writer that is alone never waits; the last of many wait a few
// times.
func (b *Bundler) gather() {
	b.mu.Lock()
	select {
	case <-b.enough: // said too late the last time
	default:
	}
	complete := b.complete()
	b.mu.Unlock()
	if complete {
		return
	}
	timer := time.NewTimer(bundlePatience)
	defer timer.Stop()
	select {
	case <-b.enough:
	case <-timer.C:
		b.mu.Lock()
		b.expected /= 2
		b.mu.Unlock()
	}
}

// take returns what is to be sent together, without what nobody waits for.
func (b *Bundler) take() []*parcel {
	b.mu.Lock()
	defer b.mu.Unlock()
	var taken []*parcel
	size, n := int64(0), 0
	for ; n < len(b.waiting) && len(taken) < bundleLeaves; n++ {
		p := b.waiting[n]
		if p.ctx.Err() != nil {
			continue
		}
		if size += p.leaf.size(); size > bundleBytes && len(taken) > 0 {
			break
		}
		taken = append(taken, p)
	}
	b.waiting = append([]*parcel(nil), b.waiting[n:]...)
	b.gathering = false
	if len(b.waiting) > 0 {
		b.another()
	}
	return taken
}

// deliver sends parcels and answers each.
func (b *Bundler) deliver(parcels []*parcel) {
	if len(parcels) == 0 {
		return
	}
	leaves := make([]Leaf, len(parcels))
	for i, p := range parcels {
		leaves[i] = p.leaf
	}
	ctx, cancel := context.WithTimeout(context.Background(), forwardTry) // no caller waits longer, and some may go
	defer cancel()
	outcomes, err := b.send(ctx, leaves)
	if err == nil && len(outcomes) != len(leaves) {
		err = fmt.Errorf("the leader of the log answered %d of %d leaves", len(outcomes), len(leaves))
	}
	b.mu.Lock()
	b.expected += len(parcels)
	b.mu.Unlock()
	for i, p := range parcels {
		if err != nil {
			p.done <- Outcome{Err: err}
			continue
		}
		p.done <- outcomes[i]
	}
}

// AddForwarded logs leaves that another process was asked to, if this one leads, and
// returns what came of each when that is known of all. What one that does not lead, or
// leads no more, answers is fault.Unavailable. Otherwise it is as Add.
func (t *Tree) AddForwarded(ctx context.Context, leaves []Leaf) []Outcome {
	outcomes := make([]Outcome, len(leaves))
	now := t.term.Load()
	if !now.leading {
		for i := range outcomes {
			outcomes[i].Err = errNotLeading
		}
		return outcomes
	}
	waiting := make([]*pending, len(leaves)) // nil: the outcome is known
	for i, leaf := range leaves {
		p, err := t.pending(ctx, leaf)
		if err == nil {
			err = t.enqueue(p)
		}
		if outcomes[i].Err = err; err == nil {
			waiting[i] = p
		}
	}
	var wg sync.WaitGroup
	for i, p := range waiting {
		if p == nil {
			continue
		}
		o := &outcomes[i]
		a, err := t.answer(p, now.lasts.Done())
		switch {
		case err != nil:
			o.Err = err
		case a.batch == nil && a.err == nil: // it was there already, and is read from storage
			wg.Go(func() { o.Added, o.Err = t.added(ctx, a) })
		default:
			o.Added, o.Err = t.added(ctx, a)
		}
	}
	wg.Wait()
	return outcomes
}

// faultOn is a fault that came over the wire.
func faultOn(kind uint64, retry time.Duration, text string) error {
	if kind <= uint64(fault.Internal) || kind > uint64(fault.Slow) {
		kind = uint64(fault.Unavailable)
	}
	return &fault.Error{Kind: fault.Kind(kind), Public: text, RetryAfter: retry}
}

// faultOf is what a fault is on the wire: nothing of its cause.
func faultOf(err error) (kind uint64, retry time.Duration, text string) {
	var e *fault.Error
	if errors.As(err, &e) {
		retry = max(e.RetryAfter, 0).Truncate(time.Millisecond)
	}
	return uint64(fault.KindOf(err)), retry, fault.Public(err)
}
