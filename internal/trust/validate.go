package trust

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"sigstack/internal/pki"
)

// Validate checks what can be checked without network or clock (contract
// trust-material §6, parts 1 to 4 and 6): keys, log IDs, hosts, chains, windows,
// URLs, versions, the operator. It reports every problem it finds.
func (m Material) Validate() error {
	return wrapInvalid(errors.Join(m.checkEach(), m.checkV2HasTSA()))
}

func wrapInvalid(err error) error {
	if err != nil {
		return fmt.Errorf("check trust material: %w", err)
	}
	return nil
}

// checkEach checks everything by itself.
func (m Material) checkEach() error {
	return errors.Join(
		m.checkOperator(),
		checkLogs("transparency log", m.TLogs, 2),
		checkLogs("CT log", m.CTLogs, 1),
		checkAuthorities("certificate authority", m.CAs, checkCA),
		checkAuthorities("timestamp authority", m.TSAs, checkTSA),
		checkServices("certificate authority", m.CAServices, 1),
		checkServices("OIDC", m.OIDCServices, 1),
		checkServices("transparency log", m.TLogServices, 2),
		checkServices("timestamp authority", m.TSAServices, 1))
}

func (m Material) checkOperator() error {
	if m.Operator == "" || strings.Contains(m.Operator, "://") || strings.ContainsAny(m.Operator, " \t\n") {
		return fmt.Errorf("operator %q is not a URI without scheme", m.Operator)
	}
	return nil
}

// checkV2HasTSA: v2 entries carry no time of their own.
func (m Material) checkV2HasTSA() error {
	for _, s := range m.TLogServices {
		if s.APIVersion >= 2 && (len(m.TSAs) == 0 || len(m.TSAServices) == 0) {
			return fmt.Errorf("transparency log %s is version 2, which needs a timestamp authority", s.URL)
		}
	}
	for _, l := range m.TLogs {
		if l.APIVersion >= 2 && len(m.TSAs) == 0 {
			return fmt.Errorf("transparency log %s is version 2, which needs a timestamp authority", l.BaseURL)
		}
	}
	return nil
}

func (w Window) check() error {
	switch {
	case w.Start.IsZero():
		return errors.New("window has no start")
	case !w.End.IsZero() && w.End.Before(w.Start):
		return errors.New("window ends before it starts")
	case w.Start.Year() < 1 || w.Start.Year() > 9999 || w.End.Year() > 9998:
		return errors.New("window outside the years 1 to 9998")
	}
	return nil
}

// checkLogs also refuses what clients would confuse: two logs of one ID, which
// is their lookup key, and two v2 logs of one host, which is their name.
func checkLogs(kind string, logs []Log, maxVersion uint32) error {
	var errs []error
	ids := map[[sha256.Size]byte]bool{}
	hosts := map[string]bool{}
	for _, l := range logs {
		if err := l.check(maxVersion); err != nil {
			errs = append(errs, fmt.Errorf("%s %q: %w", kind, l.BaseURL, err))
			continue
		}
		id, idErr := l.ID()
		host, hostErr := hostOf(l.BaseURL)
		if err := errors.Join(idErr, hostErr); err != nil {
			errs = append(errs, fmt.Errorf("%s %q: %w", kind, l.BaseURL, err))
			continue
		}
		if ids[id] {
			errs = append(errs, fmt.Errorf("%s %q: log ID %x is listed twice", kind, l.BaseURL, id))
		}
		ids[id] = true
		if l.APIVersion == 2 {
			if hosts[host] {
				errs = append(errs, fmt.Errorf("%s %q: another version 2 log has this host", kind, l.BaseURL))
			}
			hosts[host] = true
		}
	}
	return errors.Join(errs...)
}

func (l Log) check(maxVersion uint32) error {
	if l.APIVersion < 1 || l.APIVersion > maxVersion {
		return fmt.Errorf("version %d is not 1 to %d", l.APIVersion, maxVersion)
	}
	key, err := parseKey(l.PublicKey)
	if err != nil {
		return err
	}
	if _, ok := key.(*ecdsa.PublicKey); l.APIVersion == 1 && !ok {
		return errors.New("key of a version 1 log is not ECDSA P-256")
	}
	return l.Window.check()
}

func checkServices(kind string, services []Service, maxVersion uint32) error {
	var errs []error
	for _, s := range services {
		_, err := hostOf(s.URL)
		if s.APIVersion < 1 || s.APIVersion > maxVersion {
			err = errors.Join(err, fmt.Errorf("version %d is not 1 to %d", s.APIVersion, maxVersion))
		}
		if err = errors.Join(err, s.Window.check()); err != nil {
			errs = append(errs, fmt.Errorf("%s service %q: %w", kind, s.URL, err))
		}
	}
	return errors.Join(errs...)
}

// checkAuthorities checks the chains, with check, at a time that lies in the
// window and in every certificate's validity.
func checkAuthorities(kind string, as []Authority, check func(Authority, time.Time) error) error {
	var errs []error
	for _, a := range as {
		_, err := hostOf(a.URI)
		at, overlapErr := a.overlap()
		if err = errors.Join(err, a.Window.check(), overlapErr); err == nil {
			err = check(a, at)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s %q: %w", kind, a.URI, err))
		}
	}
	return errors.Join(errs...)
}

func checkCA(a Authority, at time.Time) error {
	return pki.CheckIssuingChain(a.Chain, a.Chain[0].PublicKey, x509.ExtKeyUsageCodeSigning, at)
}

func checkTSA(a Authority, at time.Time) error {
	return pki.CheckTimestampChain(a.Chain, a.Chain[0].PublicKey, at)
}

// overlap returns the first moment that lies in the window and in the validity
// of every certificate.
func (a Authority) overlap() (time.Time, error) {
	if len(a.Chain) == 0 {
		return time.Time{}, errors.New("no certificates")
	}
	from, to := a.Window.Start, a.Window.End
	for _, c := range a.Chain {
		if c.NotBefore.After(from) {
			from = c.NotBefore
		}
		if to.IsZero() || c.NotAfter.Before(to) {
			to = c.NotAfter
		}
	}
	if to.Before(from) {
		return time.Time{}, errors.New("window and certificates have no time in common")
	}
	return from, nil
}
