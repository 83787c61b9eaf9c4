package check

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

var oidSCTList = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}

// ctLogs are the keys of CT logs by log ID.
type ctLogs map[[sha256.Size]byte]*ecdsa.PublicKey

func newCTLogs(keys []crypto.PublicKey) (ctLogs, error) {
	logs := ctLogs{}
	for _, key := range keys {
		k, ok := key.(*ecdsa.PublicKey)
		if !ok {
			return nil, fmt.Errorf("a CT log's key is %T, want ECDSA", key)
		}
		id, err := keyID(k)
		if err != nil {
			return nil, err
		}
		logs[id] = k
	}
	return logs, nil
}

// sct is a signed certificate timestamp (RFC 6962 §3.2).
type sct struct {
	logID      [sha256.Size]byte
	millis     uint64
	extensions []byte
	signature  []byte // ECDSA with SHA-256
}

// check verifies the one SCT that is embedded in leaf.
func (logs ctLogs) check(leaf, issuer *x509.Certificate, now time.Time) error {
	ext, ok := extension(leaf, oidSCTList)
	if !ok {
		return Wrong(SCT, "none is embedded")
	}
	s, err := parseSCTs(ext.Value)
	if err != nil {
		return Wrong(SCT, "%w", err)
	}
	key, ok := logs[s.logID]
	if !ok {
		return Wrong(SCT, "log %x is not a trusted one", s.logID)
	}
	if at := time.UnixMilli(int64(s.millis)); now.Sub(at).Abs() > MaxSkew {
		return Wrong(SCT, "its time is %v", at.UTC())
	}
	tbs, err := withoutSCTs(leaf.RawTBSCertificate)
	if err != nil {
		return Wrong(SCT, "%w", err)
	}
	message, err := s.signedBytes(tbs, sha256.Sum256(issuer.RawSubjectPublicKeyInfo))
	if err != nil {
		return Wrong(SCT, "%w", err)
	}
	if !verifySignature(key, message, s.signature) {
		return Wrong(SCT, "it does not verify with the log's key")
	}
	return nil
}

// parseSCTs reads the extension's value: an OCTET STRING with a list of exactly
// one SCT.
func parseSCTs(value []byte) (sct, error) {
	input := cryptobyte.String(value)
	var octets, list, one, extensions, signature cryptobyte.String
	if !input.ReadASN1(&octets, cbasn1.OCTET_STRING) || !input.Empty() ||
		!octets.ReadUint16LengthPrefixed(&list) || !octets.Empty() ||
		!list.ReadUint16LengthPrefixed(&one) {
		return sct{}, errors.New("the list of SCTs cannot be read")
	}
	if !list.Empty() {
		return sct{}, errors.New("there is more than one")
	}
	var s sct
	var version, hash, algorithm uint8
	if !one.ReadUint8(&version) || !one.CopyBytes(s.logID[:]) || !one.ReadUint64(&s.millis) ||
		!one.ReadUint16LengthPrefixed(&extensions) || !one.ReadUint8(&hash) || !one.ReadUint8(&algorithm) ||
		!one.ReadUint16LengthPrefixed(&signature) || !one.Empty() {
		return sct{}, errors.New("the SCT cannot be read")
	}
	if version != 0 || hash != 4 || algorithm != 3 {
		return sct{}, fmt.Errorf("version %d, hash %d and algorithm %d, want v1, SHA-256 and ECDSA", version, hash, algorithm)
	}
	s.extensions, s.signature = extensions, signature
	return s, nil
}

// signedBytes is what the log signed: the certificate without its SCT.
func (s sct) signedBytes(tbs []byte, issuerKey [sha256.Size]byte) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddBytes([]byte{0, 0}) // v1, certificate_timestamp
	b.AddUint64(s.millis)
	b.AddUint16(1) // precert_entry
	b.AddBytes(issuerKey[:])
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(tbs) })
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(s.extensions) })
	return b.Bytes()
}

// withoutSCTs returns a TBSCertificate without its list of SCTs, all else byte
// for byte.
func withoutSCTs(tbs []byte) ([]byte, error) {
	unreadable := errors.New("the certificate cannot be read")
	input := cryptobyte.String(tbs)
	var fields cryptobyte.String
	if !input.ReadASN1(&fields, cbasn1.SEQUENCE) || !input.Empty() {
		return nil, unreadable
	}
	explicit := cbasn1.Tag(3).ContextSpecific().Constructed()
	var before []byte
	for !fields.PeekASN1Tag(explicit) {
		var field cryptobyte.String
		var tag cbasn1.Tag
		if !fields.ReadAnyASN1Element(&field, &tag) {
			return nil, unreadable
		}
		before = append(before, field...)
	}
	var wrapped, extensions cryptobyte.String
	if !fields.ReadASN1(&wrapped, explicit) || !fields.Empty() ||
		!wrapped.ReadASN1(&extensions, cbasn1.SEQUENCE) || !wrapped.Empty() {
		return nil, unreadable
	}
	kept, err := otherExtensions(extensions)
	if err != nil {
		return nil, err
	}
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(before)
		b.AddASN1(explicit, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(kept) })
		})
	})
	return b.Bytes()
}

func otherExtensions(extensions cryptobyte.String) ([]byte, error) {
	var kept []byte
	for !extensions.Empty() {
		var element, inner cryptobyte.String
		var oid asn1.ObjectIdentifier
		if !extensions.ReadASN1Element(&element, cbasn1.SEQUENCE) {
			return nil, errors.New("an extension cannot be read")
		}
		content := element
		if !content.ReadASN1(&inner, cbasn1.SEQUENCE) || !inner.ReadASN1ObjectIdentifier(&oid) {
			return nil, errors.New("an extension's name cannot be read")
		}
		if !oid.Equal(oidSCTList) {
			kept = append(kept, element...)
		}
	}
	return kept, nil
}
