package merkle_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sigstack/internal/fault"
	"sigstack/internal/merkle"
)

// faraway is a leader that takes a while to answer, and notes what it got.
type faraway struct {
	takes time.Duration

	mu      sync.Mutex
	bundles []int // guarded by mu: their sizes
	under   int   // guarded by mu: requests under way
	most    int   // guarded by mu
}

func (f *faraway) send(_ context.Context, leaves []merkle.Leaf) ([]merkle.Outcome, error) {
	f.mu.Lock()
	f.bundles = append(f.bundles, len(leaves))
	f.under++
	f.most = max(f.most, f.under)
	f.mu.Unlock()
	time.Sleep(f.takes)
	f.mu.Lock()
	f.under--
	f.mu.Unlock()
	outcomes := make([]merkle.Outcome, len(leaves))
	for i, l := range leaves {
		outcomes[i] = merkle.Outcome{Added: merkle.Added{Entry: merkle.Entry{Leaf: l}}}
	}
	return outcomes, nil
}

// write adds leaves one after the other, as far as ctx lets it.
func write(t *testing.T, b *merkle.Bundler, first, count int, pause time.Duration) {
	for i := first; i < first+count; i++ {
		l := leaf(i)
		a, err := b.Add(t.Context(), l)
		if err != nil || string(a.Entry.Leaf.Value) != string(l.Value) {
			t.Errorf("leaf %d: got %q, %v", i, a.Entry.Leaf.Value, err)
		}
		time.Sleep(pause)
	}
}

func TestWritersTravelTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &faraway{takes: 20 * time.Millisecond}
		b := merkle.NewBundler(f.send)
		var wg sync.WaitGroup
		const writers, each = 32, 50
		for w := range writers {
			// They come back one by one.
			wg.Go(func() { write(t, b, w*each, each, time.Duration(w)*20*time.Microsecond) })
		}
		wg.Wait()
		total := 0
		for _, n := range f.bundles {
			total += n
		}
		if total != writers*each {
			t.Errorf("the leader got %d leaves, want %d", total, writers*each)
		}
		if want := 4 * each; len(f.bundles) > want {
			t.Errorf("%d leaves came in %d requests, want no more than %d", total, len(f.bundles), want)
		}
		if f.most > 4 {
			t.Errorf("%d requests at once, want no more than 4", f.most)
		}
	})
}

func TestWriterWhoIsAloneNeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &faraway{takes: time.Millisecond}
		b := merkle.NewBundler(f.send)
		began := time.Now()
		write(t, b, 0, 10, 0)
		if took := time.Since(began); took != 10*f.takes {
			t.Errorf("10 leaves took %v, want %v", took, 10*f.takes)
		}
		// Many, and then one: it waits for them no more than a few times.
		var wg sync.WaitGroup
		for w := range 32 {
			wg.Go(func() { write(t, b, 100+w, 1, 0) })
		}
		wg.Wait()
		began = time.Now()
		write(t, b, 200, 20, 0)
		if took := time.Since(began) - 20*f.takes; took > 12*time.Millisecond {
			t.Errorf("20 leaves waited %v for company, want no more than six times 2 ms", took)
		}
	})
}

func TestBundlesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &faraway{takes: 10 * time.Millisecond}
		b := merkle.NewBundler(f.send)
		var wg sync.WaitGroup
		for w := range 1000 {
			wg.Go(func() { write(t, b, w, 2, 0) })
		}
		large := merkle.Leaf{Value: make([]byte, 2<<20)}
		wg.Go(func() {
			if _, err := b.Add(t.Context(), large); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		for _, n := range f.bundles {
			if n < 1 || n > 256 {
				t.Errorf("a bundle of %d leaves", n)
			}
		}
	})
}

func TestBundleThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("the cable is cut")
		b := merkle.NewBundler(func(context.Context, []merkle.Leaf) ([]merkle.Outcome, error) { return nil, broken })
		if _, err := b.Add(t.Context(), leaf(0)); !errors.Is(err, broken) {
			t.Errorf("got %v, want %v", err, broken)
		}
		b = merkle.NewBundler(func(_ context.Context, l []merkle.Leaf) ([]merkle.Outcome, error) {
			return make([]merkle.Outcome, len(l)+1), nil
		})
		if _, err := b.Add(t.Context(), leaf(0)); err == nil {
			t.Error("two outcomes of one leaf: got no error")
		}
		// A leader that hangs holds nobody longer than they want to wait, and none for good.
		b = merkle.NewBundler(func(ctx context.Context, _ []merkle.Leaf) ([]merkle.Outcome, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if _, err := b.Add(ctx, leaf(0)); fault.KindOf(err) != fault.Timeout {
					t.Errorf("got %v, want a timeout", err)
				}
			})
			time.Sleep(10 * time.Millisecond)
		}
		wg.Wait()
		time.Sleep(10 * time.Second) // the requests have ended, which synctest demands of whatever they began
	})
}

// TestForwardedLeavesGoNoFurther: who does not lead says so at once.
func TestForwardedLeavesGoNoFurther(t *testing.T) {
	e, trees := pair(t)
	depose := e.elect(0)
	var got []merkle.Outcome
	for range 100 { // it leads in a moment
		if got = trees[0].AddForwarded(t.Context(), []merkle.Leaf{leaf(1), {}, leaf(2), leaf(1)}); got[0].Err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	for i, want := range []fault.Kind{0, fault.Invalid, 0, 0} {
		if fault.KindOf(got[i].Err) != want {
			t.Errorf("leaf %d: got %v, want kind %d", i, got[i].Err, want)
		}
		if want == 0 {
			if err := verify(got[i].Added.Entry, got[i].Added.Proof); err != nil {
				t.Errorf("leaf %d: %v", i, err)
			}
		}
	}
	if got[0].Added.Duplicate == got[3].Added.Duplicate {
		t.Error("one of two equal leaves is a duplicate, got both or none")
	}
	for _, o := range trees[1].AddForwarded(t.Context(), []merkle.Leaf{leaf(3), leaf(4)}) {
		if fault.KindOf(o.Err) != fault.Unavailable {
			t.Errorf("one that follows: got %v, want that it is unavailable", o.Err)
		}
	}
	depose()
}
