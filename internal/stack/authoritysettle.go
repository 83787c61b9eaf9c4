package stack

import (
	"fmt"
	"slices"
	"time"

	"sigstack/internal/trust"
	tufroot "sigstack/tuf-root"
)

// settle finds that a publication of chains was interrupted when it was out, but
// not noted yet. It is noted now, before anything relies on what is published.
func (a *authority) settle() error {
	_, draft := a.chains.all()
	if draft == nil || a.s.conf.TUF == nil {
		return nil
	}
	repo, err := tufroot.Open(a.s.layout.repository(a.s.conf, a.s.opts.Now))
	if err != nil {
		return err
	}
	published, err := repo.Target(trust.TrustedRootName)
	if err != nil {
		return err
	}
	_, cas, err := a.of.split(published)
	if err != nil {
		return fmt.Errorf("published %s: %w", trust.TrustedRootName, err)
	}
	if !arePublished(a.ended(draft), cas) {
		return nil
	}
	return a.published(draft, repo, time.Time{})
}

// arePublished reports whether a trusted root has these chains of an authority with
// these ends, and no others.
func arePublished(chains []signChain, cas []trustedChain) bool {
	return len(chains) == len(cas) && !slices.ContainsFunc(chains, func(c signChain) bool {
		return !slices.ContainsFunc(cas, func(x trustedChain) bool { return x.id == chainID(c.certs) && x.endsAt(c.End) })
	})
}
