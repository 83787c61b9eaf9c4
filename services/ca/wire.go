package ca

import (
	"bytes"
	"encoding/base64"
	"strings"
	"unicode"
	"unicode/utf8"

	// Exact names and no duplicates, as protobuf's JSON mapping asks; encoding/json
	// would take "PROOFOFPOSSESSION" and let the last of two win.
	"github.com/go-jose/go-jose/v4/json"

	"sigstack/internal/fault"
)

// decodeV2 reads a CreateSigningCertificateRequest of dev.sigstore.fulcio.v2. The
// token is empty when the body has none. Errors are fault.Invalid.
func decodeV2(body []byte) (Request, error) {
	m, err := parseMessage(body)
	if err != nil {
		return Request{}, err
	}
	var d fields
	credentials := d.message(m, "credentials")
	key := d.message(m, "publicKeyRequest")
	public := d.message(key, "publicKey")
	d.enum(public, "algorithm")
	req := Request{
		Token:     d.text(credentials, "oidcIdentityToken"),
		PublicKey: []byte(d.text(public, "content")),
		Proof:     d.bytes(key, "proofOfPossession"),
		CSR:       d.bytes(m, "certificateSigningRequest"),
	}
	if d.err == nil && key != nil && d.get(m, "certificateSigningRequest") != nil {
		d.err = fault.New(fault.Invalid, "publicKeyRequest and certificateSigningRequest are alternatives")
	}
	return req, d.err
}

// decodeV1 reads a CreateSigningCertificateRequest of dev.sigstore.fulcio.v1beta,
// which has no token.
func decodeV1(body []byte) (Request, error) {
	m, err := parseMessage(body)
	if err != nil {
		return Request{}, err
	}
	var d fields
	public := d.message(m, "publicKey")
	d.text(public, "algorithm")
	req := Request{
		PublicKey: d.bytes(public, "content"),
		Proof:     d.bytes(m, "signedEmailAddress"),
		CSR:       d.bytes(m, "certificateSigningRequest"),
	}
	return req, d.err
}

// message is a JSON object in protobuf's mapping; nil for an absent one.
type message map[string]json.RawMessage

// parseMessage takes an empty body for a message without fields.
func parseMessage(body []byte) (message, error) {
	m := message{}
	if len(body) == 0 {
		return m, nil
	}
	if err := json.Unmarshal(body, &m); err != nil || m == nil {
		return nil, fault.Wrap(fault.Invalid, err, "request body is not a JSON object")
	}
	return m, nil
}

// fields reads fields of messages and keeps the first error. Unknown fields are
// never looked at, null means absent, and an absent field reads as its zero value
// (protobuf ProtoJSON format).
type fields struct{ err error }

// get finds a field under its lowerCamelCase or its original snake_case name.
func (d *fields) get(m message, name string) json.RawMessage {
	other := snakeCase(name)
	camel, snake := present(m[name]), present(m[other])
	if name == other || snake == nil {
		return camel
	}
	if camel != nil {
		d.refuse(nil, name, "is there twice")
	}
	return snake
}

func present(raw json.RawMessage) json.RawMessage {
	if string(raw) == "null" {
		return nil
	}
	return raw
}

func (d *fields) message(m message, name string) message {
	var inner message
	d.decode(m, name, &inner, "is not an object")
	return inner
}

func (d *fields) text(m message, name string) string {
	raw := d.get(m, name)
	if n := len(raw); n > 1 && raw[0] == '"' && raw[n-1] == '"' && !bytes.ContainsRune(raw, '\\') && utf8.Valid(raw) {
		return string(raw[1 : n-1]) // as most are: it was found valid with the rest
	}
	var text string
	d.decode(m, name, &text, "is not a string")
	return text
}

// enum checks that a field is a name or a number; which one is of no interest.
func (d *fields) enum(m message, name string) {
	raw := d.get(m, name)
	if raw != nil && raw[0] != '"' && raw[0] != '-' && !unicode.IsDigit(rune(raw[0])) {
		d.refuse(nil, name, "is not an enum")
	}
}

// bytes reads base64 in the standard or the URL alphabet, padded or not.
func (d *fields) bytes(m message, name string) []byte {
	text := d.text(m, name)
	encoding := base64.StdEncoding
	if strings.ContainsAny(text, "-_") {
		encoding = base64.URLEncoding
	}
	if len(text)%4 != 0 {
		encoding = encoding.WithPadding(base64.NoPadding)
	}
	decoded, err := encoding.DecodeString(text)
	if err != nil {
		d.refuse(err, name, "is not base64")
	}
	return decoded
}

func (d *fields) decode(m message, name string, into any, complaint string) {
	raw := d.get(m, name)
	if raw == nil {
		return
	}
	if err := json.Unmarshal(raw, into); err != nil {
		d.refuse(err, name, complaint)
	}
}

func (d *fields) refuse(err error, name, complaint string) {
	if d.err == nil {
		d.err = fault.Wrap(fault.Invalid, err, "field "+name+" "+complaint)
	}
}

// snakeCase turns publicKeyRequest into public_key_request.
func snakeCase(camel string) string {
	b := make([]byte, 0, len(camel)+4)
	for _, c := range []byte(camel) {
		if c >= 'A' && c <= 'Z' {
			b = append(b, '_')
			c += 'a' - 'A'
		}
		b = append(b, c)
	}
	return string(b)
}

// The answers of the contract's §1. Scalars are written even when empty.
type (
	certificateChain struct {
		Certificates []string `json:"certificates"` // PEM
	}
	signingCertificate struct {
		Embedded struct {
			Chain certificateChain `json:"chain"`
		} `json:"signedCertificateEmbeddedSct"`
	}
	trustBundle struct {
		Chains []certificateChain `json:"chains"`
	}
	configuration struct {
		Issuers []oidcIssuer `json:"issuers"`
	}
	oidcIssuer struct {
		// One of the two, as they are arms of one oneof.
		IssuerURL         *string `json:"issuerUrl,omitempty"`
		WildcardIssuerURL *string `json:"wildcardIssuerUrl,omitempty"`

		Audience              string `json:"audience"`
		ChallengeClaim        string `json:"challengeClaim"`
		SPIFFETrustDomain     string `json:"spiffeTrustDomain"`
		IssuerType            string `json:"issuerType"`
		SubjectDomain         string `json:"subjectDomain"`
		SkipEmailVerification bool   `json:"skipEmailVerification"`
	}
)
