// Package pki holds the certificate side of the stack as pure functions: the
// profiles of its CAs (contract: ca.md §7, tsa-and-others.md §1), chain checks,
// PEM, object identifiers and RFC 6962 encodings. Keys and files are others'.
package pki

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// MarshalPublicKey returns pub as DER SubjectPublicKeyInfo.
func MarshalPublicKey(pub crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("encode public key: %w", err)
	}
	return der, nil
}

// LogID is the identity of a Rekor v1 or CT log: SHA-256 of its key's DER
// SubjectPublicKeyInfo (RFC 6962 §3.2; contract: rekor-v1.md §3).
func LogID(spki []byte) [32]byte { return sha256.Sum256(spki) }

// PublicKeyPEM wraps a DER SubjectPublicKeyInfo as PEM.
func PublicKeyPEM(spki []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki})
}

// CertificatesPEM concatenates chain as PEM, each block ending in a newline.
func CertificatesPEM(chain []*x509.Certificate) []byte {
	var out []byte
	for _, c := range chain {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}

// ParseCertificatesPEM reads concatenated PEM certificates. Anything else in
// data but white space is an error, and so is an empty list.
func ParseCertificatesPEM(data []byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for rest := data; ; {
		block, next := pem.Decode(rest)
		if block == nil {
			if !blank(rest) {
				return nil, errors.New("trailing data that is not PEM")
			}
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("PEM block is a %q, not a certificate", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(chain)+1, err)
		}
		chain, rest = append(chain, cert), next
	}
	if len(chain) == 0 {
		return nil, errors.New("no certificate found")
	}
	return chain, nil
}

func blank(b []byte) bool {
	for _, c := range b {
		if c != ' ' && c != '\n' && c != '\r' && c != '\t' {
			return false
		}
	}
	return true
}
