package signing

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
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
	oidSHA256               = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}     // RFC 5754 §2
	oidECDSAWithSHA256      = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}          // RFC 5758 §3.2
)

// errNotPlain says that a token is none, or not in the one form that plainToken has.
var errNotPlain = errors.New("it is not a timestamp response in plain form")

// plainToken is a granted RFC 3161 response in the one form that sigstack's authority gives,
// and others do: SHA-256 throughout, one signer with ECDSA, no certificates, no extensions,
// and no signed attributes but the four below. Whatever else there is, it is not; upstream's
// library reads that, and has the last word on whatever is refused here.
type plainToken struct {
	info    []byte // TSTInfo, DER
	imprint []byte // of what was stamped
	at      time.Time
	nonce   *big.Int // nil: there is none

	attributes []byte // those that are signed, as a SET
	infoDigest []byte // the attribute messageDigest
	signedAt   time.Time
	certDigest []byte // the attribute signingCertificateV2
	issuer     []byte // of the signer's certificate, DER
	serial     *big.Int
	signature  []byte // ASN.1 ECDSA over attributes
}

// readPlainToken reads a response. The error is errNotPlain.
func readPlainToken(response []byte) (t plainToken, err error) {
	input := cryptobyte.String(response)
	var resp, status, content, wrapped, data cryptobyte.String
	var granted, version int
	ok := input.ReadASN1(&resp, tag.SEQUENCE) && input.Empty() &&
		resp.ReadASN1(&status, tag.SEQUENCE) && status.ReadASN1Integer(&granted) && status.Empty() && granted == 0 &&
		resp.ReadASN1(&content, tag.SEQUENCE) && resp.Empty() &&
		readOID(&content, oidSignedData) && content.ReadASN1(&wrapped, explicit(0)) && content.Empty() &&
		wrapped.ReadASN1(&data, tag.SEQUENCE) && wrapped.Empty() &&
		data.ReadASN1Integer(&version) && version == 3
	var algorithms, enclosed, octets, info, certificates, signers, signer cryptobyte.String
	ok = ok && data.ReadASN1(&algorithms, tag.SET) && readAlgorithm(&algorithms, oidSHA256) && algorithms.Empty() &&
		data.ReadASN1(&enclosed, tag.SEQUENCE) && readOID(&enclosed, oidTSTInfo) &&
		enclosed.ReadASN1(&octets, explicit(0)) && enclosed.Empty() &&
		octets.ReadASN1(&info, tag.OCTET_STRING) && octets.Empty() &&
		data.ReadOptionalASN1(&certificates, nil, explicit(0)) && certificates.Empty() &&
		data.ReadASN1(&signers, tag.SET) && data.Empty() &&
		signers.ReadASN1(&signer, tag.SEQUENCE) && signers.Empty()
	if !ok || !t.readInfo(info) || !t.readSigner(signer) {
		return plainToken{}, errNotPlain
	}
	return t, nil
}

// readInfo reads TSTInfo (RFC 3161 §2.4.2).
func (t *plainToken) readInfo(der cryptobyte.String) bool {
	t.info = der
	var info, imprint, digest cryptobyte.String
	var policy asn1.ObjectIdentifier
	var version int
	serial := new(big.Int)
	ok := der.ReadASN1(&info, tag.SEQUENCE) && der.Empty() &&
		info.ReadASN1Integer(&version) && version == 1 && info.ReadASN1ObjectIdentifier(&policy) &&
		info.ReadASN1(&imprint, tag.SEQUENCE) && readAlgorithm(&imprint, oidSHA256) &&
		imprint.ReadASN1(&digest, tag.OCTET_STRING) && imprint.Empty() && len(digest) == sha256.Size &&
		info.ReadASN1Integer(serial) && info.ReadASN1GeneralizedTime(&t.at) &&
		info.SkipOptionalASN1(tag.SEQUENCE) && // accuracy
		!info.PeekASN1Tag(tag.BOOLEAN) // ordering, which nobody states to be FALSE
	if !ok {
		return false
	}
	t.imprint = digest
	if info.PeekASN1Tag(tag.INTEGER) {
		t.nonce = new(big.Int)
		if !info.ReadASN1Integer(t.nonce) {
			return false
		}
	}
	return info.SkipOptionalASN1(explicit(0)) && info.Empty() // the authority's name, its own word
}

// readSigner reads a SignerInfo (RFC 5652 §5.3).
func (t *plainToken) readSigner(signer cryptobyte.String) bool {
	var version int
	var id, issuer, attributes, signature cryptobyte.String
	t.serial = new(big.Int)
	ok := signer.ReadASN1Integer(&version) && version == 1 &&
		signer.ReadASN1(&id, tag.SEQUENCE) && id.ReadASN1Element(&issuer, tag.SEQUENCE) && id.ReadASN1Integer(t.serial) && id.Empty() &&
		readAlgorithm(&signer, oidSHA256) &&
		signer.ReadASN1Element(&attributes, explicit(0)) &&
		readAlgorithm(&signer, oidECDSAWithSHA256) &&
		signer.ReadASN1(&signature, tag.OCTET_STRING) && signer.Empty()
	if !ok {
		return false
	}
	t.issuer, t.signature = issuer, signature
	// They are signed as the SET that they are (RFC 5652 §5.4).
	t.attributes = append([]byte{byte(tag.SET)}, attributes[1:]...)
	return t.readAttributes()
}

func (t *plainToken) readAttributes() bool {
	var set cryptobyte.String
	all := cryptobyte.String(t.attributes)
	if !all.ReadASN1(&set, tag.SET) {
		return false
	}
	seen := map[string]bool{}
	for !set.Empty() {
		var attribute, values cryptobyte.String
		var oid asn1.ObjectIdentifier
		ok := set.ReadASN1(&attribute, tag.SEQUENCE) && attribute.ReadASN1ObjectIdentifier(&oid) &&
			attribute.ReadASN1(&values, tag.SET) && attribute.Empty()
		if !ok || seen[oid.String()] || !t.readAttribute(oid, &values) || !values.Empty() {
			return false
		}
		seen[oid.String()] = true
	}
	return seen[oidContentType.String()] && t.infoDigest != nil && t.certDigest != nil && !t.signedAt.IsZero()
}

func (t *plainToken) readAttribute(oid asn1.ObjectIdentifier, value *cryptobyte.String) bool {
	var digest cryptobyte.String
	switch {
	case oid.Equal(oidContentType):
		return readOID(value, oidTSTInfo)
	case oid.Equal(oidSigningTime):
		return value.ReadASN1UTCTime(&t.signedAt)
	case oid.Equal(oidMessageDigest):
		ok := value.ReadASN1(&digest, tag.OCTET_STRING)
		t.infoDigest = digest
		return ok
	case oid.Equal(oidSigningCertificateV2):
		// The first of the certificates is the signer's; its hash is SHA-256 unless it says
		// otherwise (RFC 5035 §4), which is not plain.
		var attribute, certs, first cryptobyte.String
		ok := value.ReadASN1(&attribute, tag.SEQUENCE) && attribute.ReadASN1(&certs, tag.SEQUENCE) && attribute.Empty() &&
			certs.ReadASN1(&first, tag.SEQUENCE) && certs.Empty() && first.ReadASN1(&digest, tag.OCTET_STRING)
		t.certDigest = digest
		return ok
	}
	return false
}

// isBy reports whether the holder of leaf stamped content. That leaf is an authority's, and
// valid, is not asked here.
func (t plainToken) isBy(leaf *x509.Certificate, content []byte) bool {
	key, ok := leaf.PublicKey.(*ecdsa.PublicKey)
	if !ok || t.signedAt.Before(leaf.NotBefore) || t.signedAt.After(leaf.NotAfter) {
		return false
	}
	if !bytes.Equal(t.issuer, leaf.RawIssuer) || t.serial.Cmp(leaf.SerialNumber) != 0 {
		return false
	}
	same := func(digest, data []byte) bool {
		sum := sha256.Sum256(data)
		return bytes.Equal(digest, sum[:])
	}
	signed := sha256.Sum256(t.attributes)
	return same(t.imprint, content) && same(t.infoDigest, t.info) && same(t.certDigest, leaf.Raw) &&
		ecdsa.VerifyASN1(key, signed[:], t.signature)
}

// explicit is the tag of a context-specific field.
func explicit(n uint8) tag.Tag { return tag.Tag(n).ContextSpecific().Constructed() }

func readOID(from *cryptobyte.String, want asn1.ObjectIdentifier) bool {
	var oid asn1.ObjectIdentifier
	return from.ReadASN1ObjectIdentifier(&oid) && oid.Equal(want)
}

// readAlgorithm reads an AlgorithmIdentifier whose parameters are left out or NULL.
func readAlgorithm(from *cryptobyte.String, want asn1.ObjectIdentifier) bool {
	var algorithm, null cryptobyte.String
	if !from.ReadASN1(&algorithm, tag.SEQUENCE) || !readOID(&algorithm, want) {
		return false
	}
	return algorithm.Empty() || algorithm.ReadASN1(&null, tag.NULL) && null.Empty() && algorithm.Empty()
}
