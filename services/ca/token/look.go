package token

import (
	"context"
	"errors"
)

// maxLooks bounds how many issuers that patterns matched are asked at once: whom a
// pattern matches is up to strangers, and each may keep us waiting.
const maxLooks = 16

// errBusy says that too many other issuers are being asked.
var errBusy = errors.New("too many issuers are being asked at once")

// newerThan returns what was published after old (nil: anything). It asks the
// issuer unless somebody else did meanwhile, or did too recently.
func (s *source) newerThan(ctx context.Context, old *published) (*published, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	select {
	case s.fetching <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	found, err := s.mayAsk(old)
	if found == nil && err == nil {
		err = s.enter(ctx)
	}
	if found != nil || err != nil {
		<-s.fetching
		return found, err
	}
	return s.look(ctx)
}

// enter waits for its turn among the issuers that patterns matched. Who cannot wait
// leaves no trace: the issuer was not asked.
func (s *source) enter(ctx context.Context) error {
	if s.looks == nil {
		return nil
	}
	turn, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	select {
	case s.looks <- struct{}{}:
		return nil
	case <-turn.Done():
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return errBusy
	}
}

func (s *source) leave() {
	if s.looks != nil {
		<-s.looks
	}
	<-s.fetching
}

// answer is what a look at an issuer came to.
type answer struct {
	fresh *published
	err   error
}

// look asks the issuer. A caller that goes away ends its own waiting alone: were the
// look ended with it, who comes and goes could make us ask without a pause, or keep
// everybody else from the keys.
func (s *source) look(ctx context.Context) (*published, error) {
	done := make(chan answer, 1)
	go func() {
		defer s.leave()
		fresh, err := s.fetch(context.WithoutCancel(ctx))
		s.closeIdle()
		s.note(fresh, err)
		done <- answer{fresh, err}
	}()
	select {
	case a := <-done:
		return a.fresh, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// note keeps what a look came to.
func (s *source) note(fresh *published, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked, s.failed = s.now(), err
	if err == nil {
		s.current = fresh
	}
}

// closeIdle ends the connections that a look leaves behind: the next one is an hour
// away, or never comes. A client that others share keeps its own.
func (s *source) closeIdle() {
	if s.issuer.HTTPClient == nil {
		s.client.CloseIdleConnections()
	}
}
