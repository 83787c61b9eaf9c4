package identity

import (
	"bytes"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"sigstack/internal/pki"
)

// lastRawArc is the last of Fulcio's extensions that hold bare bytes; the later
// ones hold a DER UTF8String (contract: ca.md §6).
const lastRawArc = 6

// oidSubjectAltName is id-ce-subjectAltName (RFC 5280 §4.2.1.6).
var oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

// NameKind is the context tag of a GeneralName (RFC 5280 §4.2.1.6).
type NameKind uint8

// The kinds of names that the present types of issuers give.
const (
	RFC822Name NameKind = 1
	URIName    NameKind = 6
)

// Name is a subject alternative name. Value is ASCII.
type Name struct {
	Kind  NameKind
	Value string
}

// Attribute is one fact about the principal and the extension it goes to, one of
// Fulcio's (the OIDs of package pki). One with an empty value is left out.
type Attribute struct {
	OID   asn1.ObjectIdentifier
	Value string
}

// issuerAttributes are those of every certificate.
func issuerAttributes(c Claims) []Attribute {
	return []Attribute{
		{pki.OIDIssuerV1, c.Issuer},
		{pki.OIDIssuer, c.Issuer},
		{pki.OIDTokenSubject, c.Subject},
	}
}

// Extensions encodes the principal's part of a certificate: the subject
// alternative name, critical because the certificate has no other name, then the
// attributes in ascending order.
func (p Principal) Extensions() ([]pkix.Extension, error) {
	san, err := p.Name.extension()
	if err != nil {
		return nil, err
	}
	attributes := slices.Clone(p.Attributes)
	slices.SortStableFunc(attributes, func(a, b Attribute) int { return arc(a) - arc(b) })
	exts := make([]pkix.Extension, 0, len(attributes)+3) // the authority adds two
	exts = append(exts, san)
	for _, a := range attributes {
		if a.Value == "" {
			continue
		}
		ext, err := a.extension()
		if err != nil {
			return nil, err
		}
		exts = append(exts, ext)
	}
	return exts, nil
}

func arc(a Attribute) int { return a.OID[len(a.OID)-1] }

func (n Name) extension() (pkix.Extension, error) {
	if !ascii(n.Value) {
		return pkix.Extension{}, fmt.Errorf("encode name: %q is not ASCII", n.Value)
	}
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(names *cryptobyte.Builder) {
		names.AddASN1(cbasn1.Tag(n.Kind).ContextSpecific(), func(name *cryptobyte.Builder) {
			name.AddBytes([]byte(n.Value))
		})
	})
	value, err := b.Bytes()
	if err != nil {
		return pkix.Extension{}, fmt.Errorf("encode name: %w", err)
	}
	return pkix.Extension{Id: oidSubjectAltName, Critical: true, Value: value}, nil
}

func (a Attribute) extension() (pkix.Extension, error) {
	if arc(a) <= lastRawArc {
		return pkix.Extension{Id: a.OID, Value: []byte(a.Value)}, nil
	}
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.UTF8String, func(text *cryptobyte.Builder) { text.AddBytes([]byte(a.Value)) })
	value, err := b.Bytes()
	if err != nil {
		return pkix.Extension{}, fmt.Errorf("encode extension %s: %w", a.OID, err)
	}
	return pkix.Extension{Id: a.OID, Value: value}, nil
}

func ascii(s string) bool {
	return !bytes.ContainsFunc([]byte(s), func(r rune) bool { return r >= 0x80 })
}
