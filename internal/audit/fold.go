package audit

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// What strangers can cause is bounded: so many refusals at once, and one in so long
// a time, are records of their own; the others are counted by cause, and each count
// is one record a minute. Refused without pause, that is some 15 MB a day. Whoever
// is known has a larger budget, for what is refused to them is worth more.
const (
	foldCauses    = 8 // counted apart; the others together
	foldAddresses = 8 // named as examples
	flushEvery    = time.Minute
)

// folds counts refusals that are not records of their own. It is safe for
// concurrent use.
type folds struct {
	mu        sync.Mutex
	strangers budget // guarded by mu, as is what follows
	known     budget
	counts    map[foldKey]*fold
}

// budget is a token bucket of records.
type budget struct {
	burst, tokens float64
	every         time.Duration
	last          time.Time
}

func newBudget(burst float64, every time.Duration) budget {
	return budget{burst: burst, tokens: burst, every: every}
}

// spend takes a token, if there is one.
func (b *budget) spend(now time.Time) bool {
	b.tokens = min(b.burst, b.tokens+max(0, now.Sub(b.last).Seconds())/b.every.Seconds())
	b.last = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// foldKey is what refusals that are counted together share.
type foldKey struct{ action, outcome, service, cause string }

type fold struct {
	count       int
	first, last time.Time
	addresses   map[string]bool
}

func (f *folds) init() {
	f.strangers, f.known = newBudget(100, 10*time.Second), newBudget(1000, time.Second)
	f.counts = map[foldKey]*fold{}
}

// take reports whether it has counted e, which is then no record of its own.
func (f *folds) take(e Event, now time.Time) bool {
	if e.Outcome == OK || e.Service == "admin" {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	b := &f.strangers
	if e.Subject != "" {
		b = &f.known
	}
	if b.spend(now) {
		return false
	}
	f.count(foldKey{e.Action, e.Outcome, e.Service, e.Detail["cause"]}, e.Address, now)
	return true
}

// count needs f.mu.
func (f *folds) count(key foldKey, address string, now time.Time) {
	c := f.counts[key]
	if c == nil && len(f.counts) >= foldCauses {
		key = foldKey{action: key.action, outcome: key.outcome, service: key.service, cause: "various"}
		c = f.counts[key]
	}
	if c == nil {
		c = &fold{first: now, addresses: map[string]bool{}}
		f.counts[key] = c
	}
	c.count, c.last = c.count+1, now
	if address != "" && len(c.addresses) < foldAddresses {
		c.addresses[address] = true
	}
}

// drain returns the records of what was counted, and forgets it.
func (f *folds) drain() []Event {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []Event
	for key, c := range f.counts {
		list = append(list, Event{
			Action: key.action, Outcome: key.outcome, Service: key.service,
			Detail: map[string]string{
				"count":     strconv.Itoa(c.count),
				"first":     c.first.UTC().Format(timeLayout),
				"last":      c.last.UTC().Format(timeLayout),
				"cause":     key.cause,
				"addresses": strings.Join(slices.Sorted(maps.Keys(c.addresses)), " "),
			},
		}.clean())
	}
	f.counts = map[foldKey]*fold{}
	return list
}
