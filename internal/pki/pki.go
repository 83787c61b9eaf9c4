// Package pki holds the certificate side of the stack as pure functions: the
// profiles of its CAs (contract: ca.md §7, tsa-and-others.md §1), chain checks,
// PEM, object identifiers and RFC 6962 encodings. Keys and files are others'.
package pki

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
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
	return appendPEM(nil, "PUBLIC KEY", spki)
}

// CertificatesPEM concatenates chain as PEM, each block ending in a newline.
func CertificatesPEM(chain []*x509.Certificate) []byte {
	var out []byte
	for _, c := range chain {
		out = appendPEM(out, "CERTIFICATE", c.Raw)
	}
	return out
}

// appendPEM appends what encoding/pem makes of a block without headers. Every entry
// of a log has such blocks, for which that package's two writers are slow.
func appendPEM(out []byte, kind string, der []byte) []byte {
	const column, perLine = 64, 48 // characters, and the bytes that they are
	size := base64.StdEncoding.EncodedLen(len(der))
	out = slices.Grow(out, size+size/column+len("-----BEGIN -----\n\n-----END -----\n")+2*len(kind))
	out = append(append(append(out, "-----BEGIN "...), kind...), "-----\n"...)
	for line := range slices.Chunk(der, perLine) {
		out = append(base64.StdEncoding.AppendEncode(out, line), '\n')
	}
	return append(append(append(out, "-----END "...), kind...), "-----\n"...)
}

// ParseCertificatesPEM reads concatenated PEM certificates. Anything else in
// data but white space is an error, so that a damaged block is never skipped,
// and so is an empty list.
func ParseCertificatesPEM(data []byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for rest := bytes.TrimSpace(data); len(rest) > 0; {
		block, next, err := cutCertificate(rest)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(chain)+1, err)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(chain)+1, err)
		}
		chain, rest = append(chain, cert), bytes.TrimSpace(next)
	}
	if len(chain) == 0 {
		return nil, errors.New("no certificate found")
	}
	return chain, nil
}

// cutCertificate decodes the block that data starts with. pem.Decode alone would
// pass over everything that it does not understand.
func cutCertificate(data []byte) (block *pem.Block, rest []byte, err error) {
	const begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
	if !bytes.HasPrefix(data, []byte(begin)) {
		return nil, nil, fmt.Errorf("%.30q is not the start of a PEM certificate", data)
	}
	_, rest, _ = bytes.Cut(data, []byte(end))
	block, extra := pem.Decode(data[:len(data)-len(rest)])
	if block == nil || len(extra) > 0 {
		return nil, nil, errors.New("PEM block is damaged")
	}
	return block, rest, nil
}
