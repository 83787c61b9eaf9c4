package pglog_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

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

// TestFailover kills the leader, lets it stand still and go on, ends its connections
// and cuts its cable, in turn, while writers go on. FAILOVER_ROUNDS says how often; a
// round of each by default.
func TestFailover(t *testing.T) {
	rounds := 4
	if text := os.Getenv("FAILOVER_ROUNDS"); text != "" {
		var err error
		if rounds, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	db := pgtest.New(t)
	o := migrated(t, db, "log")
	s := open(t, o)
	f := &fleet{db: db, clients: make([]*http.Client, 2)}
	f.id = newTree(t, s)
	dir, err := os.MkdirTemp("", "fleet") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for i := range f.clients {
		c := newCable(t, db, filepath.Join(dir, fmt.Sprint("cable", i)))
		r := &replica{cable: c, URL: c.url, Schema: o.Schema, Tree: f.id, Socket: filepath.Join(dir, fmt.Sprint(i))}
		r.start(t)
		t.Cleanup(func() { r.kill(t) })
		f.replicas, f.clients[i] = append(f.replicas, r), r.client()
	}
	stop := f.write(t, 32)
	for round := range rounds {
		f.more(t, 100)
		leader := f.answered(t, time.Now())
		began := time.Now()
		name, undo := f.hurt(t, round%4, f.replicas[leader])
		f.answered(t, time.Now())
		took := time.Since(began)
		if took > 5*time.Second {
			t.Errorf("round %d, %s: writes resumed after %v, want 5 s at most", round, name, took)
		}
		t.Logf("round %d, %s: writes resumed after %v", round, name, took.Round(time.Millisecond))
		undo()
		f.answered(t, time.Now())
	}
	stop()
	f.check(t, s, f.id)
	whole(t, s, f.id)
	t.Logf("%d acknowledged", len(f.added))
}

// fleet is the replicas of a log, and what they answered.
type fleet struct {
	promised
	db       *pgtest.Database
	id       int64
	replicas []*replica
	clients  []*http.Client
	last     atomic.Pointer[answer]
}

type answer struct {
	replica int
	asked   time.Time
}

// write adds leaves by so many writers, each to whichever replica answers, until
// stop is called.
func (f *fleet) write(t *testing.T, writers int) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			at := w
			for i := 0; ctx.Err() == nil; i++ {
				value := fmt.Appendf(nil, "leaf %d of writer %d", i, w)
				for ; ctx.Err() == nil; at++ {
					asked := time.Now()
					a, err := add(f.clients[at%2], value)
					if err != nil {
						time.Sleep(10 * time.Millisecond) // as a client would
						continue
					}
					f.note(a)
					f.last.Store(&answer{at % 2, asked})
					break
				}
			}
		})
	}
	return func() { cancel(); wg.Wait() }
}

// answered waits for an answer to what was asked after a time.
func (f *fleet) answered(t *testing.T, after time.Time) (replica int) {
	t.Helper()
	var a *answer
	eventually(t, "writes resume", func() bool {
		a = f.last.Load()
		return a != nil && a.asked.After(after)
	})
	return a.replica
}

// more waits for so many more answers.
func (f *fleet) more(t *testing.T, n int) {
	t.Helper()
	count := func() int {
		f.mu.Lock()
		defer f.mu.Unlock()
		return len(f.added)
	}
	want := count() + n
	eventually(t, "writers go on", func() bool { return count() >= want })
}

// hurt does one of four things to a leader.
func (f *fleet) hurt(t *testing.T, way int, r *replica) (name string, undo func()) {
	t.Helper()
	switch way {
	case 0:
		r.kill(t)
		return "killed", func() { r.start(t) }
	case 1:
		r.signal(t, syscall.SIGSTOP)
		return "standing still", func() { r.signal(t, syscall.SIGCONT) }
	case 2:
		f.db.Disconnect(t)
		return "all connections ended", func() {}
	default:
		r.cable.sever()
		return "cut off", r.cable.mend
	}
}
