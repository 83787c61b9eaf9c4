package sct

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"sigstack/internal/pki"
)

// Numbers of RFC 6962 §3.2 and RFC 5246 §7.4.1.4.1.
const (
	sctV1                = 0
	certificateTimestamp = 0
	precertEntry         = 1
	hashSHA256           = 4
	signatureRSA         = 1
	signatureECDSA       = 3
)

// maxAhead is how far a log's clock may be ahead: clients refuse timestamps of the
// future (RFC 6962 §5.2).
const maxAhead = time.Minute

// verifier holds answers against a log's key.
type verifier struct {
	id  [32]byte
	key crypto.PublicKey
}

func newVerifier(spki []byte) (verifier, error) {
	key, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		return verifier{}, fmt.Errorf("parse CT log key: %w", err)
	}
	switch key.(type) {
	case *ecdsa.PublicKey, *rsa.PublicKey:
		return verifier{pki.LogID(spki), key}, nil
	default:
		return verifier{}, fmt.Errorf("CT log key is %T, neither ECDSA nor RSA", key)
	}
}

// answer is the log's (RFC 6962 §4.1).
type answer struct {
	Version    uint8  `json:"sct_version"`
	ID         []byte `json:"id"`
	Timestamp  uint64 `json:"timestamp"` // milliseconds since 1970
	Extensions []byte `json:"extensions"`
	Signature  []byte `json:"signature"` // TLS DigitallySigned
}

// verify checks that the log signed for the precertificate with this issuer key
// hash and TBS, and returns the SCT serialized (RFC 6962 §3.3).
func (v verifier) verify(response []byte, issuer [32]byte, tbs []byte, now time.Time) ([]byte, error) {
	var sct answer
	if err := json.Unmarshal(response, &sct); err != nil {
		return nil, fmt.Errorf("decode SCT: %w", err)
	}
	if sct.Version != sctV1 || !bytes.Equal(sct.ID, v.id[:]) {
		return nil, fmt.Errorf("SCT is of version %d and log %x, not of %x", sct.Version, sct.ID, v.id)
	}
	if latest := now.Add(maxAhead).UnixMilli(); latest < 0 || sct.Timestamp > uint64(latest) {
		return nil, fmt.Errorf("SCT is of %d ms, now is %d: the log's clock is wrong", sct.Timestamp, now.UnixMilli())
	}
	signed, err := sct.signedBytes(issuer, tbs)
	if err != nil {
		return nil, err
	}
	if err := v.verifySignature(signed, sct.Signature); err != nil {
		return nil, err
	}
	return sct.serialize()
}

// signedBytes is what an SCT for a precertificate signs (RFC 6962 §3.2).
func (a answer) signedBytes(issuer [32]byte, tbs []byte) ([]byte, error) {
	b := cryptobyte.NewBuilder(make([]byte, 0, len(tbs)+64))
	b.AddUint8(sctV1)
	b.AddUint8(certificateTimestamp)
	b.AddUint64(a.Timestamp)
	b.AddUint16(precertEntry)
	b.AddBytes(issuer[:])
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(tbs) })
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(a.Extensions) })
	signed, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encode what the SCT signs: %w", err)
	}
	return signed, nil
}

// serialize keeps extensions and signature as the log sent them.
func (a answer) serialize() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint8(a.Version)
	b.AddBytes(a.ID)
	b.AddUint64(a.Timestamp)
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(a.Extensions) })
	b.AddBytes(a.Signature)
	sct, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encode SCT: %w", err)
	}
	return sct, nil
}

// verifySignature checks a TLS DigitallySigned (RFC 5246 §4.7), SHA-256 only.
func (v verifier) verifySignature(message, signed []byte) error {
	s := cryptobyte.String(signed)
	var hash, algorithm uint8
	var signature cryptobyte.String
	if !s.ReadUint8(&hash) || !s.ReadUint8(&algorithm) || !s.ReadUint16LengthPrefixed(&signature) || !s.Empty() {
		return errors.New("SCT signature is malformed")
	}
	sum := sha256.Sum256(message)
	good, want := false, uint8(signatureECDSA)
	switch key := v.key.(type) {
	case *rsa.PublicKey:
		want = signatureRSA
		good = rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], signature) == nil
	case *ecdsa.PublicKey:
		good = ecdsa.VerifyASN1(key, sum[:], signature)
	}
	if hash != hashSHA256 || algorithm != want {
		return fmt.Errorf("SCT signature has hash %d and algorithm %d", hash, algorithm)
	}
	if !good {
		return errors.New("SCT is not signed by the log")
	}
	return nil
}
