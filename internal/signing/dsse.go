package signing

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

// maxStatement is the most bytes of a statement: base64 of it, and a certificate
// and log entry beside that, still fit into MaxBundle.
const maxStatement = 20 << 20

// dsseEntry is a dsse 0.0.1 entry as the log stores it (contract rekor-v1 §8);
// like hashedRekord, its encoding is canonical.
type dsseEntry struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Spec       dsseSpec `json:"spec"`
}

type dsseSpec struct {
	EnvelopeHash entryHash       `json:"envelopeHash"` // of its JSON text as it was sent
	PayloadHash  entryHash       `json:"payloadHash"`
	Signatures   []dsseSignature `json:"signatures"`
}

type entryHash struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"value"`
}

type dsseSignature struct {
	Signature []byte `json:"signature"`
	Verifier  []byte `json:"verifier"`
}

// SignStatement signs an in-toto statement in a DSSE envelope, logged as dsse
// 0.0.1 and timestamped. The bytes of statement are signed as they are; it must
// have a subject with a SHA-2 digest and a predicate type. The finished bundle is
// verified as by VerifyStatement; errors are those of SignDigest.
func (s *Session) SignStatement(ctx context.Context, statement []byte) (*Signed, error) {
	return s.signStatement(ctx, statement, false)
}

// SignStatementByTag is SignStatement for NewTagSignature: timestamps are over the
// envelope, not the signature inside, and what is verified is the form for storage
// by tag. There is no JSON, since no bundle may have such timestamps.
func (s *Session) SignStatementByTag(ctx context.Context, statement []byte) (*Signed, error) {
	return s.signStatement(ctx, statement, true)
}

func (s *Session) signStatement(ctx context.Context, statement []byte, byTag bool) (*Signed, error) {
	d, err := s.DraftStatement(ctx, statement)
	if err != nil {
		return nil, err
	}
	cred, err := s.credentialFor(ctx, d)
	if err != nil {
		return nil, err
	}
	return s.submitStatement(ctx, d, cred, byTag)
}

// encodeEnvelope renders the envelope as JSON. The log commits to these very
// bytes, and so does a signature stored by tag.
func encodeEnvelope(statement, sig []byte) ([]byte, error) {
	text, err := json.Marshal(dsse.Envelope{
		PayloadType: StatementPayloadType,
		Payload:     base64.StdEncoding.EncodeToString(statement),
		Signatures:  []dsse.Signature{{Sig: base64.StdEncoding.EncodeToString(sig)}},
	})
	if err != nil {
		return nil, fmt.Errorf("encode envelope: %w", err)
	}
	return text, nil
}

// proposeEnvelope is the proposal of a dsse entry.
func proposeEnvelope(envelope, statement, sig, verifier []byte) (proposal, error) {
	type content struct {
		Envelope  string   `json:"envelope"`
		Verifiers [][]byte `json:"verifiers"`
	}
	type spec struct {
		ProposedContent content `json:"proposedContent"`
	}
	sent, err := json.Marshal(struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Spec       spec   `json:"spec"`
	}{"0.0.1", "dsse", spec{content{string(envelope), [][]byte{verifier}}}})
	if err != nil {
		return proposal{}, fmt.Errorf("encode log entry: %w", err)
	}
	stored, err := json.Marshal(dsseEntry{APIVersion: "0.0.1", Kind: "dsse", Spec: dsseSpec{
		EnvelopeHash: hashOf(envelope), PayloadHash: hashOf(statement),
		Signatures: []dsseSignature{{Signature: sig, Verifier: verifier}},
	}})
	if err != nil {
		return proposal{}, fmt.Errorf("encode log entry: %w", err)
	}
	return proposal{sent: sent, stored: stored}, nil
}

func hashOf(data []byte) entryHash {
	sum := sha256.Sum256(data)
	return entryHash{Algorithm: "sha256", Value: hex.EncodeToString(sum[:])}
}

// subject is what the client checks its own attestation for.
type subject struct {
	digest        []byte
	algorithm     string // "sha256", "sha384" or "sha512"
	predicateType string
}

// readSubject reads the first subject of a statement that has a SHA-2 digest.
func readSubject(statement []byte) (subject, error) {
	if len(statement) > maxStatement {
		return subject{}, fmt.Errorf("%d bytes is more than %d", len(statement), maxStatement)
	}
	parsed, err := ParseStatement(statement)
	if err != nil {
		return subject{}, err
	}
	for _, s := range parsed.Subjects {
		for _, algorithm := range []string{"sha256", "sha384", "sha512"} {
			digest, err := hex.DecodeString(s.Digest[algorithm])
			if err == nil && len(digest) == newHash(algorithm).Size() {
				return subject{digest, algorithm, parsed.PredicateType}, nil
			}
		}
	}
	return subject{}, errors.New("the statement has no subject with a SHA-256, SHA-384 or SHA-512 digest")
}
