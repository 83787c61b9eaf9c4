package ctlog

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
)

// SetRoots makes the log take certificates of roots, and of no others, from now
// on. Chains that are being added end by the roots they began with. On an error
// nothing has changed.
func (s *Service) SetRoots(roots []*x509.Certificate) error {
	if err := checkRoots(roots); err != nil {
		return fmt.Errorf("ct log: %w", err)
	}
	s.swap.Lock()
	defer s.swap.Unlock()
	next, err := s.newInstance(context.Background(), roots, s.current.Load().final)
	if err != nil {
		return fmt.Errorf("ct log: set roots: %w", err)
	}
	s.current.Store(next)
	return nil
}

// Roots returns the CAs whose certificates are logged now. The caller must not
// change them.
func (s *Service) Roots() []*x509.Certificate { return s.current.Load().roots }

// checkRoots refuses what could not be the root of a chain. It tells every one.
func checkRoots(roots []*x509.Certificate) error {
	if len(roots) == 0 {
		return errors.New("no root certificate: nothing could be logged")
	}
	var errs []error
	seen := map[string]bool{}
	for i, c := range roots {
		switch {
		case c == nil:
			errs = append(errs, fmt.Errorf("root %d is missing", i))
		case !c.IsCA || !c.BasicConstraintsValid:
			errs = append(errs, fmt.Errorf("root %s is not a CA's certificate", c.Subject))
		case seen[string(c.Raw)]:
			errs = append(errs, fmt.Errorf("root %s is there twice", c.Subject))
		default:
			seen[string(c.Raw)] = true
		}
	}
	return errors.Join(errs...)
}
