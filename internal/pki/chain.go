package pki

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"
)

// CheckIssuingChain verifies a CA chain at load time: ordered, lowest first,
// ending in a self-signed root; every certificate a CA that may sign certificates,
// and valid now; with two or more certificates the first carries eku; the first's
// key is signer's.
// A single self-signed root is a valid chain (contract: ca.md §7).
func CheckIssuingChain(chain []*x509.Certificate, signer crypto.PublicKey, eku x509.ExtKeyUsage, now time.Time) error {
	for i, c := range chain {
		switch {
		case !c.IsCA:
			return fmt.Errorf("certificate %d (%s) is not a CA", i+1, c.Subject)
		case c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0: // RFC 5280 §4.2.1.3
			return fmt.Errorf("certificate %d (%s) may not sign certificates", i+1, c.Subject)
		}
	}
	if err := checkOrder(chain, eku, now); err != nil {
		return err
	}
	if len(chain) > 1 && !hasUsage(chain[0], eku) {
		return fmt.Errorf("issuing certificate %s lacks the extended key usage", chain[0].Subject)
	}
	return checkKey(chain[0], signer)
}

// CheckTimestampChain verifies a timestamp chain at load time: leaf first, root
// last, at least two certificates; the leaf is no CA, its only extended key
// usage is timeStamping, critical, and its key is signer's.
func CheckTimestampChain(chain []*x509.Certificate, signer crypto.PublicKey, now time.Time) error {
	if len(chain) < 2 {
		return errors.New("a timestamp chain has at least a leaf and a root")
	}
	leaf := chain[0]
	switch {
	case leaf.IsCA:
		return fmt.Errorf("first certificate %s is a CA, not the timestamp leaf", leaf.Subject)
	case len(leaf.ExtKeyUsage) != 1 || len(leaf.UnknownExtKeyUsage) != 0 || !hasUsage(leaf, x509.ExtKeyUsageTimeStamping):
		return fmt.Errorf("leaf %s has another extended key usage than timeStamping alone", leaf.Subject)
	case !criticalUsage(leaf):
		return fmt.Errorf("leaf %s does not mark its extended key usage critical", leaf.Subject)
	}
	if err := checkOrder(chain, x509.ExtKeyUsageTimeStamping, now); err != nil {
		return err
	}
	return checkKey(leaf, signer)
}

// checkOrder demands that each certificate is signed by the next, the last by
// itself, and that the whole verifies for eku at now.
func checkOrder(chain []*x509.Certificate, eku x509.ExtKeyUsage, now time.Time) error {
	if len(chain) == 0 {
		return errors.New("chain is empty")
	}
	for i, c := range chain {
		parent := chain[min(i+1, len(chain)-1)]
		if err := c.CheckSignatureFrom(parent); err != nil {
			return fmt.Errorf("certificate %d (%s) is not issued by the next: %w", i+1, c.Subject, err)
		}
	}
	roots, inter := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(chain[len(chain)-1])
	for _, c := range chain[1:] {
		inter.AddCert(c)
	}
	opts := x509.VerifyOptions{Roots: roots, Intermediates: inter, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{eku}}
	if _, err := chain[0].Verify(opts); err != nil {
		return fmt.Errorf("chain does not verify: %w", err)
	}
	return nil
}

func hasUsage(c *x509.Certificate, eku x509.ExtKeyUsage) bool {
	return slices.Contains(c.ExtKeyUsage, eku)
}

func criticalUsage(c *x509.Certificate) bool {
	for _, ext := range c.Extensions {
		if ext.Id.Equal(oidExtKeyUsage) {
			return ext.Critical
		}
	}
	return false
}

func checkKey(c *x509.Certificate, signer crypto.PublicKey) error {
	type equaler interface{ Equal(crypto.PublicKey) bool }
	pub, ok := c.PublicKey.(equaler)
	if !ok || !pub.Equal(signer) {
		return fmt.Errorf("key of certificate %s is not the signing key", c.Subject)
	}
	return nil
}
