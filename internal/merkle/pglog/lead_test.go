package pglog_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"

	"sigstack/internal/fault"
	"sigstack/internal/merkle/pglog"
	"sigstack/internal/pgtest"
)

// TestTwoLeadersAtOnceAreOneLog has no election at all: that is for speed.
func TestTwoLeadersAtOnceAreOneLog(t *testing.T) {
	o := migrated(t, pgtest.New(t), "log")
	s := open(t, o)
	id := newTree(t, s)
	leaders := []*engine{start(t, s, id), start(t, open(t, o), id)}
	var p promised
	var refused atomic.Int64
	var wg sync.WaitGroup
	const writers, each = 4, 15
	for w := range 2 * writers {
		wg.Go(func() {
			for i := range each {
				l := leaf(w/2*each + i) // each leaf goes to both
				for {
					a, err := leaders[w%2].Add(t.Context(), l)
					if err == nil {
						p.note(a)
						break
					}
					if fault.KindOf(err) != fault.Unavailable {
						t.Error(err)
						return
					}
					refused.Add(1)
				}
			}
		})
	}
	wg.Wait()
	p.check(t, s, id)
	if head := whole(t, s, id); head.Size != writers*each {
		t.Errorf("the tree has %d entries, want %d", head.Size, writers*each)
	}
	t.Logf("%d answers, %d refusals on the way", len(p.added), refused.Load())
}

func TestOneLeads(t *testing.T) {
	db := pgtest.New(t)
	o := migrated(t, db, "log")
	const tree = 42
	var leading, most atomic.Int64
	terms := make(chan int, 10)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range 3 {
		s := open(t, o)
		wg.Go(func() {
			err := s.Lead(ctx, tree, slog.New(slog.DiscardHandler), func(ctx context.Context) error {
				most.Store(max(most.Load(), leading.Add(1)))
				terms <- i
				<-ctx.Done()
				leading.Add(-1)
				if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) && !errors.Is(cause, pglog.ErrDeposed) {
					t.Errorf("a term ended with %v", cause)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	<-terms
	const idle = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
	for range 2 { // the leader's connection is cut; somebody leads again
		if !pgtest.Value[bool](t, db, idle) {
			t.Fatal("there is no leader")
		}
		<-terms
		eventually(t, "the one that was cut off notices", func() bool { return leading.Load() == 1 })
	}
	cancel()
	wg.Wait()
	// Until it notices, the one that was cut off believes in itself: two at a time
	// are as many as there may be.
	if n := most.Load(); n > 2 {
		t.Errorf("%d led at once", n)
	}
}

func TestAnErrorOfTheLeaderEndsIt(t *testing.T) {
	s := open(t, migrated(t, pgtest.New(t), "log"))
	want := errors.New("the tree is lost")
	err := s.Lead(t.Context(), 1, slog.New(slog.DiscardHandler), func(context.Context) error { return want })
	if !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
}
