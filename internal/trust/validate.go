package trust

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"strings"
	"time"
)

var oidExtKeyUsage = asn1.ObjectIdentifier{2, 5, 29, 37}

// Validate checks what can be checked without network or clock (contract
// trust-material §6, parts 1 to 4 and 6): keys, log IDs, hosts, chains, windows,
// URLs, versions, the operator. It reports every problem it finds.
func (m Material) Validate() error {
	err := errors.Join(
		m.checkOperator(),
		checkLogs("transparency log", m.TLogs, 2),
		checkLogs("CT log", m.CTLogs, 1),
		checkAuthorities("certificate authority", m.CAs, checkCA),
		checkAuthorities("timestamp authority", m.TSAs, checkTSA),
		checkServices("certificate authority", m.CAServices, 1),
		checkServices("OIDC", m.OIDCServices, 1),
		checkServices("transparency log", m.TLogServices, 2),
		checkServices("timestamp authority", m.TSAServices, 1),
		m.checkV2HasTSA())
	if err != nil {
		return fmt.Errorf("check trust material: %w", err)
	}
	return nil
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

func checkAuthorities(kind string, as []Authority, check func(Authority) error) error {
	var errs []error
	for _, a := range as {
		_, err := hostOf(a.URI)
		if err = errors.Join(err, a.Window.check()); err == nil {
			err = check(a)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s %q: %w", kind, a.URI, err))
		}
	}
	return errors.Join(errs...)
}

func checkCA(a Authority) error {
	for _, c := range a.Chain {
		if !c.IsCA {
			return fmt.Errorf("certificate %q is not a CA", c.Subject)
		}
	}
	return a.checkChain(x509.ExtKeyUsageCodeSigning)
}

func checkTSA(a Authority) error {
	if len(a.Chain) < 2 {
		return errors.New("chain has fewer than two certificates")
	}
	leaf := a.Chain[0]
	if leaf.IsCA {
		return errors.New("first certificate is a CA, not the signing certificate")
	}
	if len(leaf.ExtKeyUsage) != 1 || leaf.ExtKeyUsage[0] != x509.ExtKeyUsageTimeStamping || len(leaf.UnknownExtKeyUsage) > 0 {
		return errors.New("signing certificate has another extended key usage than timeStamping alone")
	}
	for _, ext := range leaf.Extensions {
		if ext.Id.Equal(oidExtKeyUsage) && !ext.Critical {
			return errors.New("extended key usage of the signing certificate is not critical")
		}
	}
	return a.checkChain(x509.ExtKeyUsageTimeStamping)
}

// checkChain verifies the chain in exactly its order, lowest first, up to its
// self-signed anchor, at a time inside the window and every certificate.
func (a Authority) checkChain(usage x509.ExtKeyUsage) error {
	if len(a.Chain) == 0 {
		return errors.New("no certificates")
	}
	at, err := a.overlap()
	if err != nil {
		return err
	}
	opts := x509.VerifyOptions{
		Roots:         x509.NewCertPool(),
		Intermediates: x509.NewCertPool(),
		CurrentTime:   at,
		KeyUsages:     []x509.ExtKeyUsage{usage},
	}
	last := len(a.Chain) - 1
	for i, c := range a.Chain {
		issuer := a.Chain[min(i+1, last)]
		if !bytes.Equal(c.RawIssuer, issuer.RawSubject) {
			return fmt.Errorf("certificate %q is not issued by the next one", c.Subject)
		}
		if err := c.CheckSignatureFrom(issuer); err != nil {
			return fmt.Errorf("certificate %q: %w", c.Subject, err)
		}
		if i > 0 && i < last {
			opts.Intermediates.AddCert(c)
		}
	}
	opts.Roots.AddCert(a.Chain[last])
	if _, err := a.Chain[0].Verify(opts); err != nil {
		return fmt.Errorf("verify chain: %w", err)
	}
	return nil
}

// overlap returns the first moment that lies in the window and in the validity
// of every certificate.
func (a Authority) overlap() (time.Time, error) {
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
