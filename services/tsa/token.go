package tsa

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"math/big"
	"time"

	"golang.org/x/crypto/cryptobyte"
	tag "golang.org/x/crypto/cryptobyte/asn1"
)

// Object identifiers of a token.
var (
	oidSignedData           = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}         // RFC 5652 §5.1
	oidTSTInfo              = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 1, 4}  // RFC 3161 §2.4.2
	oidContentType          = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}         // RFC 5652 §11.1
	oidMessageDigest        = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}         // RFC 5652 §11.2
	oidSigningTime          = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 5}         // RFC 5652 §11.3
	oidSigningCertificateV2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 47} // RFC 5035 §3
)

var hashOID = map[crypto.Hash]asn1.ObjectIdentifier{
	crypto.SHA256: {2, 16, 840, 1, 101, 3, 4, 2, 1},
	crypto.SHA384: {2, 16, 840, 1, 101, 3, 4, 2, 2},
	crypto.SHA512: {2, 16, 840, 1, 101, 3, 4, 2, 3},
}

// signatureOID is ECDSA with the given hash (RFC 5758 §3.2).
var signatureOID = map[crypto.Hash]asn1.ObjectIdentifier{
	crypto.SHA256: {1, 2, 840, 10045, 4, 3, 2},
	crypto.SHA384: {1, 2, 840, 10045, 4, 3, 3},
}

// Tags of context-specific fields.
var (
	explicit0     = tag.Tag(0).ContextSpecific().Constructed()
	directoryName = tag.Tag(4).ContextSpecific().Constructed() // GeneralName, RFC 5280 §4.2.1.6
)

// accuracySeconds is what genTime may be off by: its fraction is dropped.
const accuracySeconds = 1

// tokenizer encodes and signs tokens. What is the same in every token of a
// signing certificate is encoded once. It is immutable.
//
// The encoding is our own because github.com/digitorus/timestamp, which parses
// requests here, fixes three things that the contract or the clock rule settle
// otherwise: it hashes the signing certificate with the request's algorithm
// instead of SHA-256, takes signingTime from the system clock, and verifies the
// chain's signatures for each token that embeds it.
type tokenizer struct {
	signer crypto.Signer
	hash   crypto.Hash // of content and signature
	policy asn1.ObjectIdentifier

	tsaName  []byte // TSTInfo.tsa
	signerID []byte // IssuerAndSerialNumber
	essAttr  []byte // signingCertificateV2 attribute
	certs    []byte // certificates field of a token that embeds them
}

func newTokenizer(chain []*x509.Certificate, signer crypto.Signer, policy asn1.ObjectIdentifier, whole bool) (*tokenizer, error) {
	hash, err := digestFor(signer.Public())
	if err != nil {
		return nil, err
	}
	leaf, embed := chain[0], chain[:1]
	if whole {
		embed = chain
	}
	t := &tokenizer{signer: signer, hash: hash, policy: policy}
	parts := []struct {
		dst *[]byte
		add func(*cryptobyte.Builder)
	}{
		{&t.tsaName, func(b *cryptobyte.Builder) { b.AddASN1(explicit0, generalName(leaf.RawSubject)) }},
		{&t.signerID, addIssuerAndSerial(leaf)},
		{&t.essAttr, addESS(leaf)},
		{&t.certs, func(b *cryptobyte.Builder) {
			b.AddASN1(explicit0, func(b *cryptobyte.Builder) {
				for _, c := range embed {
					b.AddBytes(c.Raw)
				}
			})
		}},
	}
	for _, p := range parts {
		if *p.dst, err = build(p.add); err != nil {
			return nil, fmt.Errorf("encode certificate fields: %w", err)
		}
	}
	return t, nil
}

// response returns the DER TimeStampResp granting q (RFC 3161 §2.4.2).
func (t *tokenizer) response(q query, serial *big.Int, at time.Time) ([]byte, error) {
	info, err := build(t.tstInfo(q, serial, at))
	if err != nil {
		return nil, fmt.Errorf("encode TSTInfo: %w", err)
	}
	attrs, err := build(t.attributes(t.digest(info), at))
	if err != nil {
		return nil, fmt.Errorf("encode signed attributes: %w", err)
	}
	// The signature covers the attributes as a SET, though the token carries
	// them under an implicit tag (RFC 5652 §5.4).
	set, err := build(wrap(tag.SET, attrs))
	if err != nil {
		return nil, fmt.Errorf("encode signed attributes: %w", err)
	}
	signature, err := t.signer.Sign(rand.Reader, t.digest(set), t.hash)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return build(func(b *cryptobyte.Builder) {
		b.AddASN1(tag.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(tag.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1Int64(0) }) // PKIStatus granted
			t.addToken(b, info, attrs, signature, q.certificates)
		})
	})
}

// tstInfo is what is attested (RFC 3161 §2.4.2). Ordering is left at its
// default, FALSE: two tokens of one second have no order.
func (t *tokenizer) tstInfo(q query, serial *big.Int, at time.Time) func(*cryptobyte.Builder) {
	return sequence(func(b *cryptobyte.Builder) {
		b.AddASN1Int64(1)
		b.AddASN1ObjectIdentifier(t.policy)
		b.AddASN1(tag.SEQUENCE, func(b *cryptobyte.Builder) { // MessageImprint
			b.AddASN1(tag.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(hashOID[q.hash])
				b.AddASN1NULL()
			})
			b.AddASN1OctetString(q.digest)
		})
		b.AddASN1BigInt(serial)
		b.AddASN1GeneralizedTime(at)
		b.AddASN1(tag.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1Int64(accuracySeconds) })
		if q.nonce != nil {
			b.AddASN1BigInt(q.nonce)
		}
		b.AddBytes(t.tsaName)
	})
}

// attributes lists the signed attributes in the order that DER wants of a SET
// OF, which is by encoding, so here the shorter first.
func (t *tokenizer) attributes(infoDigest []byte, at time.Time) func(*cryptobyte.Builder) {
	return func(b *cryptobyte.Builder) {
		addAttribute(b, oidContentType, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(oidTSTInfo) })
		addAttribute(b, oidSigningTime, func(b *cryptobyte.Builder) { addTime(b, at) })
		addAttribute(b, oidMessageDigest, func(b *cryptobyte.Builder) { b.AddASN1OctetString(infoDigest) })
		b.AddBytes(t.essAttr)
	}
}

// addToken adds the ContentInfo with the SignedData (RFC 5652 §3, §5.1).
func (t *tokenizer) addToken(b *cryptobyte.Builder, info, attrs, signature []byte, embed bool) {
	signedData := func(b *cryptobyte.Builder) {
		b.AddASN1Int64(3)
		b.AddASN1(tag.SET, algorithm(hashOID[t.hash]))
		b.AddASN1(tag.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(oidTSTInfo)
			b.AddASN1(explicit0, func(b *cryptobyte.Builder) { b.AddASN1OctetString(info) })
		})
		if embed {
			b.AddBytes(t.certs)
		}
		b.AddASN1(tag.SET, sequence(func(b *cryptobyte.Builder) { // SignerInfo
			b.AddASN1Int64(1)
			b.AddBytes(t.signerID)
			algorithm(hashOID[t.hash])(b)
			wrap(explicit0, attrs)(b)
			algorithm(signatureOID[t.hash])(b)
			b.AddASN1OctetString(signature)
		}))
	}
	b.AddASN1(tag.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oidSignedData)
		b.AddASN1(explicit0, sequence(signedData))
	})
}

func (t *tokenizer) digest(data []byte) []byte {
	h := t.hash.New()
	h.Write(data)
	return h.Sum(nil)
}

// addESS adds the signingCertificateV2 attribute, which binds the token to its
// certificate (RFC 5035 §3). The hash algorithm is left out: SHA-256 is the
// default.
func addESS(leaf *x509.Certificate) func(*cryptobyte.Builder) {
	sum := sha256.Sum256(leaf.Raw)
	certID := sequence(func(b *cryptobyte.Builder) {
		b.AddASN1OctetString(sum[:])
		b.AddASN1(tag.SEQUENCE, func(b *cryptobyte.Builder) { // IssuerSerial
			b.AddASN1(tag.SEQUENCE, generalName(leaf.RawIssuer))
			b.AddASN1BigInt(leaf.SerialNumber)
		})
	})
	return func(b *cryptobyte.Builder) {
		addAttribute(b, oidSigningCertificateV2, sequence(sequence(certID)))
	}
}

func addIssuerAndSerial(leaf *x509.Certificate) func(*cryptobyte.Builder) {
	return sequence(func(b *cryptobyte.Builder) {
		b.AddBytes(leaf.RawIssuer)
		b.AddASN1BigInt(leaf.SerialNumber)
	})
}

// addTime adds a CMS Time: UTCTime until the year 2049 (RFC 5652 §11.3).
func addTime(b *cryptobyte.Builder, at time.Time) {
	if at.Year() < 2050 {
		b.AddASN1UTCTime(at)
		return
	}
	b.AddASN1GeneralizedTime(at)
}

func addAttribute(b *cryptobyte.Builder, oid asn1.ObjectIdentifier, value func(*cryptobyte.Builder)) {
	b.AddASN1(tag.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oid)
		b.AddASN1(tag.SET, value)
	})
}

// generalName is a distinguished name as GeneralName.
func generalName(name []byte) func(*cryptobyte.Builder) { return wrap(directoryName, name) }

// algorithm is an AlgorithmIdentifier without parameters (RFC 5754 §2).
func algorithm(oid asn1.ObjectIdentifier) func(*cryptobyte.Builder) {
	return sequence(func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(oid) })
}

func sequence(add func(*cryptobyte.Builder)) func(*cryptobyte.Builder) {
	return func(b *cryptobyte.Builder) { b.AddASN1(tag.SEQUENCE, add) }
}

func wrap(t tag.Tag, content []byte) func(*cryptobyte.Builder) {
	return func(b *cryptobyte.Builder) {
		b.AddASN1(t, func(b *cryptobyte.Builder) { b.AddBytes(content) })
	}
}

func build(add func(*cryptobyte.Builder)) ([]byte, error) {
	var b cryptobyte.Builder
	add(&b)
	return b.Bytes()
}
