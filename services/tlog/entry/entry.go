// Package entry turns a proposed log entry into the canonical bytes that are
// logged, or refuses it: it parses, checks signatures and algorithms, and
// encodes (contract: rekor-v1.md §7, §8; RFC 8785). It is pure; storing,
// signing and answering belong to tlog and its APIs.
package entry

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"unicode/utf8"

	"sigstack/internal/fault"
)

// Body codes of a schema failure, which is HTTP 422 (contract: rekor-v1.md §1).
const (
	codeType     = 601 // a member has another JSON type
	codeRequired = 602 // a member is missing
	codeEnum     = 606 // a member is none of the values there are
)

// ErrNotEnabled is the cause of Parse refusing a kind of the protocol that the
// parser's Types do not hold: no entry of it can have been logged.
var ErrNotEnabled = errors.New("kind of entry is not enabled")

// Type names a kind of entry and its version, such as hashedrekord 0.0.1.
type Type struct{ Kind, Version string }

// Canonicalizer checks the spec of a proposed entry, a JSON object. Every error
// is fault.Invalid.
type Canonicalizer func(spec json.RawMessage, permitted Algorithms) (Content, error)

// Content is what a checked spec comes to.
type Content struct {
	Spec []byte // canonical: RFC 8785 JSON
	// Terms computes what the entry is found by, which those who only look an
	// entry up do without.
	Terms func() Terms
	// Attestation is what was signed, of kinds whose entries may be read together
	// with it; nil for the others. AttestationDigest of the entry is its SHA-256.
	Attestation []byte
}

// Types is the table of entry types that may be inserted.
type Types map[Type]Canonicalizer

// DefaultTypes returns the types that Sigstore clients send.
func DefaultTypes() Types {
	return Types{
		{"hashedrekord", "0.0.1"}: HashedRekord,
		{"dsse", "0.0.1"}:         DSSE,
		{"intoto", "0.0.1"}:       InTotoV001,
		{"intoto", "0.0.2"}:       InTotoV002,
	}
}

// knownKinds are the kinds of the protocol. One that a Types does not hold is
// refused as switched off, anything else as unknown.
func knownKinds() []string {
	return []string{
		"alpine", "cose", "dsse", "hashedrekord", "helm", "intoto", "jar",
		"rekord", "rfc3161", "rpm", "tuf",
	}
}

// Parser reads proposed entries. It is safe for concurrent use.
type Parser struct {
	Types      Types
	Algorithms Algorithms
}

// Entry is a checked entry, ready to be logged.
type Entry struct {
	Type        Type
	Body        []byte       // canonical: RFC 8785 JSON
	Terms       func() Terms // what it is found by
	Attestation []byte       // may be stored beside it; nil: there is none
}

// Parse checks a proposed entry, one JSON object
// {"apiVersion":…,"kind":…,"spec":{…}}, and returns it in canonical form.
// Members that it does not know are ignored; none may be there twice, because
// readers disagree on which of two counts.
//
// Errors are fault.Unprocessable for a missing or unknown kind, a missing
// apiVersion or spec, and fault.Invalid for everything else; ErrNotEnabled among
// these.
func (p Parser) Parse(proposed []byte) (Entry, error) {
	if !utf8.Valid(proposed) || !json.Valid(proposed) {
		return Entry{}, fault.New(fault.Invalid, "proposed entry is not valid JSON in UTF-8")
	}
	env, err := parseObject("", proposed)
	if err != nil {
		return Entry{}, err
	}
	typ, err := typeOf(env)
	if err != nil {
		return Entry{}, err
	}
	if !env.has("spec") {
		return Entry{}, schemaError(codeRequired, "spec is missing")
	}
	canonicalize, err := p.Types.find(typ)
	if err != nil {
		return Entry{}, err
	}
	content, err := canonicalize(env.members["spec"], p.Algorithms)
	if err != nil {
		return Entry{}, err
	}
	return Entry{typ, envelope(typ, content.Spec), content.Terms, content.Attestation}, nil
}

// typeOf reads kind and apiVersion as the schema wants them.
func typeOf(env object) (Type, error) {
	if !env.has("kind") {
		return Type{}, schemaError(codeRequired, "kind is missing")
	}
	kind, err := env.text("kind")
	if err != nil {
		return Type{}, schemaError(codeType, fault.Public(err))
	}
	if !slices.Contains(knownKinds(), kind) {
		return Type{}, schemaError(codeEnum, "kind is not one that is known")
	}
	if !env.has("apiVersion") {
		return Type{}, schemaError(codeRequired, "apiVersion is missing")
	}
	version, err := env.text("apiVersion")
	if err != nil {
		return Type{}, schemaError(codeType, fault.Public(err))
	}
	return Type{kind, version}, nil
}

func (t Types) find(typ Type) (Canonicalizer, error) {
	if c, ok := t[typ]; ok {
		return c, nil
	}
	for have := range t {
		if have.Kind == typ.Kind {
			return nil, fault.Newf(fault.Invalid, "this version of kind %s is not supported", typ.Kind)
		}
	}
	return nil, fault.Wrap(fault.Invalid, ErrNotEnabled, "kind "+typ.Kind+" is not enabled on this server")
}

// envelope encodes the canonical entry. Kind and version come from the table of
// types, so that nothing here needs escaping.
func envelope(typ Type, spec []byte) []byte {
	out := make([]byte, 0, len(spec)+64)
	out = append(out, `{"apiVersion":"`...)
	out = append(out, typ.Version...)
	out = append(out, `","kind":"`...)
	out = append(out, typ.Kind...)
	out = append(out, `","spec":`...)
	out = append(out, spec...)
	return append(out, '}')
}

func schemaError(code int, public string) error {
	return &fault.Error{Kind: fault.Unprocessable, Public: public, Code: code}
}

// AttestationDigest returns the SHA-256 of what a canonical entry was signed
// over, for the kinds that keep it beside the entry (contract: rekor-v1.md §11):
// the payload of an intoto, the whole message of a cose.
func AttestationDigest(body []byte) (digest [sha256.Size]byte, ok bool) {
	intoto, cose := hasKind(body, "intoto"), hasKind(body, "cose")
	if !intoto && !cose {
		return digest, false
	}
	type hash struct{ Algorithm, Value string }
	var e struct {
		Spec struct {
			Content struct{ PayloadHash hash }
			Data    struct{ EnvelopeHash hash }
		}
	}
	if err := json.Unmarshal(body, &e); err != nil {
		return digest, false // logged by another server: nothing is kept beside it
	}
	h := e.Spec.Content.PayloadHash
	if cose {
		h = e.Spec.Data.EnvelopeHash
	}
	raw, err := hex.DecodeString(h.Value)
	if err != nil || h.Algorithm != "sha256" || len(raw) != sha256.Size {
		return digest, false
	}
	return [sha256.Size]byte(raw), true
}

// hasKind looks only where RFC 8785 puts a kind: readers ask this of every entry.
func hasKind(body []byte, kind string) bool {
	const version = `{"apiVersion":"0.0.`
	if !bytes.HasPrefix(body, []byte(version)) || len(body) <= len(version) {
		return false
	}
	return bytes.HasPrefix(body[len(version)+1:], []byte(`","kind":"`+kind+`"`))
}
