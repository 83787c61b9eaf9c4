package merkle_test

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sigstack/internal/fault"
	"sigstack/internal/merkle"
)

// fakeClock is set by hand.
type fakeClock struct {
	mu sync.Mutex
	at time.Time // guarded by mu
}

func newClock() *fakeClock {
	return &fakeClock{at: time.Date(2030, 1, 2, 3, 4, 5, 678_901_234, time.UTC)}
}

func (c *fakeClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

// step moves the clock and returns the new time.
func (c *fakeClock) step(d time.Duration) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
	return c.at
}

func TestClockSteps(t *testing.T) {
	tests := []struct {
		name        string
		step        time.Duration // from the newest entry's time
		want        time.Duration // after the newest entry's time
		unavailable bool
	}{
		{"forward", time.Second, time.Second, false},
		{"standing still", 0, 1, false},
		{"back a little", -1, 1, false},
		{"back 5 s", -5 * time.Second, 1, false},
		{"back more than 5 s", -5*time.Second - 1, 0, true},
		{"back a day", -24 * time.Hour, 0, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			clock := newClock()
			r := start(t, merkle.Config{Now: clock.now})
			clock.step(time.Minute)
			newest := mustAdd(t, r.Tree, leaf(1)).Entry.IntegratedAt
			if want := clock.now(); !newest.Equal(want) {
				t.Fatalf("integrated at %v, want %v", newest, want)
			}
			clock.step(tt.step)
			added, err := r.Add(t.Context(), leaf(2))
			if tt.unavailable {
				if fault.KindOf(err) != fault.Unavailable || !strings.Contains(fault.Public(err), "clock") {
					t.Errorf("got %v, want kind Unavailable naming the clock", err)
				}
				clock.step(-2*tt.step + time.Second)
				mustAdd(t, r.Tree, leaf(2))
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := added.Entry.IntegratedAt.Sub(newest); got != tt.want {
				t.Errorf("integrated %v after the newest entry, want %v", got, tt.want)
			}
			if err := keepsPromises(t.Context(), r.Tree, []merkle.Added{added}); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestDuplicatesAreAnsweredWhileTheClockIsWrong(t *testing.T) {
	clock := newClock()
	r := start(t, merkle.Config{Now: clock.now})
	clock.step(time.Minute)
	mustAdd(t, r.Tree, leaf(1))
	clock.step(-time.Hour)
	if got := mustAdd(t, r.Tree, leaf(1)); !got.Duplicate {
		t.Errorf("got %+v, want the entry already there", got)
	}
}

func TestMillisecondTreeNeverRunsAheadOfItsClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, merkle.Config{TimeStep: time.Millisecond})
		var last time.Time
		for i := range 50 { // commits take no time in the bubble
			at := mustAdd(t, r.Tree, leaf(i)).Entry.IntegratedAt
			if !at.Equal(at.Truncate(time.Millisecond)) || !at.After(last) || at.After(time.Now()) {
				t.Fatalf("entry %d integrated at %v (before: %v, now: %v), want whole milliseconds, increasing, not in the future",
					i, at, last, time.Now())
			}
			last = at
		}
	})
}

func TestMillisecondTreeAfterABackwardStep(t *testing.T) {
	clock := newClock()
	r := start(t, merkle.Config{Now: clock.now, TimeStep: time.Millisecond})
	clock.step(time.Minute)
	newest := mustAdd(t, r.Tree, leaf(1)).Entry.IntegratedAt
	clock.step(-3 * time.Second)
	if got := mustAdd(t, r.Tree, leaf(2)).Entry.IntegratedAt.Sub(newest); got != time.Millisecond {
		t.Errorf("integrated %v after the newest entry, want 1ms", got)
	}
}

func TestIdleTreeGetsFreshRoots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, merkle.Config{RefreshEvery: time.Hour, TimeStep: time.Millisecond})
		mustAdd(t, r.Tree, leaf(1))
		before := r.Head()
		for range 10 {
			time.Sleep(time.Hour) // of the bubble's clock
			synctest.Wait()
			head := r.Head()
			if age := time.Since(head.Time); age > time.Hour {
				t.Errorf("newest root is %v old, want at most an hour", age)
			}
			if head.Size != before.Size || head.Root != before.Root || !head.Time.After(before.Time) {
				t.Errorf("refreshed %+v to %+v, want only a later time", before, head)
			}
			before = head
		}
		mustAdd(t, r.Tree, leaf(2))
		checkWhole(t, r)
	})
}

func TestIdleTreeWithoutRefreshKeepsItsRoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, merkle.Config{})
		mustAdd(t, r.Tree, leaf(1))
		before := r.Head()
		time.Sleep(time.Hour) // of the bubble's clock
		if got := r.Head(); got != before {
			t.Errorf("head went from %+v to %+v without an entry", before, got)
		}
	})
}

// TestSettledTreeKeepsItsRoot: what was queued is in it, and nothing makes a later one.
func TestSettledTreeKeepsItsRoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, merkle.Config{RefreshEvery: time.Hour, TimeStep: time.Millisecond})
		mustAdd(t, r.Tree, leaf(1))
		head, err := r.Settle(t.Context())
		if err != nil || head.Size != 1 {
			t.Fatalf("settled at %+v, %v", head, err)
		}
		time.Sleep(10 * time.Hour) // of the bubble's clock
		synctest.Wait()
		if got := r.Head(); got != head {
			t.Errorf("head went from %+v to %+v", head, got)
		}
		mustAdd(t, r.Tree, leaf(2))
		checkWhole(t, r)
	})
}
