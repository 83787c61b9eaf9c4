package merkle_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/trillian"
	"github.com/google/trillian/storage"
	"github.com/prometheus/client_golang/prometheus"

	"sigstack/internal/fault"
	"sigstack/internal/merkle"
	"sigstack/internal/merkle/pebblelog"
)

// gated holds up commits until told to go on.
type gated struct {
	merkle.Storage
	held chan struct{} // gets one for each commit that waits
	gate chan struct{} // a commit passes for each one, all once it is closed
}

func (g *gated) ReadWriteTransaction(ctx context.Context, tree *trillian.Tree, do storage.LogTXFunc) error {
	g.held <- struct{}{}
	<-g.gate
	return g.Storage.ReadWriteTransaction(ctx, tree, do)
}

// startGated starts a tree whose first commit, of leaf(0), is held up.
func startGated(t *testing.T, c merkle.Config) (r *rig, first chan error, g *gated) {
	t.Helper()
	metrics := c.Metrics
	c.Metrics = nil // once is enough
	r = open(t, vfs.NewMem(), c)
	r.cfg.Metrics = metrics
	g = &gated{r.store, make(chan struct{}, 1000), make(chan struct{})}
	r = run(t, r.reopen(t, g))
	first = make(chan error, 1)
	go func() {
		_, err := r.Add(t.Context(), leaf(0))
		first <- err
	}()
	<-g.held
	return r, first, g
}

func wantRefused(t *testing.T, err error) {
	t.Helper()
	if fault.KindOf(err) != fault.Unavailable || fault.RetryAfterOf(err) <= 0 {
		t.Errorf("add: got %v (retry after %v), want kind Unavailable and a time to try again", err, fault.RetryAfterOf(err))
	}
}

func TestQueueIsBoundedInBytes(t *testing.T) {
	registry := prometheus.NewRegistry()
	const limit = 1 << 20
	r, first, g := startGated(t, merkle.Config{QueueBytes: limit, Metrics: registry})
	large := func(i, size int) merkle.Leaf {
		return merkle.Leaf{Value: append(fmt.Appendf(nil, "%d ", i), make([]byte, size)...)}
	}
	var answers sync.WaitGroup
	queued := func(l merkle.Leaf) {
		before := gaugeOf(t, registry, "sigstack_merkle_queue_depth")
		answers.Go(func() {
			if _, err := r.Add(t.Context(), l); err != nil {
				t.Errorf("add of a leaf that has its place: %v", err)
			}
		})
		for gaugeOf(t, registry, "sigstack_merkle_queue_depth") == before {
		}
	}
	queued(large(0, 3*limit)) // larger than the bound, but the only one
	_, err := r.Add(t.Context(), leaf(1))
	wantRefused(t, err)
	g.gate <- struct{}{}
	<-g.held // the second commit, of the large leaf
	for i := range 3 {
		queued(large(i+1, limit/4))
	}
	_, err = r.Add(t.Context(), large(9, limit/4))
	wantRefused(t, err)
	queued(leaf(2)) // for which there is room
	if got := gaugeOf(t, registry, "sigstack_merkle_queue_bytes"); got < 3*limit/4 || got > limit {
		t.Errorf("%v bytes are queued, want three quarters of %d and a little", got, limit)
	}
	close(g.gate)
	answers.Wait()
	if err := <-first; err != nil {
		t.Error(err)
	}
	if got := gaugeOf(t, registry, "sigstack_merkle_queue_bytes"); got != 0 {
		t.Errorf("%v bytes are queued in the end, want none", got)
	}
	if got := gaugeOf(t, registry, "sigstack_merkle_refused_total"); got != 2 {
		t.Errorf("%v were refused, want 2", got)
	}
}

// gaugeOf is the value of a metric of one tree.
func gaugeOf(t *testing.T, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// TestOverloadLosesNothing lets many more writers at a log than its queue takes.
// Each leaf is either in the log, or was refused at once and is not.
func TestOverloadLosesNothing(t *testing.T) {
	const writers, each, limit = 500, 8, 16
	r, first, g := startGated(t, merkle.Config{QueueLimit: limit})
	var refused, tried atomic.Int64
	var mu sync.Mutex
	var acknowledged []merkle.Added
	refusedLeaves := map[int]bool{}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := 1 + w*each; i <= w*each+each; i++ {
				added, err := r.Add(t.Context(), leaf(i))
				if tried.Add(1) == writers*each/2 {
					close(g.gate) // half of them met a commit that takes its time
				}
				mu.Lock()
				if err == nil {
					acknowledged = append(acknowledged, added)
				} else {
					refusedLeaves[i] = true
				}
				mu.Unlock()
				if err != nil {
					refused.Add(1)
					wantRefused(t, err)
				}
			}
		})
	}
	go func() {
		for range g.held { // commits do not wait for the test
		}
	}()
	wg.Wait()
	if err := <-first; err != nil {
		t.Error(err)
	}
	if refused.Load() < writers*each/4 {
		t.Errorf("%d of %d were refused, want more with a queue of %d", refused.Load(), writers*each, limit)
	}
	mustAdd(t, r.Tree, leaf(1_000_000)) // at once: nothing is left over
	if got, want := r.Head().Size, uint64(len(acknowledged)+2); got != want {
		t.Errorf("the log has %d entries, want %d: what was acknowledged, the first and the last", got, want)
	}
	for i := range refusedLeaves {
		if added := mustAdd(t, r.Tree, leaf(i)); added.Duplicate {
			t.Errorf("leaf %d was refused and is in the log", i)
		}
		break
	}
	if err := keepsPromises(t.Context(), r.Tree, acknowledged); err != nil {
		t.Error(err)
	}
	checkWhole(t, r)
}

// TestQueuedLeafWhoseCallerLeftIsNotLogged frees the queue of what nobody waits
// for.
func TestQueuedLeafWhoseCallerLeftIsNotLogged(t *testing.T) {
	r, first, g := startGated(t, merkle.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		_, err := r.Add(ctx, leaf(1))
		left <- err
	}()
	cancel()
	if err := <-left; fault.KindOf(err) != fault.Canceled {
		t.Errorf("add: got %v, want kind Canceled", err)
	}
	close(g.gate)
	if err := <-first; err != nil {
		t.Error(err)
	}
	if added := mustAdd(t, r.Tree, leaf(2)); added.Entry.Index != 1 {
		t.Errorf("the next leaf is entry %d, want 1", added.Entry.Index)
	}
	if got := r.Head().Size; got != 2 {
		t.Errorf("the log has %d entries, want 2", got)
	}
}

// TestProofsDoNotDependOnWhatIsInMemory reads with hardly any memory, and after a
// restart, what was added.
func TestProofsDoNotDependOnWhatIsInMemory(t *testing.T) {
	fs := vfs.NewMem()
	r := startOn(t, fs, pebblelog.Options{NoSync: true}, merkle.Config{Nodes: merkle.NewNodeCache(1)})
	acknowledged := addAll(t, r.Tree, 1500, 64)
	if err := keepsPromises(t.Context(), r.Tree, acknowledged); err != nil {
		t.Errorf("with room for one tile: %v", err)
	}
	r = r.restart(t, fs, pebblelog.Options{NoSync: true})
	for size := uint64(1); size <= r.Head().Size; size += 97 {
		older, err := r.Inclusion(t.Context(), size-1, size)
		if err != nil {
			t.Fatal(err)
		}
		e, err := r.Entry(t.Context(), size-1)
		if err != nil {
			t.Fatal(err)
		}
		if err := verify(e, older); err != nil {
			t.Error(err)
		}
		if err := extends(t.Context(), r.Tree, merkle.Head{Size: older.Size, Root: older.Root}, r.Head()); err != nil {
			t.Error(err)
		}
	}
	if got := r.cfg.Nodes.Bytes(); got > 17<<10 {
		t.Errorf("the cache takes %d bytes, want those of one tile", got)
	}
}
