package tlsconf

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"time"

	"sigstack/internal/pki"
)

// backdate is how far a new certificate's life starts before now, for clients
// whose clock is a little slow.
const backdate = 5 * time.Minute

// issue gives the server a new key, in memory only, and a certificate for it. It
// is called with mu held, or by New.
func (s *Source) issue() error {
	a := s.cfg.Authority
	if err := pki.CheckIssuingChain(a.Chain, a.Signer.Public(), x509.ExtKeyUsageServerAuth, s.cfg.Now()); err != nil {
		return fmt.Errorf("internal authority: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make key: %w", err)
	}
	leaf, err := pki.NewTLSLeaf(a.Chain[0], a.Signer, key.Public(), s.cfg.Host, s.cfg.Now().Add(-backdate))
	if err != nil {
		return fmt.Errorf("internal authority: %w", err)
	}
	id := identity{chain: []*x509.Certificate{leaf}, key: key, authorities: a.Chain[len(a.Chain)-1:]}
	if len(a.Chain) > 1 {
		id.chain = append(id.chain, a.Chain[:len(a.Chain)-1]...) // clients have the root
	}
	if err := id.check(s.cfg.Host, s.cfg.Now()); err != nil {
		return fmt.Errorf("internal authority: %w", err)
	}
	s.identity = id
	return nil
}

// due reports whether the certificate is to be renewed: two thirds of its life
// have passed, or the clock was set to before it. One that ends with its
// authority cannot be outlived.
func (s *Source) due(now time.Time) bool {
	leaf := s.identity.chain[0]
	if now.Before(leaf.NotBefore) {
		return true
	}
	if !leaf.NotAfter.Before(s.cfg.Authority.Chain[0].NotAfter) {
		return false
	}
	return !now.Before(leaf.NotAfter.Add(-leaf.NotAfter.Sub(leaf.NotBefore) / 3))
}
