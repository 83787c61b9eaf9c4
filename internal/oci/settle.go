package oci

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Limits on what is put off.
const (
	maxPending    = 512 // writes; each holds what it wrote
	settleAtATime = 16
)

// pending is a write that nobody has looked at yet.
type pending struct {
	write
	due time.Time // from when on a look at it is as good as a second one
}

// later is what a run has written and not looked at. It is safe for concurrent use.
type later struct {
	mu     sync.Mutex // guards writes
	writes []pending
}

// PuttingOff returns a Registry that does not wait after each write to see whether somebody
// has written at the same time, but looks at all of them in Settle, each once, when it is
// late enough for that. Until Settle has returned nil, what was written may be lost.
func (r *Registry) PuttingOff() *Registry {
	run := *r
	run.later = new(later)
	return &run
}

// putOff has Settle look at a write. Of very many it looks at the oldest at once.
func (r *Registry) putOff(ctx context.Context, p pending) error {
	r.later.mu.Lock()
	r.later.writes = append(r.later.writes, p)
	var oldest []pending
	if len(r.later.writes) > maxPending {
		oldest, r.later.writes = r.later.writes[:1], r.later.writes[1:]
	}
	r.later.mu.Unlock()
	return r.lookAt(ctx, oldest)
}

// Settle looks at everything that was written since PuttingOff, and makes anew what somebody
// else has overwritten, until it is kept. Errors are those of writing.
func (r *Registry) Settle(ctx context.Context) error {
	if r.later == nil {
		return nil
	}
	r.later.mu.Lock()
	writes := r.later.writes
	r.later.writes = nil
	r.later.mu.Unlock()
	return r.lookAt(ctx, writes)
}

// lookAt looks at each write when it is due. One that is lost is made again, and looked at
// as if nothing were put off.
func (r *Registry) lookAt(ctx context.Context, writes []pending) error {
	once := *r
	once.later = nil
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(settleAtATime)
	for _, p := range writes {
		g.Go(func() error {
			if wait := p.due.Sub(r.now()); wait > 0 {
				if err := sleep(ctx, wait); err != nil {
					return err
				}
			}
			switch _, err := p.look(ctx); {
			case errors.Is(err, errChanged):
				return once.untilKept(ctx, p.write)
			case err != nil:
				return p.told(err)
			}
			return nil
		})
	}
	return g.Wait()
}
