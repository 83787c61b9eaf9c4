package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

var errClosed = errors.New("count certificate: this replica ends, or is opened anew")

// ask tells the database what was spent and sets the outcome of takes.
func (s *Issuances) ask(ctx context.Context, takes []*take, spent map[bucketKey]*spending) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	s.asked.Add(1)
	q := newQuestion(takes, spent)
	var short []int32
	var waits, fullIn []float64
	row := s.f.pool.QueryRow(ctx, "SELECT short, waits, full_in FROM take_issuances($1, $2, $3, $4, $5, $6, $7)",
		s.f.cfg.Process, q.keys, q.intervals, q.bursts, q.spent, q.firsts, q.seconds)
	if err := row.Scan(&short, &waits, &fullIn); err != nil {
		return fmt.Errorf("count certificates: %w", err)
	}
	if len(short) != len(takes) || len(waits) != len(takes) || len(fullIn) != len(q.keys) {
		return errors.New("count certificates: the database answers for others than were asked for")
	}
	for i, t := range takes {
		t.short, t.wait = int(short[i]), seconds(waits[i])
	}
	for i, name := range q.names {
		s.told(name, seconds(fullIn[i]))
	}
	return nil
}

func seconds(s float64) time.Duration {
	return time.Duration(min(s*float64(time.Second), math.MaxInt64/2))
}

// question is what the database's function takes: each bucket once, in the order of keys.
type question struct {
	keys            [][]byte
	names           []string
	intervals       []float64
	bursts, spent   []int32
	firsts, seconds []int32 // places in keys, from 1 on; 0: none
}

func newQuestion(takes []*take, spent map[bucketKey]*spending) question {
	all := map[bucketKey]spending{}
	for key, p := range spent {
		all[key] = *p
	}
	for _, t := range takes {
		for _, b := range []*Bucket{t.first, t.second} {
			if b != nil {
				key := bucketKey(hashed(b.Name))
				all[key] = spending{b, all[key].n}
			}
		}
	}
	order := make([]bucketKey, 0, len(all))
	for key := range all {
		order = append(order, key)
	}
	slices.SortFunc(order, func(a, b bucketKey) int { return bytes.Compare(a[:], b[:]) })
	q := question{firsts: []int32{}, seconds: []int32{}} // nil would be NULL
	places := make(map[bucketKey]int32, len(order))
	for i, key := range order {
		b := all[key].of
		q.keys, q.names, q.intervals = append(q.keys, key[:]), append(q.names, b.Name), append(q.intervals, b.Interval.Seconds())
		q.bursts, q.spent = append(q.bursts, int32(min(b.Burst, math.MaxInt32))), append(q.spent, all[key].n)
		places[key] = int32(i) + 1
	}
	place := func(b *Bucket) int32 {
		if b == nil {
			return 0
		}
		return places[bucketKey(hashed(b.Name))]
	}
	for _, t := range takes {
		q.firsts, q.seconds = append(q.firsts, place(t.first)), append(q.seconds, place(t.second))
	}
	return q
}
