package identity

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"sigstack/internal/fault"
	"sigstack/internal/pki"
)

// lastRawArc is the last of Fulcio's extensions that hold bare bytes; the later
// ones hold a DER UTF8String (contract: ca.md §6).
const lastRawArc = 6

// oidSubjectAltName is id-ce-subjectAltName (RFC 5280 §4.2.1.6).
var oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

// NameKind is the context tag of a GeneralName (RFC 5280 §4.2.1.6).
type NameKind uint8

// The kinds of names that the types of issuers give. An OtherName is of Fulcio's
// type, with a UTF8String (contract: ca.md §6).
const (
	OtherName  NameKind = 0
	RFC822Name NameKind = 1
	URIName    NameKind = 6
)

// Name is a subject alternative name. Value is ASCII but for an OtherName.
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
func issuerAttributes(issuer, subject string) []Attribute {
	return []Attribute{
		{pki.OIDIssuerV1, issuer},
		{pki.OIDIssuer, issuer},
		{pki.OIDTokenSubject, subject},
	}
}

// check refuses a principal that clients could not read from a certificate, or
// not as it was meant.
func (p Principal) check() error {
	if p.Name.Kind == URIName && !validURI(p.Name.Value) {
		return fault.New(fault.Invalid, "the token's claims do not make a plain ASCII URL")
	}
	return nil
}

// validURI accepts an absolute URI in its one spelling: ASCII, no user, no empty
// label in the host, no dot segment. Go's x509 refuses certificates with others.
func validURI(s string) bool {
	u, err := url.Parse(s)
	if err != nil || u.String() != s || !visible(s) || len(s) > maxClaim || u.Scheme == "" || u.User != nil {
		return false
	}
	return (u.Opaque != "" || validHost(u)) && !dotSegment(u.EscapedPath())
}

// validHost accepts a host name or address, with a port or without.
func validHost(u *url.URL) bool {
	emptyLabel := slices.Contains(strings.Split(u.Hostname(), "."), "") // or no host at all
	return !emptyLabel && strings.Trim(u.Host, hostChars+upperCase+"[]:") == "" && !strings.HasSuffix(u.Host, ":")
}

// dotSegment reports whether a path has a segment that clients resolve away.
func dotSegment(path string) bool {
	for segment := range strings.SplitSeq(path, "/") {
		switch strings.ReplaceAll(strings.ToLower(segment), "%2e", ".") {
		case ".", "..":
			return true
		}
	}
	return false
}

// visible reports whether s is printable ASCII without spaces.
func visible(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
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
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(names *cryptobyte.Builder) {
		if n.Kind == OtherName {
			addOtherName(names, n.Value)
			return
		}
		if !visible(n.Value) {
			names.SetError(fmt.Errorf("%q is not plain ASCII", n.Value))
		}
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

// addOtherName appends an OtherName (RFC 5280 §4.2.1.6).
func addOtherName(names *cryptobyte.Builder, text string) {
	tag := cbasn1.Tag(0).ContextSpecific().Constructed()
	names.AddASN1(tag, func(name *cryptobyte.Builder) {
		name.AddASN1ObjectIdentifier(pki.OIDOtherName)
		name.AddASN1(tag, func(value *cryptobyte.Builder) {
			value.AddASN1(cbasn1.UTF8String, func(utf8 *cryptobyte.Builder) { utf8.AddBytes([]byte(text)) })
		})
	})
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
