package stack

import (
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"sigstack/internal/httpd"
	"sigstack/internal/keys"
	"sigstack/services/ca"
)

// firstSettings are what the CA starts with: what config.yaml says, but a chain that
// not every client has yet. Until they do the chain that issued last goes on.
func (b *builder) firstSettings() (ca.Settings, error) {
	certs, err := b.chain(b.conf.CA.Chain)
	if err != nil {
		return ca.Settings{}, err
	}
	name := b.conf.CA.Key
	err = b.chains.mayIssue(certs, b.opts.Now())
	if last, ok := b.chains.last(); errors.Is(err, errNotYet) && ok {
		b.opts.Log.Warn("the chain of config.yaml is not used yet: the one before goes on until it is", slog.Any("error", err))
		b.reloads.until = b.chains.usableFrom(certs)
		certs, name, err = last.certs, last.Key, nil
	}
	if err != nil {
		return ca.Settings{}, fmt.Errorf("ca.chain: %w", err)
	}
	key, err := b.key(name)
	if err != nil {
		return ca.Settings{}, err
	}
	issuers, err := b.issuers(b.conf)
	if err != nil {
		return ca.Settings{}, err
	}
	b.caKey = key
	return ca.Settings{Chain: certs, Signer: key, Issuers: issuers, Algorithms: b.conf.CA.SigningAlgorithms, Retired: b.chains.others(certs)}, nil
}

// begin notes the chain that issues as the stack starts. The file is there only
// once there is more than one chain.
func (c *caChains) begin(certs []*x509.Certificate, key string, now time.Time) error {
	list, draft := c.all()
	next, changed := using(list, certs, key, now)
	if !changed {
		return nil
	}
	if last, ok := c.last(); ok && find([]caChain{last}, certs) == 0 {
		draft, _ = using(draft, certs, key, now)
	} else {
		draft = nil // it was made for the chain before, which it may not end, as it may this one
	}
	return c.set(next, draft)
}

// useKey makes key the CA's in place of the one before: among those that are tried
// and shown, and among those that are watched because they live elsewhere.
func (s *Stack) useKey(key keys.Key) {
	old := s.caKey
	s.services.dropKey(old.Name)
	s.services.addKey(key)
	s.caKey = key
	if key.Name == old.Name {
		return
	}
	s.ready.SetPart("ca", "key "+old.Name, httpd.OK, "key "+old.Name+" is not used any more")
	if c, ok := s.watchKey(key); ok && s.serving {
		_ = s.later.start(c) // a stack that stops needs no watch
	}
}
