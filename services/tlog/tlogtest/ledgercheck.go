package tlogtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
)

// Found says what a Check looked at.
type Found struct {
	Entries int // asked for, each by ID, by index and by search
	Proofs  int // consistency proofs between checkpoints
}

// askers is how many requests a Check has under way.
const askers = 8

// Check holds a log, which nobody writes to meanwhile, to all that it has
// acknowledged and shown so far:
//
//   - its trees, their keys and their first indexes are the same, and of each no
//     head is smaller than one that was seen;
//   - every answer verified when it came, and no two entries have one index;
//   - every checkpoint ever seen, of an answer or of the log itself, is extended
//     by the next larger one, up to today's;
//   - of the entries acknowledged since the last Check, and of those before it that
//     pick chooses (nil: all), each is there by ID and by index, with the same body
//     and integrated time, a signed entry timestamp that verifies and an inclusion
//     proof in today's tree, and every question finds it.
//
// The error matches ErrLost or ErrFork where that is what was found.
func (l *Ledger) Check(ctx context.Context, ask Ask, pick func(i int) bool) (Found, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.learn(ctx, ask); err != nil {
		return Found{}, err
	}
	old := len(l.promises)
	if err := l.take(); err != nil {
		return Found{}, err
	}
	chosen := slices.Clone(l.promises[old:])
	for i, p := range l.promises[:old] {
		if pick == nil || pick(i) {
			chosen = append(chosen, p)
		}
	}
	proofs, err := l.link(ctx, ask)
	if err != nil {
		return Found{Proofs: proofs}, err
	}
	seen, err := l.demandAll(ctx, ask, chosen)
	if err != nil {
		return Found{len(chosen), proofs}, err
	}
	for _, s := range seen {
		if err := l.see(s.tree, s.head); err != nil {
			return Found{len(chosen), proofs}, err
		}
	}
	return Found{len(chosen), proofs}, nil
}

// seenHead is a head that came with an entry.
type seenHead struct {
	tree int64
	head Head
}

// demandAll asks for promised entries, and returns the heads they came with.
func (l *Ledger) demandAll(ctx context.Context, ask Ask, promises []*promise) (seen []seenHead, err error) {
	work := make(chan *promise)
	var mu sync.Mutex // guards the results
	var errs []error
	var wg sync.WaitGroup
	for range askers {
		wg.Go(func() {
			for p := range work {
				s, err := l.demand(ctx, ask, p)
				mu.Lock()
				if seen = append(seen, s); err != nil && len(errs) < 10 {
					errs = append(errs, fmt.Errorf("acknowledged entry %d (%s): %w", p.LogIndex, p.ID, err))
				}
				mu.Unlock()
			}
		})
	}
	for _, p := range promises {
		work <- p
	}
	close(work)
	wg.Wait()
	return seen, errors.Join(errs...)
}

// demand wants an acknowledged entry back as it was.
func (l *Ledger) demand(ctx context.Context, ask Ask, p *promise) (seenHead, error) {
	var seen seenHead
	for _, path := range []string{"/api/v1/log/entries/" + p.ID, fmt.Sprintf("/api/v1/log/entries?logIndex=%d", p.LogIndex)} {
		status, answer, err := ask(ctx, http.MethodGet, path, nil)
		if err != nil {
			return seen, err
		}
		if status == http.StatusNotFound {
			return seen, fmt.Errorf("%w: %s", ErrLost, path)
		}
		if status != http.StatusOK {
			return seen, fmt.Errorf("%s answered %d %s", path, status, answer)
		}
		if seen, err = l.compare(p, answer); err != nil {
			return seen, err
		}
	}
	for _, q := range p.questions {
		if err := find(ctx, ask, p.ID, q); err != nil {
			return seen, err
		}
	}
	return seen, nil
}

// compare verifies an entry and holds it against what was acknowledged.
func (l *Ledger) compare(p *promise, answer []byte) (seenHead, error) {
	log, err := l.logOf(answer)
	if err != nil {
		return seenHead{}, err
	}
	e, err := log.CheckEntry(answer)
	if err != nil {
		return seenHead{}, err
	}
	if err := same(p.Entry, e); err != nil {
		return seenHead{}, err
	}
	if newest := l.heads[log.TreeID].newest; e.Head.Size < newest.Size {
		return seenHead{}, fmt.Errorf("it is proved in a tree of %d entries, the newest has %d", e.Head.Size, newest.Size)
	}
	return seenHead{log.TreeID, e.Head}, nil
}

// find demands that a search names an entry.
func find(ctx context.Context, ask Ask, id string, question Object) error {
	body, err := json.Marshal(question)
	if err != nil {
		return err
	}
	status, answer, err := ask(ctx, http.MethodPost, "/api/v1/index/retrieve", body)
	if err != nil {
		return err
	}
	var ids []string
	if err := json.Unmarshal(answer, &ids); err != nil {
		return fmt.Errorf("search %s answered %d %s", body, status, answer)
	}
	if !slices.Contains(ids, id) {
		return fmt.Errorf("%w: search %s does not find it", ErrLost, body)
	}
	return nil
}
