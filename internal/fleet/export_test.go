package fleet

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Belief is what a leader goes by.
func (f *Fleet) Belief() *held {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.held
}

// Believe makes a replica believe that it leads, as one does that stood still.
func (f *Fleet) Believe(h *held, revision int64) {
	f.update(func() { f.held, f.applied, f.settled = h, revision, f.doubts })
}

// MayReplicate is mayReplicate.
func MayReplicate(p string) bool { return mayReplicate(p) }

// ParseAgreed returns the paths of a file of agreed hashes.
func ParseAgreed(data []byte) ([]string, error) {
	agreed, err := parseAgreed(data)
	return slices.Collect(maps.Keys(agreed)), err
}

// CountAttempts counts rows of buckets.
func (f *Fleet) CountAttempts(ctx context.Context) (n int, err error) {
	err = f.pool.QueryRow(ctx, "SELECT count(*) FROM Attempts").Scan(&n)
	return n, err
}

// Exec does what a stranger with the database's password could.
func (f *Fleet) Exec(ctx context.Context, statement string) error {
	_, err := f.pool.Exec(ctx, statement)
	return err
}

// Asked is how many questions the database was asked.
func (s *Issuances) Asked() int64 { return s.asked.Load() }

// RestFor changes how long spending comes together, before anything is spent.
func (s *Issuances) RestFor(d time.Duration) { s.rest = d }

// CountIssuances counts rows of buckets.
func (f *Fleet) CountIssuances(ctx context.Context) (n int, err error) {
	err = f.pool.QueryRow(ctx, "SELECT count(*) FROM Issuances").Scan(&n)
	return n, err
}

// CheckQuestion makes a question of what was spent and of requests, and returns what is
// wrong with it.
func CheckQuestion(spent, firsts, seconds []*Bucket) error {
	ahead, tokens := map[bucketKey]*spending{}, map[string]int32{}
	for _, b := range spent {
		if b != nil {
			spend(ahead, &spending{b, 1})
			tokens[b.Name]++
		}
	}
	var takes []*take
	for i := range firsts {
		takes = append(takes, &take{first: firsts[i], second: seconds[i]})
	}
	q := newQuestion(takes, ahead)
	if !slices.IsSortedFunc(q.keys, func(a, b []byte) int { // and no two are the same
		return cmp.Or(bytes.Compare(a, b), -1)
	}) {
		return errors.New("keys are not in order, or one is there twice")
	}
	if len(q.firsts) != len(takes) || len(q.seconds) != len(takes) || q.firsts == nil || q.seconds == nil {
		return errors.New("a request is missing")
	}
	for i, name := range q.names {
		if q.spent[i] != tokens[name] || !bytes.Equal(q.keys[i], hashed(name)) {
			return fmt.Errorf("%d are spent of %s, want %d", q.spent[i], name, tokens[name])
		}
		delete(tokens, name)
	}
	if len(tokens) > 0 {
		return fmt.Errorf("not told: %v", tokens)
	}
	for i, t := range takes {
		for _, side := range []struct {
			b     *Bucket
			place int32
		}{{t.first, q.firsts[i]}, {t.second, q.seconds[i]}} {
			if (side.b == nil) != (side.place == 0) {
				return fmt.Errorf("request %d: %v is at place %d", i, side.b, side.place)
			}
			if at := side.place - 1; side.b != nil && (q.names[at] != side.b.Name ||
				q.intervals[at] != side.b.Interval.Seconds() || int(q.bursts[at]) != side.b.Burst) {
				return fmt.Errorf("request %d: another bucket than %v is at place %d", i, side.b, side.place)
			}
		}
	}
	return nil
}
