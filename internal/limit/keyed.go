// Package limit holds what bounds the work that strangers can cause: token
// buckets by key, and budgets, shared or not. All take a bounded amount of memory
// whatever is asked of them. Which requests are limited by what is left to
// httpd and the services.
package limit

import (
	"container/list"
	"crypto/sha256"
	"hash/maphash"
	"math"
	"sync"
	"time"
)

// longKey is the length in bytes from which a key is kept by its digest: keys
// may come from strangers.
const longKey = 64

// Keyed is a token bucket per key: rate tokens a second, burst at once. Within
// any time t no key is allowed more than burst + rate*t. A nil Keyed has no
// limit. It is safe for concurrent use.
//
// At most maxKeys buckets are kept. A newer key then puts out the one that was
// used least recently; what that bucket had spent is not forgotten but carried
// into one of maxKeys shared slots, by a secret hash of its key, and a key that
// comes (back) starts from what its slot says. So nobody resets a bucket by
// filling the table with other keys. The price is paid under such a flood only:
// keys that share a slot with some of the flood start with fewer tokens, never
// with more.
type Keyed struct {
	interval time.Duration // in which one token grows
	depth    time.Duration // in which burst tokens grow
	maxKeys  int
	now      func() time.Time
	start    time.Time
	seed     maphash.Seed

	// Guarded by mu. A bucket is the time after start at which it will be full
	// again, the "theoretical arrival time" of ATM's cell rate algorithm.
	mu      sync.Mutex
	buckets map[string]*list.Element // of *bucket
	recent  *list.List               // the most recently used first
	slots   []time.Duration          // the latest fullAt of those put out
}

type bucket struct {
	key    string
	fullAt time.Duration
}

// NewKeyed returns buckets that grow rate tokens a second, up to burst, for at
// most maxKeys keys, each of about 200 bytes. It returns nil, which has no
// limit, when rate and burst are both zero, and panics when one of the numbers
// is not above zero: configuration was validated before.
func NewKeyed(rate float64, burst, maxKeys int, now func() time.Time) *Keyed {
	if rate == 0 && burst == 0 {
		return nil
	}
	if !(rate > 0) || burst <= 0 || maxKeys <= 0 { // so written for NaN
		panic("limit: rate, burst and maxKeys must be above zero")
	}
	interval := Interval(rate, burst)
	return &Keyed{
		interval: interval,
		depth:    interval * time.Duration(burst),
		maxKeys:  maxKeys,
		now:      now,
		start:    now(),
		seed:     maphash.MakeSeed(),
		buckets:  map[string]*list.Element{},
		recent:   list.New(),
		slots:    make([]time.Duration, maxKeys),
	}
}

// Interval is in which one token grows, at a rate in tokens a second and a burst above
// zero. A rate next to nothing is bounded so that burst tokens grow in 36 years.
func Interval(rate float64, burst int) time.Duration {
	// Twice the depth is the most that is ever added to a time.
	longest := float64(math.MaxInt64 / 8 / int64(burst))
	return time.Duration(min(math.Ceil(float64(time.Second)/rate), longest))
}

// Allow takes a token from the key's bucket. Without one it takes nothing and
// tells after how long there will be one.
func (k *Keyed) Allow(key string) (ok bool, retryAfter time.Duration) {
	if k == nil {
		return true, 0
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.elapsed()
	b := k.use(fold(key), now)
	if wait := k.wait(b.fullAt, now); wait > 0 {
		return false, wait
	}
	b.fullAt = max(b.fullAt, now) + k.interval
	return true, 0
}

// Peek tells what Allow would, and takes nothing.
func (k *Keyed) Peek(key string) (ok bool, retryAfter time.Duration) {
	if k == nil {
		return true, 0
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.elapsed()
	wait := k.wait(k.find(fold(key), now), now)
	return wait <= 0, max(wait, 0)
}

// Spend takes a token even where there is none, which counts what Peek let pass:
// of many that peeked at once each is paid for. The debt ends at burst tokens.
func (k *Keyed) Spend(key string) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.elapsed()
	b := k.use(fold(key), now)
	b.fullAt = min(max(b.fullAt, now)+k.interval, now+2*k.depth)
}

// Refund gives back a token that Allow took, for who counts failures only and
// must not let many at once try on one token.
func (k *Keyed) Refund(key string) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if e, ok := k.buckets[fold(key)]; ok {
		e.Value.(*bucket).fullAt -= k.interval
	}
}

// Raise notes what somebody else knows who counts the same key, too: its bucket will not
// be full before that time is over. It gives no token, whatever fullIn is.
func (k *Keyed) Raise(key string, fullIn time.Duration) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.elapsed()
	b := k.use(fold(key), now)
	b.fullAt = max(b.fullAt, now+min(fullIn, 2*k.depth))
}

// Left is how many tokens the key's bucket has, from 0 to burst; without a limit more
// than anybody spends.
func (k *Keyed) Left(key string) int {
	if k == nil {
		return math.MaxInt
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.elapsed()
	return max(0, int((k.depth-max(0, k.find(fold(key), now)-now))/k.interval))
}

// elapsed is the time since start, by the monotonic clock where now has one.
func (k *Keyed) elapsed() time.Duration { return k.now().Sub(k.start) }

// wait is the time until a bucket has a token; not above zero: it has one.
func (k *Keyed) wait(fullAt, now time.Duration) time.Duration {
	return max(fullAt, now) + k.interval - now - k.depth
}

// find returns when the key's bucket will be full.
func (k *Keyed) find(key string, now time.Duration) time.Duration {
	fullAt := k.slots[k.slot(key)]
	if e, ok := k.buckets[key]; ok {
		fullAt = e.Value.(*bucket).fullAt
	}
	return k.sane(fullAt, now)
}

// use returns the key's bucket, now the most recently used one.
func (k *Keyed) use(key string, now time.Duration) *bucket {
	if e, ok := k.buckets[key]; ok {
		k.recent.MoveToFront(e)
		b := e.Value.(*bucket)
		b.fullAt = k.sane(b.fullAt, now)
		return b
	}
	b := &bucket{key, k.sane(k.slots[k.slot(key)], now)}
	if len(k.buckets) == k.maxKeys {
		k.putOut()
	}
	k.buckets[key] = k.recent.PushFront(b)
	return b
}

// putOut removes the bucket that was used least recently.
func (k *Keyed) putOut() {
	b := k.recent.Remove(k.recent.Back()).(*bucket)
	delete(k.buckets, b.key)
	slot := &k.slots[k.slot(b.key)]
	*slot = max(*slot, b.fullAt)
}

// sane bounds what a clock that was set back would make of a bucket: nobody
// waits for longer than the deepest debt.
func (k *Keyed) sane(fullAt, now time.Duration) time.Duration {
	return min(fullAt, now+2*k.depth)
}

func (k *Keyed) slot(key string) uint64 {
	return maphash.String(k.seed, key) % uint64(len(k.slots))
}

// fold bounds the memory of a key.
func fold(key string) string {
	if len(key) < longKey {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return string(sum[:])
}
