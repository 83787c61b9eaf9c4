package fleet

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math"
	"sync/atomic"
	"time"
)

// Bounds of what is kept of attempts. Beyond them the buckets that are full the soonest
// go, and the homes that end the soonest.
const (
	maxAttempts = 100_000
	maxHomes    = 20_000
	sweepEvery  = time.Minute
)

// Bucket is a token bucket that all replicas of a process take from. Those of one name
// have one interval and burst.
type Bucket struct {
	Name     string        // any text; the database has its SHA-256
	Interval time.Duration // in which one token grows, above zero
	Burst    int           // tokens at most, above zero
}

// Attempts are buckets in the database, by its clock. It is safe for concurrent use.
type Attempts struct {
	f     *Fleet
	swept atomic.Int64 // when old rows were last removed, in Unix seconds
}

// Attempts returns the buckets of the fleet.
func (f *Fleet) Attempts() *Attempts { return &Attempts{f: f} }

// Take takes a token of each bucket and returns 0, or takes none and returns how long
// there will be none. Where home is noted the last bucket is left out, and atHome true.
// Buckets are of different kinds, and callers name the kinds in one order. An error
// means that the database did not answer within 5 s: whether tokens were taken is not
// known then.
func (a *Attempts) Take(ctx context.Context, buckets []Bucket, home string) (atHome bool, wait time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	keys, intervals := columns(buckets)
	bursts := make([]int32, len(buckets))
	for i, b := range buckets {
		bursts[i] = int32(min(b.Burst, math.MaxInt32))
	}
	var seconds float64
	row := a.f.pool.QueryRow(ctx, "SELECT at_home, wait FROM take_attempt($1, $2, $3, $4, $5)", a.f.cfg.Process, keys, intervals, bursts, hashed(home))
	if err := row.Scan(&atHome, &seconds); err != nil {
		return false, 0, fmt.Errorf("count attempt: %w", err)
	}
	if err := a.f.sweep(ctx, &a.swept, stale{"Attempts", "FullAt", maxAttempts}, stale{"Homes", "Until", maxHomes}); err != nil {
		return false, 0, err
	}
	return atHome, time.Duration(seconds * float64(time.Second)), nil
}

// Give gives back one token of each bucket.
func (a *Attempts) Give(ctx context.Context, buckets []Bucket) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	keys, intervals := columns(buckets)
	if _, err := a.f.pool.Exec(ctx, "SELECT give_attempt($1, $2, $3)", a.f.cfg.Process, keys, intervals); err != nil {
		return fmt.Errorf("give attempt back: %w", err)
	}
	return nil
}

// NoteHome makes Take leave the last bucket out for that long.
func (a *Attempts) NoteHome(ctx context.Context, home string, life time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	_, err := a.f.pool.Exec(ctx, `INSERT INTO Homes (Process, Key, Until) VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3))
		ON CONFLICT (Process, Key) DO UPDATE SET Until = excluded.Until`, a.f.cfg.Process, hashed(home), life.Seconds())
	if err != nil {
		return fmt.Errorf("note home: %w", err)
	}
	return nil
}

// stale is a table whose rows say nothing after a time in them.
type stale struct {
	table, until string
	most         int // rows of a process that are kept
}

// sweep removes, now and then, what says nothing any more, and what is too much. Rows
// that somebody uses are left to the next time: to wait for them could be a circle.
func (f *Fleet) sweep(ctx context.Context, swept *atomic.Int64, tables ...stale) error {
	now, last := f.cfg.Now().Unix(), swept.Load()
	if now-last < int64(sweepEvery/time.Second) || !swept.CompareAndSwap(last, now) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	for _, of := range tables {
		_, err := f.pool.Exec(ctx, fmt.Sprintf(`DELETE FROM %[1]s WHERE (Process, Key) IN (
			SELECT Process, Key FROM %[1]s WHERE Process = $1 AND %[2]s <= greatest(clock_timestamp(), coalesce((
				SELECT %[2]s FROM %[1]s WHERE Process = $1 ORDER BY %[2]s DESC OFFSET $2 LIMIT 1), 'epoch'))
			FOR UPDATE SKIP LOCKED)`, of.table, of.until), f.cfg.Process, of.most)
		if err != nil {
			return fmt.Errorf("remove old rows of %s: %w", of.table, err)
		}
	}
	return nil
}

// columns are what the database's functions take.
func columns(buckets []Bucket) (keys [][]byte, intervals []float64) {
	for _, b := range buckets {
		keys, intervals = append(keys, hashed(b.Name)), append(intervals, b.Interval.Seconds())
	}
	return keys, intervals
}

func hashed(name string) []byte {
	sum := sha256.Sum256([]byte(name))
	return sum[:]
}
