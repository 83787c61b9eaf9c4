//go:build pkcs11 && cgo

package token

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"

	"github.com/miekg/pkcs11"
	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"sigstack/internal/fault"
)

// curves that keys may have, by their DER name.
var curves = []struct {
	curve elliptic.Curve
	oid   asn1.ObjectIdentifier
}{
	{elliptic.P256(), asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7}},
	{elliptic.P384(), asn1.ObjectIdentifier{1, 3, 132, 0, 34}},
}

// errNoKey says that the token is there and the key is not.
var errNoKey = fault.New(fault.NotFound, "the token has no such key")

// object returns the one object of a class that u names.
func (s *session) object(u URI, class uint) (pkcs11.ObjectHandle, error) {
	template := append(u.names(),
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, class), pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_EC))
	if err := s.FindObjectsInit(s.handle, template); err != nil {
		return 0, fmt.Errorf("look for the key: %w", err)
	}
	found, _, err := s.FindObjects(s.handle, 2)
	if err := errors.Join(err, s.FindObjectsFinal(s.handle)); err != nil {
		return 0, fmt.Errorf("look for the key: %w", err)
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return 0, errNoKey
	default:
		return 0, errors.New("the token has more than one such key: add id=BYTES to the URI")
	}
}

// names are the attributes by which both halves of the key are found.
func (u URI) names() (list []*pkcs11.Attribute) {
	if u.Object != "" {
		list = append(list, pkcs11.NewAttribute(pkcs11.CKA_LABEL, u.Object))
	}
	if u.ID != "" {
		list = append(list, pkcs11.NewAttribute(pkcs11.CKA_ID, []byte(u.ID)))
	}
	return list
}

// privateKey looks for the private key, once.
func (s *session) privateKey(u URI) (pkcs11.ObjectHandle, error) {
	if s.key == 0 {
		key, err := s.object(u, pkcs11.CKO_PRIVATE_KEY)
		if err != nil {
			return 0, err
		}
		s.key = key
	}
	return s.key, nil
}

// public reads the public half. The private one must be there, too.
func (s *session) public(u URI) (*ecdsa.PublicKey, error) {
	if _, err := s.privateKey(u); err != nil {
		return nil, err
	}
	handle, err := s.object(u, pkcs11.CKO_PUBLIC_KEY)
	if errors.Is(err, errNoKey) {
		return nil, errors.New("the token has the private key but not the public one: store that too, under the same label and ID")
	}
	if err != nil {
		return nil, err
	}
	attrs, err := s.GetAttributeValue(s.handle, handle, []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, nil), pkcs11.NewAttribute(pkcs11.CKA_EC_POINT, nil),
	})
	if err != nil {
		return nil, fmt.Errorf("read the public key: %w", err)
	}
	return parsePublic(attrs[0].Value, attrs[1].Value)
}

// parsePublic reads CKA_EC_PARAMS, a named curve, and CKA_EC_POINT, which by the
// standard is an OCTET STRING with the uncompressed point in it and in some tokens
// the bare point.
func parsePublic(params, point []byte) (*ecdsa.PublicKey, error) {
	var oid asn1.ObjectIdentifier
	if rest, err := asn1.Unmarshal(params, &oid); err != nil || len(rest) > 0 {
		return nil, errors.New("the key's curve is not a named one: want P-256 or P-384")
	}
	for _, c := range curves {
		if !c.oid.Equal(oid) {
			continue
		}
		var inner cryptobyte.String
		if in := cryptobyte.String(point); in.ReadASN1(&inner, cbasn1.OCTET_STRING) && in.Empty() && len(inner) == pointSize(c.curve) {
			point = inner
		}
		pub, err := ecdsa.ParseUncompressedPublicKey(c.curve, point)
		if err != nil {
			return nil, fmt.Errorf("read the public key: %w", err)
		}
		return pub, nil
	}
	return nil, fmt.Errorf("the key's curve is %v: want P-256 or P-384", oid)
}

// pointSize is the length of an uncompressed point, in bytes.
func pointSize(curve elliptic.Curve) int { return 1 + 2*((curve.Params().BitSize+7)/8) }

// create makes a key pair that never leaves the token.
func (s *session) create(u URI, curve elliptic.Curve) (*ecdsa.PublicKey, error) {
	var params []byte
	for _, c := range curves {
		if c.curve == curve {
			params, _ = asn1.Marshal(c.oid) // an object identifier of ours
		}
	}
	if params == nil {
		return nil, fmt.Errorf("curve %s is not supported: want P-256 or P-384", curve.Params().Name)
	}
	public := append(u.names(),
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true), pkcs11.NewAttribute(pkcs11.CKA_VERIFY, true),
		pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, params))
	private := append(u.names(),
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true), pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true),
		pkcs11.NewAttribute(pkcs11.CKA_SIGN, true), pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, true),
		pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, false))
	mechanism := []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_EC_KEY_PAIR_GEN, nil)}
	if _, _, err := s.GenerateKeyPair(s.handle, mechanism, public, private); err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return s.public(u)
}

// sign signs a digest and returns the signature as DER (RFC 3279 §2.2.3).
func (s *session) sign(u URI, digest []byte) ([]byte, error) {
	key, err := s.privateKey(u)
	if err != nil {
		return nil, err
	}
	if err := s.SignInit(s.handle, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_ECDSA, nil)}, key); err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	raw, err := s.Sign(s.handle, digest)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return derSignature(raw)
}

// derSignature turns a token's r and s, of equal length, into DER.
func derSignature(raw []byte) ([]byte, error) {
	half := len(raw) / 2
	if half == 0 || len(raw)%2 != 0 {
		return nil, fmt.Errorf("sign: the token's signature has %d bytes", len(raw))
	}
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1BigInt(new(big.Int).SetBytes(raw[:half]))
		b.AddASN1BigInt(new(big.Int).SetBytes(raw[half:]))
	})
	return b.Bytes()
}
