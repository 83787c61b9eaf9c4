package stack

import (
	"crypto/x509"
	"errors"
	"slices"
)

// apply makes a plan come true, or leaves everything as it was. What is written can
// fail, and comes first. chains.json is written before the switch, so that a crash in
// between leaves what the next start does by itself.
func (s *Stack) apply(p *reloadPlan) error {
	var undo []func() error
	for _, step := range []func(*reloadPlan) (func() error, error){s.noteChain, s.takeRoots, s.takeCA} {
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
	s.reloads.conf, s.reloads.until = p.conf, p.until
	return nil
}

func nothing() error { return nil }

// noteChain notes the chain that is to issue.
func (s *Stack) noteChain(p *reloadPlan) (undo func() error, err error) {
	if p.ca == nil {
		return nothing, nil
	}
	list, draft := s.chains.all()
	next, changed := using(list, p.ca.Chain, p.key.Name, s.opts.Now())
	if !changed {
		return nothing, nil
	}
	nextDraft := draft
	if !slices.EqualFunc(p.ca.Chain, s.services.ca.Trust().Chain, (*x509.Certificate).Equal) {
		nextDraft = nil // it was made for the chain before: publishing says to prepare it again
	}
	return func() error { return s.chains.set(list, draft) }, s.chains.set(next, nextDraft)
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
	p.ca.Retired = s.chains.others(p.ca.Chain)
	if err := s.services.ca.Reload(*p.ca); err != nil {
		return nil, err
	}
	if p.newChain {
		s.useKey(p.key)
	}
	return nothing, nil
}
