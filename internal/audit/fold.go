package audit

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// What strangers can cause is bounded: foldBurst refusals at once and one in
// foldEvery are records of their own; the others are counted by cause, and each
// count is one record a minute. Refused without pause, that is some 15 MB a day.
const (
	foldBurst     = 100
	foldEvery     = 10 * time.Second
	foldCauses    = 8 // counted apart; the others together
	foldAddresses = 8 // named as examples
	flushEvery    = time.Minute
)

// folds counts refusals that are not records of their own. It is safe for
// concurrent use.
type folds struct {
	mu     sync.Mutex
	tokens float64 // guarded by mu, as is what follows
	last   time.Time
	counts map[foldKey]*fold
}

// foldKey is what refusals that are counted together share.
type foldKey struct{ action, outcome, service, cause string }

type fold struct {
	count       int
	first, last time.Time
	addresses   map[string]bool
}

func (f *folds) init() { f.tokens, f.counts = foldBurst, map[foldKey]*fold{} }

// take reports whether it has counted e, which is then no record of its own.
func (f *folds) take(e Event, now time.Time) bool {
	if e.Outcome == OK || e.Subject != "" || e.Service == "admin" {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tokens = min(foldBurst, f.tokens+max(0, now.Sub(f.last).Seconds())/foldEvery.Seconds())
	f.last = now
	if f.tokens >= 1 {
		f.tokens--
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
