package fleet

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// maxIssuances bounds the buckets of certificates that are kept. Beyond it those that
// are full the soonest go.
const maxIssuances = 100_000

// maxQuestion is how many takes the database is asked for at once: what takes a few
// milliseconds.
const maxQuestion = 256

// What may be spent before the database knows of it. A replica spends one of aheadPart
// of a burst ahead of each bucket, and tells within settleAfter; where it has not been
// heard for maxLag it spends nothing ahead.
const (
	aheadPart    = 20
	settleAfter  = 100 * time.Millisecond
	maxLag       = time.Second
	maxUnsettled = 4096        // buckets
	retryAfter   = time.Second // of a question that failed
)

// Issuances are buckets in the database, by its clock, that certificates are taken of.
// One question is under way at a time; whoever comes meanwhile is in the next one, so
// that many certificates cost few questions. What is spent ahead is in the next one, too.
// It is safe for concurrent use.
type Issuances struct {
	f     *Fleet
	told  func(name string, fullIn time.Duration)
	swept atomic.Int64  // when old rows were last removed, in Unix seconds
	asked atomic.Int64  // questions
	rest  time.Duration // in which what is spent comes together
	wake  chan struct{} // holds one: ask at once
	asker sync.WaitGroup

	// Guarded by mu.
	mu      sync.Mutex
	asking  bool // a goroutine asks, until nobody waits and all is settled
	closed  bool
	failed  bool // the last question
	waiting []*take
	spent   map[bucketKey]*spending // that no question has told yet
	telling map[bucketKey]*spending // that the one under way tells
	since   time.Time               // of the oldest of both; zero: there is none
}

// bucketKey is the SHA-256 of a bucket's name.
type bucketKey [32]byte

// spending is n tokens of a bucket, not zero.
type spending struct {
	of *Bucket
	n  int32
}

// take is one request of Take. Its outcome is set before done is closed.
type take struct {
	first, second *Bucket // nil: none
	done          chan struct{}

	short int
	wait  time.Duration
	err   error
}

// Issuances returns the buckets of the fleet. Told is called, by one goroutine at a time,
// with what the database says of each bucket that it is asked about: in how long it will
// be full. The caller closes the Issuances before the Fleet.
func (f *Fleet) Issuances(told func(name string, fullIn time.Duration)) *Issuances {
	return &Issuances{f: f, told: told, rest: settleAfter, wake: make(chan struct{}, 1), spent: map[bucketKey]*spending{}}
}

// Ahead is how many tokens of a bucket one replica may spend before the database knows:
// by so many for each replica, at most, more may be spent of it than it holds.
func (b Bucket) Ahead() int { return b.Burst / aheadPart }

// Close tells the database what was spent and waits for its answer, some 10 s at most.
// Nothing is taken or spent any more.
func (s *Issuances) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.hurry()
	s.asker.Wait()
	return nil
}

// hurry ends a pause.
func (s *Issuances) hurry() {
	select {
	case s.wake <- struct{}{}:
	default: // it is told already
	}
}

// Spend spends a token of both buckets, nil is one without end, and tells the database
// afterwards, which may leave a bucket in debt. It returns false, and spends nothing,
// where Ahead tokens of one of them are spent so, or the database does not answer.
func (s *Issuances) Spend(ctx context.Context, first, second *Bucket) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.f.cfg.Now()
	late := !s.since.IsZero() && now.Sub(s.since) > maxLag
	if s.closed || s.failed || late || len(s.spent) > maxUnsettled || !s.may(first) || !s.may(second) {
		return false
	}
	for _, b := range []*Bucket{first, second} {
		if b != nil {
			spend(s.spent, &spending{b, 1})
		}
	}
	if len(s.spent) > 0 {
		if s.since.IsZero() {
			s.since = now
		}
		s.start(ctx)
	}
	return true
}

// may needs mu.
func (s *Issuances) may(b *Bucket) bool {
	if b == nil {
		return true
	}
	n, key := 1, bucketKey(hashed(b.Name))
	for _, unsettled := range []map[bucketKey]*spending{s.spent, s.telling} {
		if p := unsettled[key]; p != nil {
			n += int(p.n)
		}
	}
	return n <= b.Ahead()
}

// spend adds to what is spent.
func spend(to map[bucketKey]*spending, s *spending) {
	key := bucketKey(hashed(s.of.Name))
	if have := to[key]; have != nil {
		s = &spending{s.of, have.n + s.n}
	}
	to[key] = s
}

// Take takes a token of both buckets and returns 0, or takes none and returns which has
// none, 1 or 2, and for how long. nil is a bucket without end. The two are of different
// kinds: no first has the name of a second. An error means that ctx has ended, or that the
// database did not answer, this question or the one before, within 5 s: whether tokens
// were taken is not known then.
func (s *Issuances) Take(ctx context.Context, first, second *Bucket) (short int, wait time.Duration, err error) {
	if first == nil && second == nil {
		return 0, 0, nil
	}
	t := &take{first: first, second: second, done: make(chan struct{})}
	s.enqueue(ctx, t)
	select {
	case <-t.done:
		return t.short, t.wait, t.err
	case <-ctx.Done():
		return 0, 0, fmt.Errorf("count certificate: %w", ctx.Err())
	}
}

func (s *Issuances) enqueue(ctx context.Context, t *take) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		t.err = errClosed
		close(t.done)
		return
	}
	s.waiting = append(s.waiting, t)
	s.start(ctx)
	s.hurry()
}

// start needs mu.
func (s *Issuances) start(ctx context.Context) {
	if s.asking {
		return
	}
	s.asking = true
	// Others wait for the answer, too: it outlives the request that asks first.
	ctx = context.WithoutCancel(ctx)
	s.asker.Go(func() { s.answerAll(ctx) })
}

// answerAll asks until nobody waits and all is settled.
func (s *Issuances) answerAll(ctx context.Context) {
	for {
		s.pause()
		takes, spent, began := s.next()
		if len(takes) == 0 && len(spent) == 0 {
			return
		}
		if err := s.ask(ctx, takes, spent); err != nil {
			if s.fail(takes, err) {
				s.f.cfg.Log.WarnContext(ctx, "certificates of the last moment are not counted for the other replicas", slog.Any("error", err))
				return
			}
			continue
		}
		s.settle(takes, began)
		if err := s.f.sweep(ctx, &s.swept, stale{"Issuances", "FullAt", maxIssuances}); err != nil {
			s.f.cfg.Log.WarnContext(ctx, "buckets of certificates that are full stay in the database", slog.Any("error", err))
		}
	}
}

// pause lets what is spent come together, unless somebody waits. After a failure it
// leaves the database alone for longer.
func (s *Issuances) pause() {
	s.mu.Lock()
	none, rest := len(s.waiting) > 0 || len(s.spent) == 0 || s.closed, s.rest
	if s.failed {
		rest = retryAfter
	}
	s.mu.Unlock()
	if none {
		return
	}
	timer := time.NewTimer(rest)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.wake:
	}
}

// next is what the next question is about, and what the time is; nothing: asking has
// ended.
func (s *Issuances) next() (takes []*take, spent map[bucketKey]*spending, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(maxQuestion, len(s.waiting))
	takes, s.waiting = s.waiting[:n:n], s.waiting[n:]
	s.telling, s.spent = s.spent, map[bucketKey]*spending{}
	if n == 0 && len(s.telling) == 0 {
		s.asking, s.waiting = false, nil
	}
	return takes, s.telling, s.f.cfg.Now()
}

// settle ends a question that began then and was answered.
func (s *Issuances) settle(takes []*take, began time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed, s.telling, s.since = false, nil, time.Time{}
	if len(s.spent) > 0 {
		s.since = began
	}
	for _, t := range takes {
		close(t.done)
	}
}

// fail ends a question without an answer, and reports whether that was the last one. Who
// waits behind its takes would wait as long for the same. What was spent is told again:
// it counts twice where the answer alone was lost.
func (s *Issuances) fail(takes []*take, err error) (last bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range maps.Values(s.telling) {
		spend(s.spent, p)
	}
	takes = append(takes, s.waiting...)
	s.failed, s.telling, s.waiting = true, nil, nil
	for _, t := range takes {
		t.err = err
		close(t.done)
	}
	if s.closed {
		s.asking = false
	}
	return s.closed
}
