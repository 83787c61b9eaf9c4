package signing

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
)

// AttestationsSuffix is appended to a file's name to name the file with all
// attestations of it, one a line (in-toto attestation, bundle v1).
const AttestationsSuffix = ".intoto.jsonl"

// Limits of a file of attestations. Its lines are judged one by one, and parsing one
// verifies a signature already.
const (
	MaxAttestations  = 64 << 20 // bytes
	maxAttestedLines = 1024
)

// AttestationLine is one line of a file of attestations.
type AttestationLine struct {
	Number int     // from 1
	Text   []byte  // of the bundle, as it stands there
	Bundle *Bundle // nil: Err says why not
	Err    error
}

// ParseAttestations reads a file of attestations, in JSON Lines or as one bundle
// alone. A line that is another JSON object than a bundle has its Err, since others
// may keep theirs in the same file; anything else than JSON objects is an error.
func ParseAttestations(data []byte) ([]AttestationLine, error) {
	texts, err := splitAttestations(data)
	if err != nil {
		return nil, fmt.Errorf("read attestations: %w", err)
	}
	var lines []AttestationLine
	for i, text := range texts {
		if len(text) == 0 {
			continue
		}
		line := AttestationLine{Number: i + 1, Text: text}
		if line.Bundle, line.Err = ParseBundle(text); line.Err != nil && isEnvelope(text) {
			line.Err = refuse(CheckBundle, errors.New("it is a bare envelope, without the certificate and the log entry that would prove it"))
		}
		lines = append(lines, line)
	}
	if len(lines) == 0 {
		return nil, errors.New("read attestations: there are none")
	}
	return lines, nil
}

// splitAttestations returns the lines, without white space around them.
func splitAttestations(data []byte) ([][]byte, error) {
	if len(data) > MaxAttestations {
		return nil, fmt.Errorf("%d bytes are more than %d", len(data), MaxAttestations)
	}
	if n := bytes.Count(data, []byte("\n")); n > maxAttestedLines && !json.Valid(data) {
		return nil, fmt.Errorf("%d lines are more than %d", n, maxAttestedLines)
	}
	texts := bytes.Split(data, []byte("\n"))
	if json.Valid(data) { // one bundle, however it is laid out
		texts = [][]byte{data}
	}
	for i, text := range texts {
		texts[i] = bytes.TrimSpace(text)
		if len(texts[i]) > 0 && (texts[i][0] != '{' || !json.Valid(texts[i])) {
			return nil, fmt.Errorf("line %d is not a JSON object", i+1)
		}
	}
	return texts, nil
}

// AppendAttestation returns a file of attestations with one bundle more; data is what
// is there, empty if nothing is. What is there has to be such a file, and stays as it
// is but for the end of its last line, or the layout of a bundle alone.
func AppendAttestation(data, bundle []byte) ([]byte, error) {
	texts, err := splitAttestations(data)
	if err != nil {
		return nil, fmt.Errorf("add attestation: %w", err)
	}
	if _, err := ParseBundle(bundle); err != nil {
		return nil, fmt.Errorf("add attestation: %w", err)
	}
	var out bytes.Buffer
	lines := 0
	for _, text := range append(texts, bundle) {
		if len(text) == 0 {
			continue
		}
		if err := json.Compact(&out, text); err != nil {
			return nil, fmt.Errorf("add attestation: %w", err)
		}
		out.WriteByte('\n')
		lines++
	}
	if lines > maxAttestedLines || out.Len() > MaxAttestations {
		return nil, fmt.Errorf("add attestation: the file would have %d lines and %d bytes, more than %d or %d", lines, out.Len(), maxAttestedLines, MaxAttestations)
	}
	return out.Bytes(), nil
}

func isEnvelope(text []byte) bool {
	var v struct {
		PayloadType string `json:"payloadType"`
	}
	return json.Unmarshal(text, &v) == nil && v.PayloadType != ""
}

// ClaimedType is the predicate type that the statement of b says it has, "" of what
// holds none. Nothing of it is verified.
func (b *Bundle) ClaimedType() string {
	s, err := parseEnvelope(b.entity.GetDsseEnvelope())
	if err != nil {
		return ""
	}
	return s.PredicateType
}

// ClaimedAlgorithm is the first algorithm of "sha256", "sha384" and "sha512" by which
// the statement of b says that it is about an artifact with these digests, hex by
// algorithm; "sha256" if by none. Nothing of it is verified.
func (b *Bundle) ClaimedAlgorithm(digests map[string]string) string {
	s, err := parseEnvelope(b.entity.GetDsseEnvelope())
	for _, algorithm := range []string{"sha256", "sha384", "sha512"} {
		digest, bad := hex.DecodeString(digests[algorithm])
		if err == nil && bad == nil && s.Has(digest, algorithm) {
			return algorithm
		}
	}
	return "sha256"
}
