package stack

import (
	"fmt"
	"slices"
	"time"

	"sigstack/internal/trust"
	tufroot "sigstack/tuf-root"
)

// settleDraft finds that a publication of chains was interrupted when it was out, but
// not noted yet. It is noted now, before anything relies on what is published.
func (s *Stack) settleDraft() error {
	_, draft := s.chains.all()
	if draft == nil || s.conf.TUF == nil {
		return nil
	}
	repo, err := tufroot.Open(s.layout.repository(s.conf, s.opts.Now))
	if err != nil {
		return err
	}
	published, err := repo.Target(trust.TrustedRootName)
	if err != nil {
		return err
	}
	_, cas, err := splitCAs(published)
	if err != nil {
		return fmt.Errorf("published %s: %w", trust.TrustedRootName, err)
	}
	if !arePublished(draft, cas) {
		return nil
	}
	return s.publishedChains(draft, repo, time.Time{})
}

// arePublished reports whether a trusted root has these chains with these ends, and no
// others.
func arePublished(chains []caChain, cas []trustedCA) bool {
	return len(chains) == len(cas) && !slices.ContainsFunc(chains, func(c caChain) bool {
		return !slices.ContainsFunc(cas, func(x trustedCA) bool { return x.id == chainID(c.certs) && x.endsAt(c.End) })
	})
}
