// Package attempts limits failed logins and guessed codes at the issuer: few for
// one account from one address, more for an address and for an account (RFC 6749
// §10.10, RFC 8628 §5.1). It decides by what Dex answers; logging in is Dex's.
package attempts

import (
	"container/list"
	"context"
	"net/netip"
	"sync"
	"time"

	"sigstack/internal/httpd"
	"sigstack/internal/limit"
)

// Rate of failures for one account from one address: PerSecond on average, Burst
// at once. The zero Rate is one in 30 seconds, 5 at once.
type Rate struct {
	PerSecond float64
	Burst     int
}

// What an address and an account may fail more often than the pair of them. An
// address can be a whole office behind one router; an account is guarded against
// many addresses, loosely, so that strangers have a hard time to lock it.
const (
	addressFactor = 10
	accountFactor = 20
)

// Bounds of memory.
const (
	maxKeys    = 20_000 // of each kind of bucket, some 200 bytes each
	maxHomes   = 20_000
	maxWaiting = 128 // attempts that wait for others of the same key
)

// homeFor is how long an address counts as an account's own after a login there.
const homeFor = 30 * 24 * time.Hour

// Bucket is one that replicas of an issuer share: one token grows in each Interval, up
// to Burst.
type Bucket struct {
	Name     string // with its kind
	Interval time.Duration
	Burst    int
}

// Shared counts for all replicas of an issuer. It is safe for concurrent use.
type Shared interface {
	// Take takes a token of each bucket and returns 0, or takes none and returns how
	// long there will be none. At home, where the account has logged in lately at any
	// replica, the last bucket is left out. An error means that nobody can tell.
	Take(ctx context.Context, buckets []Bucket, home string) (atHome bool, wait time.Duration, err error)
	// Give gives tokens back. What cannot be given back counts as failed, and is the
	// implementation's to log.
	Give(ctx context.Context, buckets []Bucket)
	// NoteHome notes an address as an account's own for that long, likewise.
	NoteHome(ctx context.Context, home string, life time.Duration)
}

// How often, and how many times, an attempt looks again for those at other replicas that
// may still turn out to be right, as it waits for those of this process: they take less
// than that. waitingShared bounds how many look at once, and with it the questions.
const (
	waitShared    = 100 * time.Millisecond
	waitsShared   = 10
	waitingShared = 16
)

// Limiter counts failures. It is safe for concurrent use.
type Limiter struct {
	pairs, addresses, accounts, codes *limit.Keyed
	rate                              Rate
	shared                            Shared        // nil: there are no replicas
	polls                             *limit.Budget // of those that wait for other replicas
	now                               func() time.Time

	// Guarded by mu.
	mu     sync.Mutex
	flying map[string]*flight       // attempts under way, by bucket and key
	homes  map[string]*list.Element // of *home, by pair
	recent *list.List               // the most recent login first
}

// flight is what is known of the attempts under way for one key.
type flight struct {
	n, waiting int
	ended      chan struct{} // closed when one ends
}

// home is an address that an account has logged in from.
type home struct {
	pair  string
	until time.Time
}

// NewLimiter returns a Limiter without any failures. What it lets pass is counted by
// shared too, unless that is nil.
func NewLimiter(r Rate, shared Shared, now func() time.Time) *Limiter {
	if r == (Rate{}) {
		r = Rate{PerSecond: 1. / 30, Burst: 5}
	}
	keyed := func(factor int) *limit.Keyed {
		return limit.NewKeyed(r.PerSecond*float64(factor), r.Burst*factor, maxKeys, now)
	}
	return &Limiter{
		pairs: keyed(1), addresses: keyed(addressFactor), accounts: keyed(accountFactor), codes: keyed(addressFactor),
		rate: r, shared: shared, polls: limit.NewBudget(waitingShared), now: now,
		flying: map[string]*flight{}, homes: map[string]*list.Element{}, recent: list.New(),
	}
}

// Attempt is one under way. It must be ended.
type Attempt struct {
	limiter *Limiter
	pair    string // empty: of a code
	taken   []bucket
	shared  []Bucket // that were taken of, too
}

// bucket is one key of one kind of limit.
type bucket struct {
	of  *limit.Keyed
	key string
	id  string // of both
}

// Login begins a login of account from addr. A refusal comes with the time after
// which it is worth another attempt. While others for the same account are under
// way it waits for how they end, so that as many right passwords as like come in
// at once, but no more wrong ones than the limit has. An error means that the other
// replicas cannot be counted, and nobody is let in.
func (l *Limiter) Login(ctx context.Context, addr netip.Addr, account string) (*Attempt, time.Duration, error) {
	from := httpd.AddressKey(addr)
	pair := from + "\x00" + account
	buckets := []bucket{
		{l.pairs, pair, "p" + pair},
		{l.addresses, from, "a" + from},
	}
	if l.shared == nil && !l.atHome(pair) { // shared knows all homes
		buckets = append(buckets, bucket{l.accounts, account, "u" + account})
	}
	a, wait := l.begin(ctx, &Attempt{limiter: l, pair: pair, taken: buckets})
	if a == nil || l.shared == nil {
		return a, wait, nil
	}
	wait, err := l.share(ctx, a, []Bucket{l.bucket("p"+pair, 1), l.bucket("a"+from, addressFactor), l.bucket("u"+account, accountFactor)})
	if wait > 0 || err != nil {
		a.End(Unknown)
		return nil, wait, err
	}
	return a, 0, nil
}

// bucket is one of those that allow so many times the rate.
func (l *Limiter) bucket(name string, factor int) Bucket {
	interval := min(float64(time.Second)/l.rate.PerSecond/float64(factor), float64(longestInterval))
	return Bucket{Name: name, Interval: time.Duration(interval), Burst: l.rate.Burst * factor}
}

// longestInterval bounds what a rate next to nothing comes to.
const longestInterval = 365 * 24 * time.Hour

// share takes of the shared buckets, or returns how long they have nothing.
func (l *Limiter) share(ctx context.Context, a *Attempt, buckets []Bucket) (time.Duration, error) {
	for tries := 0; ; tries++ {
		home, wait, err := l.shared.Take(ctx, buckets, a.pair)
		if err != nil {
			return 0, err
		}
		if wait <= 0 {
			if a.shared = buckets; home {
				a.shared = buckets[:len(buckets)-1]
			}
			return 0, nil
		}
		if tries == waitsShared || !l.pause(ctx) {
			return wait, nil
		}
	}
}

// pause reports whether it is worth another look.
func (l *Limiter) pause(ctx context.Context) bool {
	if !l.polls.Take(1) {
		return false
	}
	defer l.polls.Give(1)
	timer := time.NewTimer(waitShared)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Code begins an attempt with a code or token from addr.
func (l *Limiter) Code(ctx context.Context, addr netip.Addr) (*Attempt, time.Duration) {
	from := httpd.AddressKey(addr)
	return l.begin(ctx, &Attempt{limiter: l, taken: []bucket{{l.codes, from, "c" + from}}})
}

func (l *Limiter) begin(ctx context.Context, a *Attempt) (*Attempt, time.Duration) {
	for {
		ended, wait := l.try(a)
		if wait == 0 {
			return a, 0
		}
		if ended == nil {
			return nil, wait
		}
		select {
		case <-ended:
		case <-ctx.Done():
			return nil, wait
		}
	}
}

// try takes a token of each of a's buckets and returns 0, or takes none and
// returns how long there will be none. Where one of those under way may give its
// token back, ended is closed when the next of them ends.
func (l *Limiter) try(a *Attempt) (ended <-chan struct{}, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, b := range a.taken {
		ok, after := b.of.Allow(b.key)
		if ok {
			continue
		}
		for _, earlier := range a.taken[:i] {
			earlier.of.Refund(earlier.key)
		}
		f := l.flying[b.id]
		if f == nil || f.waiting >= maxWaiting {
			return nil, after
		}
		f.waiting++
		return f.ended, after
	}
	for _, b := range a.taken {
		f := l.flying[b.id]
		if f == nil {
			f = &flight{ended: make(chan struct{})}
			l.flying[b.id] = f
		}
		f.n++
	}
	return nil, 0
}

// Outcome is how an attempt ended.
type Outcome int

// The outcomes. Whatever is not known to have failed is not held against anybody.
const (
	Unknown Outcome = iota // neither: the provider was down, say
	Succeeded
	Failed
)

// End ends the attempt; only a failure costs.
func (a *Attempt) End(o Outcome) {
	a.endShared(o)
	l := a.limiter
	l.mu.Lock()
	defer l.mu.Unlock()
	if o == Succeeded && a.pair != "" {
		l.noteHome(a.pair)
	}
	for _, b := range a.taken {
		if o != Failed {
			b.of.Refund(b.key)
		}
		f := l.flying[b.id]
		close(f.ended)
		f.ended, f.waiting = make(chan struct{}), 0
		if f.n--; f.n == 0 {
			delete(l.flying, b.id)
		}
	}
}

// endShared comes first: who waits here for this one finds its tokens there. It outlives
// the request, whose client may have gone.
func (a *Attempt) endShared(o Outcome) {
	if len(a.shared) == 0 || o == Failed {
		return
	}
	a.limiter.shared.Give(context.Background(), a.shared)
	if o == Succeeded {
		a.limiter.shared.NoteHome(context.Background(), a.pair, homeFor)
	}
}

// atHome reports whether the account has logged in from there lately: strangers
// elsewhere, who use up what the account may fail, do not keep it out then.
func (l *Limiter) atHome(pair string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.homes[pair]
	return ok && l.now().Before(e.Value.(*home).until)
}

// noteHome is called with mu held.
func (l *Limiter) noteHome(pair string) {
	until := l.now().Add(homeFor)
	if e, ok := l.homes[pair]; ok {
		e.Value.(*home).until = until
		l.recent.MoveToFront(e)
		return
	}
	if len(l.homes) == maxHomes {
		delete(l.homes, l.recent.Remove(l.recent.Back()).(*home).pair)
	}
	l.homes[pair] = l.recent.PushFront(&home{pair, until})
}
