package ca

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"sigstack/internal/fault"
	"sigstack/internal/pki"
)

// submitTimeout bounds the wait for the log: the most impatient client gives the
// whole request 5 s (contract: ca.md §1).
const submitTimeout = 4 * time.Second

// badLog is the sentence of the contract's §9 about the CT log.
const badLog = "Error entering certificate in CTL"

// Numbers of RFC 6962 §3.2 and RFC 5246 §7.4.1.4.1.
const (
	sctV1                = 0
	certificateTimestamp = 0
	precertEntry         = 1
	hashSHA256           = 4
	signatureRSA         = 1
	signatureECDSA       = 3
)

// ctLog is the log whose SCTs we embed.
type ctLog struct {
	id  [32]byte
	key crypto.PublicKey
}

func newCTLog(spki []byte) (ctLog, error) {
	key, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		return ctLog{}, fmt.Errorf("parse CT log key: %w", err)
	}
	switch key.(type) {
	case *ecdsa.PublicKey, *rsa.PublicKey:
		return ctLog{pki.LogID(spki), key}, nil
	default:
		return ctLog{}, fmt.Errorf("CT log key is %T, neither ECDSA nor RSA", key)
	}
}

// poison is the critical extension that makes a certificate unusable (RFC 6962
// §3.1); its value is NULL.
func poison() pkix.Extension {
	return pkix.Extension{Id: pki.OIDPoison, Critical: true, Value: []byte{0x05, 0x00}}
}

// sctList is the extension holding exactly one SCT: clients refuse any other count.
func sctList(sct []byte) (pkix.Extension, error) {
	value, err := pki.MarshalSCTList([][]byte{sct})
	return pkix.Extension{Id: pki.OIDSCTList, Value: value}, err
}

// submit logs a precertificate and returns the SCT, serialized as it is embedded,
// verified to be of tbs: that of the precertificate without the poison.
func (s *Service) submit(ctx context.Context, by *state, pre, tbs []byte) ([]byte, error) {
	response, err := s.ask(ctx, append([][]byte{pre}, by.chainDER...))
	if err != nil {
		return nil, err
	}
	issuer := sha256.Sum256(by.Chain[0].RawSubjectPublicKeyInfo)
	sct, err := s.ctLog.verify(response, issuer, tbs)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, badLog)
	}
	return sct, nil
}

// ask gives the log its time and words its failure.
func (s *Service) ask(ctx context.Context, chain [][]byte) ([]byte, error) {
	waiting, cancel := context.WithTimeout(ctx, submitTimeout)
	defer cancel()
	start := s.cfg.Now()
	response, err := s.cfg.Submit(waiting, chain)
	s.metrics.log.Observe(s.cfg.Now().Sub(start).Seconds())
	switch {
	case err == nil:
		return response, nil
	case ctx.Err() != nil:
		return nil, fault.Wrap(fault.Canceled, err, "the client went away")
	case waiting.Err() != nil, fault.KindOf(err) == fault.Unavailable, fault.KindOf(err) == fault.Timeout:
		return nil, fault.Wrap(fault.Unavailable, err, badLog+"; try again")
	default:
		return nil, fault.Wrap(fault.Internal, err, badLog)
	}
}

// addChainResponse is the log's answer (RFC 6962 §4.1).
type addChainResponse struct {
	Version    uint8  `json:"sct_version"`
	ID         []byte `json:"id"`
	Timestamp  uint64 `json:"timestamp"` // milliseconds since 1970
	Extensions []byte `json:"extensions"`
	Signature  []byte `json:"signature"` // TLS DigitallySigned
}

// verify checks that the log signed for the precertificate with this issuer key
// hash and TBS, and returns the SCT serialized (RFC 6962 §3.3).
func (l ctLog) verify(response []byte, issuer [32]byte, tbs []byte) ([]byte, error) {
	var sct addChainResponse
	if err := json.Unmarshal(response, &sct); err != nil {
		return nil, fmt.Errorf("decode SCT: %w", err)
	}
	if sct.Version != sctV1 || !bytes.Equal(sct.ID, l.id[:]) {
		return nil, fmt.Errorf("SCT is of version %d and log %x, not of %x", sct.Version, sct.ID, l.id)
	}
	signed, err := sct.signedBytes(issuer, tbs)
	if err != nil {
		return nil, err
	}
	if err := l.verifySignature(signed, sct.Signature); err != nil {
		return nil, err
	}
	return sct.serialize()
}

// signedBytes is what an SCT for a precertificate signs (RFC 6962 §3.2).
func (r addChainResponse) signedBytes(issuer [32]byte, tbs []byte) ([]byte, error) {
	b := cryptobyte.NewBuilder(make([]byte, 0, len(tbs)+64))
	b.AddUint8(sctV1)
	b.AddUint8(certificateTimestamp)
	b.AddUint64(r.Timestamp)
	b.AddUint16(precertEntry)
	b.AddBytes(issuer[:])
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(tbs) })
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(r.Extensions) })
	signed, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encode what the SCT signs: %w", err)
	}
	return signed, nil
}

// serialize keeps extensions and signature as the log sent them.
func (r addChainResponse) serialize() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddUint8(r.Version)
	b.AddBytes(r.ID)
	b.AddUint64(r.Timestamp)
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(r.Extensions) })
	b.AddBytes(r.Signature)
	sct, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encode SCT: %w", err)
	}
	return sct, nil
}

// verifySignature checks a TLS DigitallySigned (RFC 5246 §4.7), SHA-256 only.
func (l ctLog) verifySignature(message, signed []byte) error {
	s := cryptobyte.String(signed)
	var hash, algorithm uint8
	var signature cryptobyte.String
	if !s.ReadUint8(&hash) || !s.ReadUint8(&algorithm) || !s.ReadUint16LengthPrefixed(&signature) || !s.Empty() {
		return errors.New("SCT signature is malformed")
	}
	want := uint8(signatureECDSA)
	if _, ok := l.key.(*rsa.PublicKey); ok {
		want = signatureRSA
	}
	if hash != hashSHA256 || algorithm != want {
		return fmt.Errorf("SCT signature has hash %d and algorithm %d", hash, algorithm)
	}
	if !verifies(l.key, crypto.SHA256, message, signature) {
		return errors.New("SCT is not signed by the log")
	}
	return nil
}
