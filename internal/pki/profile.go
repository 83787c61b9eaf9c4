package pki

import (
	"crypto"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // RFC 5280 §4.2.1.2 key identifiers, not a signature
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Lifetimes of the CA certificates (contract: ca.md §7).
const (
	RootLifetime         = 10 * 365 * 24 * time.Hour
	IntermediateLifetime = 3 * 365 * 24 * time.Hour
)

// NewRoot returns a self-signed CA certificate, valid from notBefore for
// RootLifetime, without extended key usage.
func NewRoot(key crypto.Signer, name pkix.Name, notBefore time.Time) (*x509.Certificate, error) {
	tmpl, err := caTemplate(key.Public(), name, notBefore, notBefore.Add(RootLifetime))
	if err != nil {
		return nil, err
	}
	return sign(tmpl, tmpl, key.Public(), key)
}

// NewIntermediate returns a CA certificate for pub with path length 0 and the
// one extended key usage eku, issued by parent and never outliving it.
func NewIntermediate(parent *x509.Certificate, parentKey crypto.Signer, pub crypto.PublicKey, name pkix.Name, eku x509.ExtKeyUsage, notBefore time.Time) (*x509.Certificate, error) {
	notAfter := earlier(notBefore.Add(IntermediateLifetime), parent.NotAfter)
	tmpl, err := caTemplate(pub, name, notBefore, notAfter)
	if err != nil {
		return nil, err
	}
	tmpl.MaxPathLenZero = true
	tmpl.ExtKeyUsage = []x509.ExtKeyUsage{eku}
	return sign(tmpl, parent, pub, parentKey)
}

// NewTimestampLeaf returns the certificate that timestamps are signed with: its
// only extended key usage is timeStamping, critical (RFC 3161 §2.3).
func NewTimestampLeaf(parent *x509.Certificate, parentKey crypto.Signer, pub crypto.PublicKey, name pkix.Name, notBefore time.Time) (*x509.Certificate, error) {
	serial, err := NewSerial()
	if err != nil {
		return nil, err
	}
	skid, err := SubjectKeyID(pub)
	if err != nil {
		return nil, err
	}
	// x509 writes ExtKeyUsage non-critical, so the extension is given whole.
	usage, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	if err != nil {
		return nil, fmt.Errorf("encode extended key usage: %w", err)
	}
	tmpl := &x509.Certificate{
		SerialNumber:    serial,
		Subject:         name,
		NotBefore:       notBefore.UTC(),
		NotAfter:        earlier(notBefore.Add(IntermediateLifetime), parent.NotAfter).UTC(),
		KeyUsage:        x509.KeyUsageDigitalSignature,
		SubjectKeyId:    skid,
		ExtraExtensions: []pkix.Extension{{Id: oidExtKeyUsage, Critical: true, Value: usage}},
	}
	return sign(tmpl, parent, pub, parentKey)
}

// NewSerial returns a random positive serial number of 159 bits, which DER
// encodes in at most 20 octets (RFC 5280 §4.1.2.2).
func NewSerial() (*big.Int, error) {
	limit := new(big.Int).Lsh(big.NewInt(1), 159)
	for {
		serial, err := rand.Int(rand.Reader, limit)
		if err != nil {
			return nil, fmt.Errorf("make serial number: %w", err)
		}
		if serial.Sign() > 0 {
			return serial, nil
		}
	}
}

// SubjectKeyID returns the 20-byte key identifier of RFC 5280 §4.2.1.2 (1):
// SHA-1 of the public key's bits.
func SubjectKeyID(pub crypto.PublicKey) ([]byte, error) {
	der, err := MarshalPublicKey(pub)
	if err != nil {
		return nil, err
	}
	return SubjectKeyIDOf(der)
}

// SubjectKeyIDOf is SubjectKeyID of a DER SubjectPublicKeyInfo.
func SubjectKeyIDOf(der []byte) ([]byte, error) {
	input := cryptobyte.String(der)
	var spki cryptobyte.String
	var bits []byte
	if !input.ReadASN1(&spki, cbasn1.SEQUENCE) || !input.Empty() || !spki.SkipASN1(cbasn1.SEQUENCE) ||
		!spki.ReadASN1BitStringAsBytes(&bits) || !spki.Empty() {
		return nil, errors.New("read public key: not a SubjectPublicKeyInfo")
	}
	sum := sha1.Sum(bits) //nolint:gosec // an identifier, not a signature
	return sum[:], nil
}

func caTemplate(pub crypto.PublicKey, name pkix.Name, notBefore, notAfter time.Time) (*x509.Certificate, error) {
	if name.CommonName == "" || len(name.Organization) == 0 {
		return nil, errors.New("a CA certificate needs a common name and an organization")
	}
	serial, err := NewSerial()
	if err != nil {
		return nil, err
	}
	skid, err := SubjectKeyID(pub)
	if err != nil {
		return nil, err
	}
	return &x509.Certificate{
		SerialNumber:          serial,
		Subject:               name,
		NotBefore:             notBefore.UTC(),
		NotAfter:              notAfter.UTC(),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		SubjectKeyId:          skid,
	}, nil
}

// sign creates and re-parses a certificate, so that callers hold what was made.
func sign(tmpl, parent *x509.Certificate, pub crypto.PublicKey, parentKey crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, pub, parentKey)
	if err != nil {
		return nil, fmt.Errorf("sign certificate %q: %w", tmpl.Subject.CommonName, err)
	}
	return x509.ParseCertificate(der)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
