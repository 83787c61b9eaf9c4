package pglog_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/transparency-dev/merkle/rfc6962"

	"sigstack/internal/merkle"
	"sigstack/internal/merkle/pglog"
	"sigstack/internal/pgtest"
)

// TestFailover kills the leader, lets it stand still and go on, ends all connections to
// the database and takes down the link of the leader's network namespace, in turn, while
// 32 writers and 4 readers ask both replicas. FAILOVER_ROUNDS says how often; a round of
// each by default.
func TestFailover(t *testing.T) {
	if !pgtest.InNamespace(t) {
		return
	}
	rounds := 4
	if text := os.Getenv("FAILOVER_ROUNDS"); text != "" {
		var err error
		if rounds, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	db := pgtest.StartListening(t)
	o := migrated(t, db, "log")
	s := open(t, o)
	f := &fleet{db: db, options: o, clients: make([]*http.Client, 2)}
	f.id = newTree(t, s)
	f.startAll(t, o.Schema)
	stop := f.work(t, 32, 4)
	for round := range rounds {
		f.more(t, 100)
		leader := f.leader(t)
		began := time.Now()
		name, undo := f.hurt(t, round%4, f.replicas[leader])
		hurt := time.Now()
		f.answered(t, hurt)
		took := time.Since(began)
		if took > 20*time.Second { // 5 s are promised, of a machine that is not busy
			t.Errorf("round %d, %s: writes resumed after %v", round, name, took)
		}
		t.Logf("round %d, %s: writes resumed after %v", round, name, took.Round(time.Millisecond))
		undo()
		f.answered(t, time.Now())
	}
	stop()
	f.check(t, s, f.id)
	f.checkSeen(t)
	whole(t, s, f.id)
	t.Logf("%d acknowledged, %v by each replica; %d heads seen; %d entries found at once elsewhere",
		len(f.added), []int64{f.by[0].Load(), f.by[1].Load()}, len(f.heads), f.looked.Load())
	for i := range f.by {
		if f.by[i].Load() == 0 {
			t.Errorf("replica %d acknowledged nothing", i)
		}
	}
}

// fleet is the replicas of a log, and what they answered.
type fleet struct {
	promised
	db       *pgtest.Database
	options  pglog.Options
	id       int64
	replicas []*replica
	clients  []*http.Client
	last     atomic.Pointer[time.Time] // when the entry that was answered last was asked for

	heads  []merkle.Head   // guarded by promised.mu
	by     [2]atomic.Int64 // acknowledged by each replica
	looked atomic.Int64    // entries found where they were not acknowledged
}

func (f *fleet) startAll(t *testing.T, schema string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "fleet") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := func(i int) string { return filepath.Join(dir, fmt.Sprint(i)) }
	for i := range f.clients {
		c := pgtest.NewCable(t, f.db, i)
		r := &replica{cable: c, URL: c.URL, Schema: schema, Tree: f.id, Socket: socket(i), Others: []string{socket(1 - i)}}
		r.start(t)
		t.Cleanup(func() { r.kill(t) })
		f.replicas, f.clients[i] = append(f.replicas, r), clientOf(r.Socket, 1500*time.Millisecond)
	}
}

// work adds leaves by so many writers, each to whichever replica answers, and reads
// heads by so many readers, until stop is called.
func (f *fleet) work(t *testing.T, writers, readers int) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			at := w
			for i := 0; ctx.Err() == nil; i++ {
				at = f.write(ctx, t, at, fmt.Appendf(nil, "leaf %d of writer %d", i, w))
			}
		})
	}
	for r := range readers {
		wg.Go(func() { f.watch(ctx, t, r) })
	}
	return func() { cancel(); wg.Wait() }
}

// write adds one leaf, asks the other replica for it, and returns whom to ask next.
func (f *fleet) write(ctx context.Context, t *testing.T, at int, value []byte) int {
	first := time.Now()
	for ; ctx.Err() == nil; at++ {
		asked := time.Now()
		a, err := add(f.clients[at%2], value)
		if err != nil {
			time.Sleep(10 * time.Millisecond) // as a client would
			continue
		}
		if got := a.Entry.IntegratedAt; got.Before(first.Add(-time.Millisecond)) || got.After(time.Now().Add(time.Millisecond)) {
			t.Errorf("%s, asked for at %v, was integrated at %v, and it is %v", value, first, got, time.Now())
		}
		f.note(a)
		f.by[at%2].Add(1)
		f.last.Store(&asked)
		f.elsewhere(ctx, t, at+1, a)
		return at + 1
	}
	return at
}

// elsewhere asks a replica for what another has just acknowledged.
func (f *fleet) elsewhere(ctx context.Context, t *testing.T, at int, a merkle.Added) {
	body, status, err := ask(ctx, f.clients[at%2], http.MethodGet, fmt.Sprint("/entry/", a.Entry.Index), nil)
	if err != nil || status == http.StatusServiceUnavailable {
		return // it knows that it does not know
	}
	f.looked.Add(1)
	if status != http.StatusOK || string(body) != string(a.Entry.Leaf.Value) {
		t.Errorf("entry %d, which was acknowledged, is elsewhere: %d, %q", a.Entry.Index, status, body)
	}
}

// watch reads heads of one replica after the other: none is older than the one before.
func (f *fleet) watch(ctx context.Context, t *testing.T, at int) {
	var last merkle.Head
	for ; ctx.Err() == nil; at++ {
		body, status, err := ask(ctx, f.clients[at%2], http.MethodGet, "/head", nil)
		if err != nil || status != http.StatusOK {
			continue
		}
		var head merkle.Head
		if err := json.Unmarshal(body, &head); err != nil {
			t.Error(err)
			return
		}
		if last.Time.IsZero() {
			last = head
		}
		if head.Size < last.Size || head.Time.Before(last.Time) || head.Size == last.Size && head.Root != last.Root {
			t.Errorf("a head over %d of %v follows one over %d of %v", head.Size, head.Time, last.Size, last.Time)
		}
		if head != last {
			f.mu.Lock()
			f.heads = append(f.heads, head)
			f.mu.Unlock()
		}
		last = head
		time.Sleep(5 * time.Millisecond) // readers are not what is tested for speed
	}
}

// checkSeen compares every head that somebody saw with the leaves as the database has
// them.
func (f *fleet) checkSeen(t *testing.T) {
	t.Helper()
	leaves, _ := readTables(t, open(t, f.options), f.id)
	roots := rootsOf(leaves)
	for _, h := range f.heads {
		if h.Size >= uint64(len(roots)) || roots[h.Size] != h.Root {
			t.Fatalf("somebody saw a head over %d leaves of root %x, which is none of the log of %d", h.Size, h.Root, len(leaves))
		}
	}
}

// rootsOf returns the root over the first n leaves for every n (RFC 6962 §2.1), by a
// stack of the largest full trees.
func rootsOf(leaves []stored) [][32]byte {
	roots := [][32]byte{rootOf(nil)}
	var stack [][]byte
	for i, l := range leaves {
		stack = append(stack, rfc6962.DefaultHasher.HashLeaf(l.value))
		for n := i + 1; n%2 == 0; n /= 2 {
			last := len(stack) - 1
			stack = append(stack[:last-1], rfc6962.DefaultHasher.HashChildren(stack[last-1], stack[last]))
		}
		root := stack[len(stack)-1]
		for at := len(stack) - 2; at >= 0; at-- {
			root = rfc6962.DefaultHasher.HashChildren(stack[at], root)
		}
		roots = append(roots, [32]byte(root))
	}
	return roots
}

// leader waits for one that leads.
func (f *fleet) leader(t *testing.T) (leader int) {
	t.Helper()
	eventually(t, "somebody leads", func() bool {
		for i, c := range f.clients {
			body, _, err := ask(t.Context(), c, http.MethodGet, "/leading", nil)
			if err == nil && string(body) == "true" {
				leader = i
				return true
			}
		}
		return false
	})
	return leader
}

// answered waits for an answer to what was asked after a time.
func (f *fleet) answered(t *testing.T, after time.Time) {
	t.Helper()
	eventually(t, "writes resume", func() bool {
		asked := f.last.Load()
		return asked != nil && asked.After(after)
	})
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
		r.cable.Sever(t)
		return "cut off", func() {
			eventually(t, "the one that is cut off knows that it leads no more", func() bool {
				body, _, err := ask(t.Context(), clientOf(r.Socket, 0), http.MethodGet, "/leading", nil)
				return err == nil && string(body) == "false"
			})
			r.cable.Mend(t)
		}
	}
}
