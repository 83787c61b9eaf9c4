package tlsconf

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
)

// authorities are those of client certificates.
type authorities struct {
	pool  *x509.CertPool
	known map[[sha256.Size]byte]bool // by digest of the certificate
}

// takeClients is called with mu held, or by New.
func (s *Source) takeClients(contents [][]byte) error {
	certs, err := certificates(contents[0])
	if err != nil {
		return fmt.Errorf("%s: %w", s.cfg.ClientCA, err)
	}
	a := &authorities{x509.NewCertPool(), map[[sha256.Size]byte]bool{}}
	for _, c := range certs {
		if !c.IsCA {
			return fmt.Errorf("%s: certificate %s is not an authority's", s.cfg.ClientCA, c.Subject)
		}
		a.pool.AddCert(c)
		a.known[sha256.Sum256(c.Raw)] = true
	}
	s.issuers = a
	return nil
}

// ClientAuthorities are those of client certificates, nil if none are asked for.
func (s *Source) ClientAuthorities() *x509.CertPool {
	if a := s.judging.Load(); a != nil {
		return a.pool
	}
	return nil
}

// StillGood reports whether the client's certificate, which was verified when the
// connection began, counts now: a connection outlives certificates, and the
// authorities it began with. It is cheap unless these have changed.
func (s *Source) StillGood(state *tls.ConnectionState) bool {
	a := s.judging.Load()
	if a == nil {
		return false
	}
	for _, chain := range state.VerifiedChains {
		if s.inTime(chain) && a.known[sha256.Sum256(chain[len(chain)-1].Raw)] {
			return true
		}
	}
	return len(state.VerifiedChains) > 0 && s.verify(a, state.PeerCertificates) == nil
}

// inTime reports whether every certificate of a chain is valid now.
func (s *Source) inTime(chain []*x509.Certificate) bool {
	now := s.cfg.Now()
	for _, c := range chain {
		if now.Before(c.NotBefore) || now.After(c.NotAfter) {
			return false
		}
	}
	return true
}

// verify is what a handshake does: an authority may have a new certificate.
func (s *Source) verify(a *authorities, shown []*x509.Certificate) error {
	opts := x509.VerifyOptions{
		Roots: a.pool, Intermediates: x509.NewCertPool(), CurrentTime: s.cfg.Now(),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, c := range shown[1:] {
		opts.Intermediates.AddCert(c)
	}
	_, err := shown[0].Verify(opts)
	return err
}
