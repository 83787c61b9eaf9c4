package stack

import (
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"sigstack/internal/httpd"
	"sigstack/internal/keys"
)

// first is the chain, and its key, that an authority starts with: what config.yaml
// says, but a chain that not every client has yet. Until they do the chain that signed
// last goes on.
func (a *authority) first() ([]*x509.Certificate, error) {
	file, name, _ := a.of.settings(a.s.conf)
	certs, err := a.s.layout.chain(file)
	if err != nil {
		return nil, fmt.Errorf("%s.chain: %w", a.of, err)
	}
	err = a.mayIssue(certs, a.s.opts.Now())
	if last, ok := a.chains.last(); errors.Is(err, errNotYet) && ok {
		a.s.opts.Log.Warn("the chain of config.yaml is not used yet: the one before goes on until it is", slog.Any("error", err))
		a.s.reloads.until = soonest(a.s.reloads.until, a.chains.usableFrom(certs))
		certs, name, err = last.certs, last.Key, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s.chain: %w", a.of, err)
	}
	a.key, err = a.s.key(name)
	return certs, err
}

// soonest is the earlier of two moments; zero is none.
func soonest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// begin notes the chain that issues as the stack starts. The file is there only
// once there is more than one chain.
func (a *authority) begin(certs []*x509.Certificate) error {
	list, draft := a.chains.all()
	now := a.s.opts.Now()
	next, changed := using(list, certs, a.key.Name, now)
	if !changed {
		return nil
	}
	if last, ok := a.chains.last(); ok && find([]signChain{last}, certs) == 0 {
		draft, _ = using(draft, certs, a.key.Name, now)
	} else {
		draft = nil // it was made for the chain before, which it may not end, as it may this one
	}
	return a.chains.set(next, draft)
}

// use makes key the authority's in place of the one before: among those that are tried
// and shown, and among those that are watched because they live elsewhere.
func (a *authority) use(key keys.Key) {
	s, old := a.s, a.key
	s.services.dropKey(old.Name)
	s.services.addKey(key)
	a.key = key
	if key.Name == old.Name {
		return
	}
	s.ready.SetPart(a.of.String(), "key "+old.Name, httpd.OK, "key "+old.Name+" is not used any more")
	if c, ok := s.watchKey(key); ok && s.serving {
		_ = s.later.start(c) // a stack that stops needs no watch
	}
}
