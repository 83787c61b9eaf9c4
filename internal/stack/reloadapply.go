package stack

import (
	"crypto/x509"
	"errors"
	"slices"
)

// apply makes a plan come true, or leaves everything as it was. What is written can
// fail, and comes first. The files of chains are written before the switch, so that a
// crash in between leaves what the next start does by itself.
func (s *Stack) apply(p *reloadPlan) error {
	var undo []func() error
	for _, step := range []func(*reloadPlan) (func() error, error){s.openCTLogs, s.noteChains, s.takeRoots, s.takeTSA, s.takeCA} {
		back, err := step(p)
		if err != nil {
			for _, f := range slices.Backward(undo) {
				err = errors.Join(err, f())
			}
			return err
		}
		undo = append(undo, back)
	}
	if p.bearer != nil {
		s.bearer.Store(p.bearer)
	}
	if err := s.switchCT(p); err != nil {
		return err
	}
	s.reloads.conf, s.reloads.until = p.conf, p.until
	return nil
}

func nothing() error { return nil }

// noteChains notes the chains that are to sign.
func (s *Stack) noteChains(p *reloadPlan) (undo func() error, err error) {
	undo = nothing
	for _, next := range p.chains {
		back, err := next.note()
		if err != nil {
			return nil, errors.Join(err, undo())
		}
		before := undo
		undo = func() error { return errors.Join(back(), before()) }
	}
	return undo, nil
}

func (c *nextChain) note() (undo func() error, err error) {
	set := c.of.chains
	list, draft := set.all()
	next, changed := using(list, c.certs, c.key.Name, c.of.s.opts.Now())
	if !changed {
		return nothing, nil
	}
	nextDraft := draft
	if !sameChain(c.certs, c.of.present()) {
		nextDraft = nil // it was made for the chain before: publishing says to prepare it again
	}
	return func() error { return set.set(list, draft) }, set.set(next, nextDraft)
}

// takeRoots lets the CT logs take what other roots issue.
func (s *Stack) takeRoots(p *reloadPlan) (undo func() error, err error) {
	if s.services.ctlog == nil {
		return nothing, nil
	}
	before := s.services.ctlog.extraRoots()
	changed, err := s.takeCTRoots(p.conf)
	if changed {
		p.took("roots of the ct log")
	}
	return func() error { _, err := s.services.ctlog.setExtra(before); return err }, err
}

// extraRoots are those of ctlog.roots in force.
func (l *ctLogs) extraRoots() []*x509.Certificate {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.extra
}

// takeCA tells clients of the issuers and lets the CA go over. What clients are told
// is never taken back, and says no more than that an issuer was meant to be accepted.
func (s *Stack) takeCA(p *reloadPlan) (undo func() error, err error) {
	if p.ca == nil {
		return nothing, nil
	}
	if err := s.tellIssuers(locallyBacked(p.ca.Issuers)); err != nil {
		return nil, err
	}
	p.ca.Retired = s.ca.chains.others(p.ca.Chain)
	if err := s.services.ca.Reload(*p.ca); err != nil {
		return nil, err
	}
	if next := p.next(CA); next.other {
		s.ca.use(next.key)
	}
	return nothing, nil
}

// takeTSA lets the timestamp authority go over to another chain.
func (s *Stack) takeTSA(p *reloadPlan) (undo func() error, err error) {
	next := p.next(TSA)
	if next == nil || !next.other {
		return nothing, nil
	}
	certs, key := s.tsa.present(), s.tsa.key
	if err := s.services.tsa.Reload(next.certs, next.key); err != nil {
		return nil, err
	}
	s.tsa.use(next.key)
	return func() error {
		defer s.tsa.use(key)
		return s.services.tsa.Reload(certs, key)
	}, nil
}
