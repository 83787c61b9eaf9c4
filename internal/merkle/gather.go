package merkle

import (
	"context"
	"sync/atomic"
	"time"
)

// gatherFor bounds how long a leaf waits for company.
const gatherFor = 4 * time.Millisecond

// gathering lets leaves find a batch together, for a batch costs a sync of the
// disk, a root and a checkpoint, however many leaves it has. Writers that were
// answered together come back one by one: without it the first has a batch of its
// own, and the others wait for that to be committed.
type gathering struct {
	want   atomic.Int64  // queued leaves that the batcher waits for; 0: it does not
	enough chan struct{} // has one soon after they are there; capacity 1

	// Owned by the batcher.
	company int // leaves of the last batch, and those queued at its end: who may come back
}

// queued is called for each leaf behind the first.
func (g *gathering) queued(leaves int) {
	if want := g.want.Load(); want > 0 && int64(leaves) >= want {
		select {
		case g.enough <- struct{}{}:
		default:
		}
	}
}

// gather waits, with one leaf in hand, until as many are queued as lately came
// together, gatherFor is over or ctx ends. A writer that is alone never waits; the
// last of many waits once.
func (t *Tree) gather(ctx context.Context) {
	want := min(t.company, maxBatch, cap(t.queue)) - 1
	if len(t.queue) >= want || t.waiting.Load() >= maxBatchBytes {
		return
	}
	select {
	case <-t.enough: // said too late the last time
	default:
	}
	t.want.Store(int64(want))
	defer t.want.Store(0)
	t.gathering.queued(len(t.queue)) // those that came before want was known
	timer := time.NewTimer(gatherFor)
	defer timer.Stop()
	select {
	case <-t.enough:
	case <-timer.C:
	case <-ctx.Done():
	}
}
