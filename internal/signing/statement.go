package signing

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
)

// The types of an in-toto statement: what we write, and what else we read.
const (
	StatementType   = "https://in-toto.io/Statement/v1"
	StatementTypeV0 = "https://in-toto.io/Statement/v0.1"
)

// StatementPayloadType is the DSSE payload type of a statement.
const StatementPayloadType = "application/vnd.in-toto+json"

// A statement may have this many subjects, and a subject this many digests, as
// with other verifiers.
const (
	maxSubjects     = 1024
	maxDigests      = 32
	maxSubjectBytes = 1 << 20 // of all subjects; parsing takes many times that, before anything is verified
)

// Subject is one artifact that a statement is about (in-toto v1, resource
// descriptor).
type Subject struct {
	Name        string            `json:"name,omitempty"`
	Digest      map[string]string `json:"digest"`                // hex by algorithm, such as "sha256"
	Annotations map[string]string `json:"annotations,omitempty"` // those that are strings
}

// Statement is an in-toto statement of version 0.1 or 1.
type Statement struct {
	Type          string          `json:"_type"`
	Subjects      []Subject       `json:"subject"`
	PredicateType string          `json:"predicateType"`
	Predicate     json.RawMessage `json:"predicate,omitempty"` // as it was signed
}

// NewStatement encodes an in-toto statement v1. Each subject needs a digest, in
// lower-case hex; predicate is a JSON object, or nil for an empty one.
func NewStatement(subjects []Subject, predicateType string, predicate json.RawMessage) ([]byte, error) {
	if predicate == nil {
		predicate = json.RawMessage("{}")
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	err := enc.Encode(Statement{Type: StatementType, Subjects: subjects, PredicateType: predicateType, Predicate: predicate})
	if err != nil {
		return nil, fmt.Errorf("encode statement: %w", err)
	}
	text := bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
	// What we could not verify ourselves is not worth a signature.
	if _, err := ParseStatement(text); err != nil {
		return nil, fmt.Errorf("make statement: %w", err)
	}
	return text, nil
}

// ParseStatement reads an in-toto statement v1 or v0.1. It refuses what two
// readers might understand differently: duplicate members, members in other case
// or unknown, and broken UTF-8; and a statement without subject or type.
func ParseStatement(data []byte) (Statement, error) {
	if err := CheckUnique(data); err != nil {
		return Statement{}, fmt.Errorf("read statement: %w", err)
	}
	var raw struct {
		Type          string          `json:"_type"`
		Subjects      json.RawMessage `json:"subject"`
		PredicateType string          `json:"predicateType"`
		Predicate     json.RawMessage `json:"predicate"`
	}
	if err := DecodeExact(data, &raw, "_type", "subject", "predicateType", "predicate"); err != nil {
		return Statement{}, fmt.Errorf("read statement: %w", err)
	}
	s := Statement{Type: raw.Type, PredicateType: raw.PredicateType, Predicate: raw.Predicate}
	switch {
	case s.Type != StatementType && s.Type != StatementTypeV0:
		return Statement{}, fmt.Errorf("read statement: type %q is not known", s.Type)
	case s.PredicateType == "":
		return Statement{}, errors.New("read statement: it has no predicate type")
	case len(raw.Predicate) > 0 && raw.Predicate[0] != '{' && (raw.Predicate[0] != '"' || !mayBeText(s.PredicateType)):
		return Statement{}, errors.New("read statement: the predicate is not an object")
	}
	var err error
	if s.Subjects, err = parseSubjects(raw.Subjects); err != nil {
		return Statement{}, fmt.Errorf("read statement: %w", err)
	}
	return s, nil
}

// SPDXPredicates are the predicate types of SPDX documents: what we write, and what
// else we read.
func SPDXPredicates() []string {
	return []string{"https://spdx.dev/Document", "https://spdx.dev/Document/v2.3"}
}

// mayBeText reports whether the predicate may be a string: that of an SPDX document
// as tags and values is its text (contract release-artifacts §C2).
func mayBeText(predicateType string) bool { return slices.Contains(SPDXPredicates(), predicateType) }

// parseSubjects reads the subject member, whose text is empty if there is none.
func parseSubjects(text json.RawMessage) ([]Subject, error) {
	if len(text) > maxSubjectBytes {
		return nil, fmt.Errorf("its subjects have %d bytes, more than %d", len(text), maxSubjectBytes)
	}
	var raw []json.RawMessage
	if len(text) > 0 {
		if err := json.Unmarshal(text, &raw); err != nil {
			return nil, fmt.Errorf("read subjects: %w", err)
		}
	}
	if len(raw) == 0 {
		return nil, errors.New("it has no subject")
	}
	if len(raw) > maxSubjects {
		return nil, fmt.Errorf("%d subjects are more than %d", len(raw), maxSubjects)
	}
	subjects := make([]Subject, len(raw))
	for i, one := range raw {
		var err error
		if subjects[i], err = parseSubject(one); err != nil {
			return nil, fmt.Errorf("read subject %d: %w", i, err)
		}
	}
	return subjects, nil
}

// digestDigits are the lengths in hex of the digests that artifacts are matched by.
var digestDigits = map[string]int{"sha256": 64, "sha384": 96, "sha512": 128}

// parseSubject reads a resource descriptor; what it says beyond name, digests and
// annotations is left out.
func parseSubject(text []byte) (Subject, error) {
	var raw struct {
		Name        string                     `json:"name"`
		Digest      map[string]string          `json:"digest"`
		Annotations map[string]json.RawMessage `json:"annotations"`
	}
	err := DecodeExact(text, &raw, "name", "digest", "annotations", "uri", "content", "downloadLocation", "mediaType")
	if err != nil {
		return Subject{}, err
	}
	if len(raw.Digest) == 0 || len(raw.Digest) > maxDigests {
		return Subject{}, fmt.Errorf("got %d digests, want 1 to %d", len(raw.Digest), maxDigests)
	}
	for algorithm, value := range raw.Digest {
		if _, err := hex.DecodeString(value); err != nil || value == "" || value != strings.ToLower(value) {
			return Subject{}, fmt.Errorf("%s digest %q is not lower-case hex", algorithm, value)
		}
		if want, known := digestDigits[algorithm]; known && len(value) != want {
			return Subject{}, fmt.Errorf("%s digest %q has %d digits, want %d", algorithm, value, len(value), want)
		}
	}
	s := Subject{Name: raw.Name, Digest: raw.Digest}
	for name, value := range raw.Annotations {
		var text string
		if json.Unmarshal(value, &text) != nil || string(value) == "null" {
			continue // annotations may be of any type; only strings can be asked for
		}
		if s.Annotations == nil {
			s.Annotations = map[string]string{}
		}
		s.Annotations[name] = text
	}
	return s, nil
}

// Has reports whether a subject of the statement has the digest.
func (s Statement) Has(digest []byte, algorithm string) bool {
	want := hex.EncodeToString(digest)
	return want != "" && slices.ContainsFunc(s.Subjects, func(subject Subject) bool { return subject.Digest[algorithm] == want })
}

// Contradicts returns an error if a subject has one of an artifact's digests, hex by
// algorithm, and another algorithm's that is not the artifact's: a reader that knows
// only the other would take the statement to be about something else.
func (s Statement) Contradicts(digests map[string]string) error {
	for _, subject := range s.Subjects {
		matches, differs := "", ""
		for algorithm, want := range digests {
			switch got, there := subject.Digest[algorithm]; {
			case there && got == want:
				matches = algorithm
			case there:
				differs = algorithm
			}
		}
		if matches != "" && differs != "" {
			return refuse(CheckStatement, fmt.Errorf("a subject has the artifact's %s, but %s of something else", matches, differs))
		}
	}
	return nil
}

// readStatement returns the statement of a bundle's envelope after checking that
// it is about the digest, and of the predicate type unless that is empty. Nothing
// of it is trusted yet. Errors are refusals at CheckStatement.
func readStatement(b *Bundle, digest []byte, algorithm, predicateType string) (Statement, error) {
	s, err := parseEnvelope(b.entity.GetDsseEnvelope())
	switch {
	case err != nil:
	case predicateType != "" && s.PredicateType != predicateType:
		err = fmt.Errorf("its predicate type is %q, want %q", s.PredicateType, predicateType)
	case !s.Has(digest, algorithm):
		err = fmt.Errorf("none of its %d subjects has %s:%x", len(s.Subjects), algorithm, digest)
	}
	if err != nil {
		return Statement{}, refuse(CheckStatement, err)
	}
	return s, nil
}

func parseEnvelope(envelope *protodsse.Envelope) (Statement, error) {
	switch n := len(envelope.GetSignatures()); {
	case envelope == nil:
		return Statement{}, errors.New("the bundle holds a signature of a file, not an attestation")
	case envelope.GetPayloadType() != StatementPayloadType:
		return Statement{}, fmt.Errorf("payload type %q is not %q", envelope.GetPayloadType(), StatementPayloadType)
	case n != 1:
		return Statement{}, fmt.Errorf("the envelope has %d signatures, want 1", n)
	}
	return ParseStatement(envelope.GetPayload())
}
