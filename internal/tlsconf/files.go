package tlsconf

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"sigstack/internal/filewatch"
)

// watch returns the files as a set.
func (f Files) watch(take func([][]byte) error) *filewatch.Set {
	paths := []string{f.Certificate, f.Key}
	if f.Authorities != "" {
		paths = append(paths, f.Authorities)
	}
	return &filewatch.Set{Private: f.Key, Paths: func() []string { return paths }, Take: take}
}

// CheckFiles says why a server of host could not use f now, or nil.
func CheckFiles(f Files, host string, now time.Time) error {
	return f.watch(func(contents [][]byte) error {
		_, err := f.identity(contents, host, now)
		return err
	}).Now()
}

// identity makes sense of what the files hold.
func (f Files) identity(contents [][]byte, host string, now time.Time) (id identity, err error) {
	if id.chain, err = certificates(contents[0]); err != nil {
		return identity{}, fmt.Errorf("%s: %w", f.Certificate, err)
	}
	if id.key, err = privateKey(contents[1]); err != nil {
		return identity{}, fmt.Errorf("%s: %w", f.Key, err)
	}
	if !id.fits() {
		return identity{}, fmt.Errorf("key %s is not that of the first certificate in %s, %s", f.Key, f.Certificate, id.chain[0].Subject)
	}
	if len(contents) > 2 {
		if id.authorities, err = certificates(contents[2]); err != nil {
			return identity{}, fmt.Errorf("%s: %w", f.Authorities, err)
		}
	}
	if err := id.check(host, now); err != nil {
		return identity{}, fmt.Errorf("%s: %w", f.Certificate, err)
	}
	return id, nil
}

// fits reports whether the key is the leaf's.
func (id identity) fits() bool {
	type equaler interface{ Equal(crypto.PublicKey) bool }
	pub, ok := id.chain[0].PublicKey.(equaler)
	return ok && pub.Equal(id.key.Public())
}

// takePair is called with mu held, or by New.
func (s *Source) takePair(contents [][]byte) error {
	id, err := s.cfg.Files.identity(contents, s.cfg.Host, s.cfg.Now())
	if err == nil {
		s.identity = id
	}
	return err
}

// check demands what every client will: a server's certificate for host, valid
// now, that leads to the authorities if there are any.
func (id identity) check(host string, now time.Time) error {
	leaf := id.chain[0]
	usages := leaf.ExtKeyUsage
	switch {
	case now.Before(leaf.NotBefore):
		return fmt.Errorf("certificate is valid from %s only", stamp(leaf.NotBefore))
	case now.After(leaf.NotAfter):
		return fmt.Errorf("certificate expired at %s", stamp(leaf.NotAfter))
	case len(usages)+len(leaf.UnknownExtKeyUsage) > 0 &&
		!slices.Contains(usages, x509.ExtKeyUsageServerAuth) && !slices.Contains(usages, x509.ExtKeyUsageAny):
		return errors.New("certificate is not for servers: its extended key usage lacks serverAuth")
	}
	if err := leaf.VerifyHostname(host); err != nil {
		return fmt.Errorf("certificate is not for the host of the URL: %w", err)
	}
	if id.authorities == nil {
		return nil
	}
	opts := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: now}
	for _, c := range id.authorities {
		opts.Roots.AddCert(c)
	}
	for _, c := range id.chain[1:] {
		opts.Intermediates.AddCert(c)
	}
	if _, err := leaf.Verify(opts); err != nil {
		return fmt.Errorf("certificate does not lead to the authorities that clients are given: %w", err)
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
