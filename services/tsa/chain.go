package tsa

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"sigstack/internal/pki"
)

// checkChain refuses a chain whose tokens clients would refuse. pki checks
// order, signatures, validity and the leaf's extended key usage; the rest of
// the contract's profile is here.
func checkChain(chain []*x509.Certificate, pub crypto.PublicKey, now time.Time) error {
	if err := pki.CheckTimestampChain(chain, pub, now); err != nil {
		return err
	}
	if _, err := digestFor(pub); err != nil {
		return err
	}
	if leaf := chain[0]; leaf.KeyUsage != x509.KeyUsageDigitalSignature {
		return fmt.Errorf("leaf %s has another key usage than digitalSignature alone", leaf.Subject)
	}
	for _, c := range chain[1 : len(chain)-1] {
		if !slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageTimeStamping) {
			return fmt.Errorf("intermediate %s lacks the timeStamping extended key usage", c.Subject)
		}
	}
	return nil
}

// digestFor returns the hash that tokens are signed with, as strong as the key.
// RSA and Ed25519 are refused: some Sigstore clients cannot verify them in CMS.
func digestFor(pub crypto.PublicKey) (crypto.Hash, error) {
	key, ok := pub.(*ecdsa.PublicKey)
	if !ok {
		return 0, fmt.Errorf("signing key is a %T, want ECDSA P-256 or P-384", pub)
	}
	switch key.Curve {
	case elliptic.P256():
		return crypto.SHA256, nil
	case elliptic.P384():
		return crypto.SHA384, nil
	default:
		return 0, fmt.Errorf("signing key is on curve %s, want P-256 or P-384", key.Curve.Params().Name)
	}
}
