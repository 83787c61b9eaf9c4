package sct

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
)

// asked are logs in the order in which they are asked, never changed.
type asked struct {
	logs []*member

	users int           // guarded by list.mu: precertificates that began with it
	gone  chan struct{} // closed when it is replaced and nobody uses it any more; nil: it is in use
}

// list is the one in use.
type list struct {
	mu  sync.Mutex
	now *asked // guarded by mu
}

func (l *list) enter() *asked {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now.users++
	return l.now
}

func (l *list) leave(a *asked) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a.users--; a.users == 0 && a.gone != nil {
		close(a.gone)
	}
}

func (l *list) replace(logs []*member) (gone <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.now
	old.gone = make(chan struct{})
	if old.users == 0 {
		close(old.gone)
	}
	l.now = &asked{logs: logs}
	return old.gone
}

func (l *list) current() []*member {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.now == nil {
		return nil
	}
	return l.now.logs
}

// Check tells everything that is wrong with logs, as New does.
func (p *Pool) Check(logs []Log) error {
	_, err := p.members(logs)
	return err
}

// Use makes the pool ask logs, in their order, for precertificates from now on. Those
// under way end with the logs that they began with; gone is closed when there are
// none left, within the five seconds that Get takes. What is known of the health of
// a log that stays is kept. On an error nothing has changed.
func (p *Pool) Use(logs []Log) (gone <-chan struct{}, err error) {
	members, err := p.members(logs)
	if err != nil {
		return nil, err
	}
	return p.list.replace(members), nil
}

// members checks logs and tells everything that is wrong.
func (p *Pool) members(logs []Log) ([]*member, error) {
	if len(logs) == 0 {
		return nil, errors.New("no CT log is given, and nothing is issued without one")
	}
	var errs []error
	var out []*member
	names, ids := map[string]bool{}, map[[32]byte]bool{}
	for _, l := range logs {
		v, err := newVerifier(l.Key)
		switch {
		case err != nil:
		case l.Submit == nil:
			err = errors.New("no way to it is given")
		case names[l.Name] || ids[v.id]:
			err = errors.New("it is there twice")
		case !l.NotAfterStart.IsZero() && !l.NotAfterLimit.IsZero() && !l.NotAfterStart.Before(l.NotAfterLimit):
			err = errors.New("its range of certificates is empty")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("CT log %q: %w", l.Name, err))
		}
		names[l.Name], ids[v.id] = true, true
		out = append(out, &member{Log: l, verifier: v, circuit: p.circuitOf(l)})
	}
	return out, errors.Join(errs...)
}

// circuitOf is what is known of the health of a log.
func (p *Pool) circuitOf(l Log) *circuit {
	for _, m := range p.list.current() {
		if m.Name == l.Name && bytes.Equal(m.Key, l.Key) {
			return m.circuit
		}
	}
	return &circuit{}
}
