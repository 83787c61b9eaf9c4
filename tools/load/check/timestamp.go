package check

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Object identifiers of timestamps (RFC 3161, RFC 5652, RFC 5816).
var (
	oidTSTInfo       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 1, 4}
	oidContentType   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidMessageDigest = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	oidSigningCertV2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 47}
	oidSHA256        = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	oidSHA384        = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2}
	oidSHA512        = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 3}
)

// TSA verifies the timestamps of one authority. It is safe for concurrent use.
type TSA struct{ leaf *x509.Certificate }

// NewTSA knows an authority by its chain, leaf first and root last, which is
// verified at now.
func NewTSA(chain []*x509.Certificate, now time.Time) (*TSA, error) {
	if err := verifyChain(chain, x509.ExtKeyUsageTimeStamping, now); err != nil {
		return nil, fmt.Errorf("verify the timestamp authority's chain: %w", err)
	}
	if chain[0].IsCA {
		return nil, errors.New("the first certificate of the timestamp authority's chain is an authority's, want the signer's")
	}
	return &TSA{leaf: chain[0]}, nil
}

// Query encodes a request for a timestamp over a SHA-256 digest, without
// certificates.
func Query(digest [sha256.Size]byte, nonce *big.Int) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(1)
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(oidSHA256)
				b.AddASN1NULL()
			})
			b.AddASN1OctetString(digest[:])
		})
		b.AddASN1BigInt(nonce)
	})
	return b.Bytes()
}

// Timestamp verifies an answer to a Query made about now, and returns its time:
// the CMS signature by the authority's certificate, what it was made over, the
// nonce and the time.
func (t *TSA) Timestamp(answer []byte, digest [sha256.Size]byte, nonce *big.Int, now time.Time) (time.Time, error) {
	token, err := parseTimestamp(answer)
	if err != nil {
		return time.Time{}, err
	}
	if err := t.checkSigned(token); err != nil {
		return time.Time{}, err
	}
	info, err := parseTSTInfo(token.content)
	switch {
	case err != nil:
		return time.Time{}, err
	case !info.hash.Equal(oidSHA256) || !bytes.Equal(info.digest, digest[:]):
		return time.Time{}, Wrong(Imprint, "%x, want %x", info.digest, digest)
	case info.nonce == nil || info.nonce.Cmp(nonce) != 0:
		return time.Time{}, Wrong(Nonce, "%v, want %v", info.nonce, nonce)
	case now.Sub(info.at).Abs() > MaxSkew:
		return time.Time{}, Wrong(Time, "%v, %v from now", info.at, now.Sub(info.at))
	case info.at.Before(t.leaf.NotBefore) || info.at.After(t.leaf.NotAfter):
		return time.Time{}, Wrong(Time, "%v is not in the life of the authority's certificate", info.at)
	}
	return info.at, nil
}

// signedToken is a CMS SignedData with one signer. Nothing of it is verified.
type signedToken struct {
	content   []byte // DER TSTInfo
	issuer    []byte // of the signer's certificate, DER
	serial    *big.Int
	digest    asn1.ObjectIdentifier
	attrs     []byte // signed attributes, DER without tag and length
	signature []byte
}

const context0 = cbasn1.Tag(0x80 | 0x20)

// parseTimestamp reads a TimeStampResp (RFC 3161 §2.4.2).
func parseTimestamp(der []byte) (signedToken, error) {
	unreadable := Wrong(Malformed, "not a timestamp response: %.64x", der)
	input := cryptobyte.String(der)
	var resp, status cryptobyte.String
	var code int
	if !input.ReadASN1(&resp, cbasn1.SEQUENCE) || !input.Empty() ||
		!resp.ReadASN1(&status, cbasn1.SEQUENCE) || !status.ReadASN1Integer(&code) {
		return signedToken{}, unreadable
	}
	if code != 0 && code != 1 {
		return signedToken{}, Wrong(Refused, "PKIStatus %d", code)
	}
	var info, wrapped, data, encap, signers, signer cryptobyte.String
	if !resp.ReadASN1(&info, cbasn1.SEQUENCE) || !resp.Empty() ||
		!info.SkipASN1(cbasn1.OBJECT_IDENTIFIER) || !info.ReadASN1(&wrapped, context0) || !info.Empty() ||
		!wrapped.ReadASN1(&data, cbasn1.SEQUENCE) || !wrapped.Empty() ||
		!data.SkipASN1(cbasn1.INTEGER) || !data.SkipASN1(cbasn1.SET) || !data.ReadASN1(&encap, cbasn1.SEQUENCE) ||
		!data.SkipOptionalASN1(context0) || !data.SkipOptionalASN1(context0|1) || // certificates, revocation lists
		!data.ReadASN1(&signers, cbasn1.SET) || !data.Empty() ||
		!signers.ReadASN1(&signer, cbasn1.SEQUENCE) || !signers.Empty() {
		return signedToken{}, unreadable
	}
	var token signedToken
	if !readEncapsulated(encap, &token) || !readSigner(signer, &token) {
		return signedToken{}, unreadable
	}
	return token, nil
}

func readEncapsulated(encap cryptobyte.String, token *signedToken) bool {
	var oid asn1.ObjectIdentifier
	var wrapped, content cryptobyte.String
	ok := encap.ReadASN1ObjectIdentifier(&oid) && oid.Equal(oidTSTInfo) && encap.ReadASN1(&wrapped, context0) && encap.Empty() &&
		wrapped.ReadASN1(&content, cbasn1.OCTET_STRING) && wrapped.Empty()
	token.content = content
	return ok
}

// readSigner reads a SignerInfo that names its certificate by issuer and serial
// number, the only form that RFC 3161's servers use.
func readSigner(s cryptobyte.String, token *signedToken) bool {
	var sid, issuer, digest, attrs, signature cryptobyte.String
	token.serial = new(big.Int)
	ok := s.SkipASN1(cbasn1.INTEGER) && s.ReadASN1(&sid, cbasn1.SEQUENCE) &&
		sid.ReadASN1Element(&issuer, cbasn1.SEQUENCE) && sid.ReadASN1Integer(token.serial) && sid.Empty() &&
		s.ReadASN1(&digest, cbasn1.SEQUENCE) && digest.ReadASN1ObjectIdentifier(&token.digest) &&
		s.ReadASN1(&attrs, context0) && s.SkipASN1(cbasn1.SEQUENCE) &&
		s.ReadASN1(&signature, cbasn1.OCTET_STRING) && s.SkipOptionalASN1(context0|1) && s.Empty()
	token.issuer, token.attrs, token.signature = issuer, attrs, signature
	return ok
}

// checkSigned verifies who signed, the signed attributes, and the signature over
// them (RFC 5652 §5.4, RFC 5816 §2.2.1).
func (t *TSA) checkSigned(token signedToken) error {
	if !bytes.Equal(token.issuer, t.leaf.RawIssuer) || token.serial.Cmp(t.leaf.SerialNumber) != 0 {
		return Wrong(Signer, "certificate %x, want %x", token.serial, t.leaf.SerialNumber)
	}
	attrs, err := parseAttributes(token.attrs)
	if err != nil {
		return err
	}
	hash, sum := hashOf(token.digest, token.content)
	var contentType asn1.ObjectIdentifier
	var digest cryptobyte.String
	if a := attrs[oidContentType.String()]; !a.ReadASN1ObjectIdentifier(&contentType) || !contentType.Equal(oidTSTInfo) {
		return Wrong(Signature, "the signed content type is not a timestamp's")
	}
	if a := attrs[oidMessageDigest.String()]; !a.ReadASN1(&digest, cbasn1.OCTET_STRING) || sum == nil || !bytes.Equal(digest, sum) {
		return Wrong(Signature, "the signed digest is not the content's")
	}
	if err := t.checkSigningCertificate(attrs[oidSigningCertV2.String()]); err != nil {
		return err
	}
	// What is signed is the SET, not the context tag that stands for it.
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SET, func(b *cryptobyte.Builder) { b.AddBytes(token.attrs) })
	signed, err := b.Bytes()
	if err != nil {
		return Wrong(Malformed, "%w", err)
	}
	if err := t.leaf.CheckSignature(algorithm(t.leaf.PublicKeyAlgorithm, hash), signed, token.signature); err != nil {
		return Wrong(Signature, "%w", err)
	}
	return nil
}

// parseAttributes reads attributes of one value each, by their names.
func parseAttributes(der []byte) (map[string]cryptobyte.String, error) {
	attrs := make(map[string]cryptobyte.String)
	for rest := cryptobyte.String(der); !rest.Empty(); {
		var attr, value cryptobyte.String
		var oid asn1.ObjectIdentifier
		if !rest.ReadASN1(&attr, cbasn1.SEQUENCE) || !attr.ReadASN1ObjectIdentifier(&oid) ||
			!attr.ReadASN1(&value, cbasn1.SET) || !attr.Empty() {
			return nil, Wrong(Malformed, "a signed attribute cannot be read")
		}
		if _, twice := attrs[oid.String()]; twice {
			return nil, Wrong(Malformed, "attribute %s is there twice", oid)
		}
		attrs[oid.String()] = value
	}
	return attrs, nil
}

// checkSigningCertificate compares the first certificate of a
// SigningCertificateV2 with the authority's.
func (t *TSA) checkSigningCertificate(attr cryptobyte.String) error {
	var signing, list, id, alg, certHash cryptobyte.String
	var present bool
	oid := oidSHA256
	ok := attr.ReadASN1(&signing, cbasn1.SEQUENCE) && signing.ReadASN1(&list, cbasn1.SEQUENCE) &&
		list.ReadASN1(&id, cbasn1.SEQUENCE) && id.ReadOptionalASN1(&alg, &present, cbasn1.SEQUENCE) &&
		(!present || alg.ReadASN1ObjectIdentifier(&oid)) && id.ReadASN1(&certHash, cbasn1.OCTET_STRING)
	if !ok {
		return Wrong(Signer, "the signed attributes do not say by whose certificate")
	}
	if _, sum := hashOf(oid, t.leaf.Raw); sum == nil || !bytes.Equal(certHash, sum) {
		return Wrong(Signer, "the signed attributes name another certificate")
	}
	return nil
}

// hashOf hashes data; the sum is nil for unknown algorithms.
func hashOf(oid asn1.ObjectIdentifier, data []byte) (crypto.Hash, []byte) {
	switch {
	case oid.Equal(oidSHA256):
		sum := sha256.Sum256(data)
		return crypto.SHA256, sum[:]
	case oid.Equal(oidSHA384):
		sum := sha512.Sum384(data)
		return crypto.SHA384, sum[:]
	case oid.Equal(oidSHA512):
		sum := sha512.Sum512(data)
		return crypto.SHA512, sum[:]
	}
	return 0, nil
}

func algorithm(key x509.PublicKeyAlgorithm, hash crypto.Hash) x509.SignatureAlgorithm {
	byHash := map[x509.PublicKeyAlgorithm]map[crypto.Hash]x509.SignatureAlgorithm{
		x509.ECDSA: {crypto.SHA256: x509.ECDSAWithSHA256, crypto.SHA384: x509.ECDSAWithSHA384, crypto.SHA512: x509.ECDSAWithSHA512},
		x509.RSA:   {crypto.SHA256: x509.SHA256WithRSA, crypto.SHA384: x509.SHA384WithRSA, crypto.SHA512: x509.SHA512WithRSA},
	}
	return byHash[key][hash]
}

// tstInfo is what a timestamp says.
type tstInfo struct {
	hash   asn1.ObjectIdentifier
	digest []byte
	at     time.Time
	nonce  *big.Int // nil if there is none
}

// parseTSTInfo reads a TSTInfo (RFC 3161 §2.4.2) with whole seconds.
func parseTSTInfo(der []byte) (tstInfo, error) {
	input := cryptobyte.String(der)
	var body, imprint, alg, digest cryptobyte.String
	var version int
	var info tstInfo
	if !input.ReadASN1(&body, cbasn1.SEQUENCE) || !input.Empty() ||
		!body.ReadASN1Integer(&version) || version != 1 || !body.SkipASN1(cbasn1.OBJECT_IDENTIFIER) ||
		!body.ReadASN1(&imprint, cbasn1.SEQUENCE) || !imprint.ReadASN1(&alg, cbasn1.SEQUENCE) ||
		!alg.ReadASN1ObjectIdentifier(&info.hash) || !imprint.ReadASN1(&digest, cbasn1.OCTET_STRING) ||
		!body.SkipASN1(cbasn1.INTEGER) || !body.ReadASN1GeneralizedTime(&info.at) ||
		!body.SkipOptionalASN1(cbasn1.SEQUENCE) || !body.SkipOptionalASN1(cbasn1.BOOLEAN) {
		return tstInfo{}, Wrong(Malformed, "the timestamp's content cannot be read")
	}
	info.digest = digest
	if body.PeekASN1Tag(cbasn1.INTEGER) {
		info.nonce = new(big.Int)
		if !body.ReadASN1Integer(info.nonce) {
			return tstInfo{}, Wrong(Malformed, "the nonce cannot be read")
		}
	}
	return info, nil
}
