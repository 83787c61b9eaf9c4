package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
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

// LeafIssuer makes code signing certificates (contract: ca.md §7) of one issuing
// CA. What x509.CreateCertificate makes of the same fields is the same to the
// byte; but a certificate and its precertificate are encoded once, together. It is
// as safe for concurrent use as its signer.
type LeafIssuer struct {
	signer    crypto.Signer
	public    crypto.PublicKey
	hash      crypto.Hash
	algorithm []byte // AlgorithmIdentifier
	name      []byte // Name
	keyID     []byte // Extension: authority key identifier
}

// Leaf holds what differs from one code signing certificate to the next.
type Leaf struct {
	Serial              *big.Int  // positive, of at most 20 octets
	NotBefore, NotAfter time.Time // whole seconds
	PublicKey           []byte    // DER SubjectPublicKeyInfo
	KeyID               []byte    // subject key identifier
	// Extensions follow those of every leaf, in this order.
	Extensions []pkix.Extension
}

// Draft is a certificate without its last extension and without a signature. What
// is signed is built from the same bytes each time, so that a certificate is its
// precertificate but for the last extension (RFC 6962 §3.1).
type Draft struct {
	issuer     *LeafIssuer
	head       []byte // version to subject public key
	extensions []byte
}

// NewLeafIssuer returns the issuer of a CA certificate, of which signer holds the
// ECDSA or RSA key. The certificate has a subject key identifier.
func NewLeafIssuer(cert *x509.Certificate, signer crypto.Signer) (*LeafIssuer, error) {
	if err := checkKey(cert, signer.Public()); err != nil {
		return nil, err
	}
	if len(cert.SubjectKeyId) == 0 {
		return nil, fmt.Errorf("certificate %s has no subject key identifier", cert.Subject)
	}
	hash, algorithm, err := signatureAlgorithm(signer.Public())
	if err != nil {
		return nil, fmt.Errorf("key of %s: %w", cert.Subject, err)
	}
	keyID, err := asn1.Marshal(struct {
		ID []byte `asn1:"tag:0"`
	}{cert.SubjectKeyId})
	if err != nil {
		return nil, fmt.Errorf("encode authority key identifier: %w", err)
	}
	authority, err := encodeExtensions(pkix.Extension{Id: oidAuthorityKeyID, Value: keyID})
	if err != nil {
		return nil, err
	}
	return &LeafIssuer{signer, signer.Public(), hash, algorithm, cert.RawSubject, authority}, nil
}

// signatureAlgorithm is the hash that goes with a CA's key, and the name of both in
// DER (RFC 5758 §3.2, RFC 4055 §5).
func signatureAlgorithm(public crypto.PublicKey) (crypto.Hash, []byte, error) {
	var hash crypto.Hash
	id := pkix.AlgorithmIdentifier{}
	switch k := public.(type) {
	case *rsa.PublicKey:
		hash = crypto.SHA256
		id = pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}, Parameters: asn1.NullRawValue}
	case *ecdsa.PublicKey:
		n := 0
		switch k.Curve {
		case elliptic.P256():
			hash, n = crypto.SHA256, 2
		case elliptic.P384():
			hash, n = crypto.SHA384, 3
		case elliptic.P521():
			hash, n = crypto.SHA512, 4
		default:
			return 0, nil, fmt.Errorf("curve %s is not supported", k.Curve.Params().Name)
		}
		id.Algorithm = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, n}
	default:
		return 0, nil, fmt.Errorf("%T is neither ECDSA nor RSA", public)
	}
	der, err := asn1.Marshal(id)
	if err != nil {
		return 0, nil, fmt.Errorf("encode signature algorithm: %w", err)
	}
	return hash, der, nil
}

// Draft encodes all of l.
func (i *LeafIssuer) Draft(l Leaf) (*Draft, error) {
	if l.Serial.Sign() <= 0 || l.Serial.BitLen() > 159 {
		return nil, errors.New("serial number is not positive or over 20 octets")
	}
	head, err := i.head(l)
	if err != nil {
		return nil, err
	}
	extensions, err := i.extensions(l)
	if err != nil {
		return nil, err
	}
	return &Draft{i, head, extensions}, nil
}

// head is all that comes before the extensions (RFC 5280 §4.1).
func (i *LeafIssuer) head(l Leaf) ([]byte, error) {
	b := cryptobyte.NewBuilder(make([]byte, 0, 256+len(i.name)+len(l.PublicKey)))
	b.AddASN1(cbasn1.Tag(0).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) { b.AddASN1Int64(2) })
	b.AddASN1BigInt(l.Serial)
	b.AddBytes(i.algorithm)
	b.AddBytes(i.name)
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		addTime(b, l.NotBefore)
		addTime(b, l.NotAfter)
	})
	b.AddASN1(cbasn1.SEQUENCE, func(*cryptobyte.Builder) {}) // subject
	b.AddBytes(l.PublicKey)
	head, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encode certificate: %w", err)
	}
	return head, nil
}

// addTime writes a time as RFC 5280 §4.1.2.5 wants it: two digits of the year up
// to 2049.
func addTime(b *cryptobyte.Builder, t time.Time) {
	if t = t.UTC(); t.Year() >= 2050 {
		b.AddASN1GeneralizedTime(t)
	} else {
		b.AddASN1UTCTime(t)
	}
}

// extensions are those of every leaf, and then l's.
func (i *LeafIssuer) extensions(l Leaf) ([]byte, error) {
	keyID, err := asn1.Marshal(l.KeyID)
	if err != nil {
		return nil, fmt.Errorf("encode subject key identifier: %w", err)
	}
	all, err := encodeExtensions(
		pkix.Extension{Id: oidKeyUsage, Critical: true, Value: []byte{0x03, 0x02, 0x07, 0x80}},                                    // digitalSignature
		pkix.Extension{Id: oidExtKeyUsage, Value: []byte{0x30, 0x0a, 0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x03}}, // codeSigning
		pkix.Extension{Id: oidSubjectKeyID, Value: keyID},
	)
	if err != nil {
		return nil, err
	}
	own, err := encodeExtensions(l.Extensions...)
	if err != nil {
		return nil, err
	}
	return append(append(all, i.keyID...), own...), nil
}

func encodeExtensions(extensions ...pkix.Extension) ([]byte, error) {
	b := cryptobyte.NewBuilder(make([]byte, 0, 128*len(extensions)))
	for _, e := range extensions {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(e.Id)
			if e.Critical {
				b.AddASN1Boolean(true)
			}
			b.AddASN1OctetString(e.Value)
		})
	}
	der, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encode extensions: %w", err)
	}
	return der, nil
}

// TBS is what a CT log signs: the TBSCertificate without the last extension.
func (d *Draft) TBS() ([]byte, error) { return d.tbs(nil) }

func (d *Draft) tbs(last []byte) ([]byte, error) {
	b := cryptobyte.NewBuilder(make([]byte, 0, len(d.head)+len(d.extensions)+len(last)+32))
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(d.head)
		b.AddASN1(extensionsTag, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddBytes(d.extensions)
				b.AddBytes(last)
			})
		})
	})
	der, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encode certificate: %w", err)
	}
	return der, nil
}

// Sign returns the DER of the draft with one more extension at its end, whose
// signature was verified. Errors wrap the signer's.
func (d *Draft) Sign(last pkix.Extension) ([]byte, error) {
	der, signed, signature, err := d.sign(last)
	if err != nil {
		return nil, err
	}
	if !d.issuer.verifies(signed, signature) {
		return nil, errors.New("the signer returned a signature that does not verify")
	}
	return der, nil
}

// SignUnverified is Sign without the verification, for a key in this process's
// memory whose signature is verified by whoever is given it next: a key elsewhere
// may return anything, and with RSA a wrong signature can tell its private half.
func (d *Draft) SignUnverified(last pkix.Extension) ([]byte, error) {
	der, _, _, err := d.sign(last)
	return der, err
}

func (d *Draft) sign(last pkix.Extension) (der, digest, signature []byte, err error) {
	extension, err := encodeExtensions(last)
	if err != nil {
		return nil, nil, nil, err
	}
	tbs, err := d.tbs(extension)
	if err != nil {
		return nil, nil, nil, err
	}
	h := d.issuer.hash.New()
	h.Write(tbs)
	digest = h.Sum(nil)
	if signature, err = d.issuer.signer.Sign(rand.Reader, digest, d.issuer.hash); err != nil {
		return nil, nil, nil, fmt.Errorf("sign certificate: %w", err)
	}
	b := cryptobyte.NewBuilder(make([]byte, 0, len(tbs)+len(signature)+64))
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(tbs)
		b.AddBytes(d.issuer.algorithm)
		b.AddASN1BitString(signature)
	})
	if der, err = b.Bytes(); err != nil {
		return nil, nil, nil, fmt.Errorf("encode certificate: %w", err)
	}
	return der, digest, signature, nil
}

func (i *LeafIssuer) verifies(digest, signature []byte) bool {
	switch k := i.public.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(k, digest, signature)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(k, i.hash, digest, signature) == nil
	default:
		return false
	}
}
