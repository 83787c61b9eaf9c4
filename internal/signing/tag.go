package signing

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"

	"sigstack/internal/pki"
)

// TagSignature is a signature or attestation as a layer of a tag's image holds it
// (contract release-artifacts §B1). Payload is the layer; the rest are annotations
// in their own encodings.
type TagSignature struct {
	Payload     []byte // what is signed; of an attestation, the DSSE envelope
	Signature   []byte // raw, not base64; empty for an attestation
	Certificate []byte // PEM; empty with a key pair
	Chain       []byte // PEM, issuer first
	Promise     []byte // JSON of dev.sigstore.cosign/bundle
	Timestamp   []byte // JSON of dev.sigstore.cosign/rfc3161timestamp; may be empty; over Payload of an attestation, else over Signature
}

// tagPromise is the JSON of a log entry with its signed entry timestamp. Members
// are named and ordered as cosign has them.
type tagPromise struct {
	SignedEntryTimestamp []byte
	Payload              tagEntry
}

type tagEntry struct {
	Body           []byte `json:"body"`
	IntegratedTime int64  `json:"integratedTime"`
	LogIndex       int64  `json:"logIndex"`
	LogID          string `json:"logID"`
}

// tagTimestamp is the JSON of an RFC 3161 response.
type tagTimestamp struct {
	SignedRFC3161Timestamp []byte
}

// NewTagSignature renders a finished signature for storage by tag. Payload is
// what was signed; of a statement it may be nil, since the layer is the envelope.
//
// Of several log entries or timestamps the first is kept: the form holds one. The
// timestamp of a statement is left out unless SignStatementByTag made it: by tag it
// has to be over the envelope, while a bundle's is over the signature.
func NewTagSignature(s *Signed, payload []byte) (TagSignature, error) {
	t := TagSignature{Payload: payload, Signature: s.Signature}
	if s.Envelope != nil {
		t.Payload, t.Signature = s.Envelope, nil
	} else if digest, _ := s.Bundle.Digest(); !bytes.Equal(digest, sum256(payload)) {
		return TagSignature{}, errors.New("store signature by tag: it is over another payload")
	}
	if s.Certificate != nil {
		t.Certificate = pki.CertificatesPEM([]*x509.Certificate{s.Certificate})
		t.Chain = pki.CertificatesPEM(s.Chain)
	}
	material := s.Bundle.entity.GetVerificationMaterial()
	if len(material.GetTlogEntries()) == 0 {
		return TagSignature{}, errors.New("store signature by tag: it has no log entry")
	}
	var err error
	if t.Promise, err = json.Marshal(newTagPromise(material.GetTlogEntries()[0])); err != nil {
		return TagSignature{}, fmt.Errorf("encode log entry: %w", err)
	}
	tokens := material.GetTimestampVerificationData().GetRfc3161Timestamps()
	if len(tokens) > 0 && (s.Envelope == nil || s.Bundle.envelope != nil) {
		if t.Timestamp, err = json.Marshal(tagTimestamp{tokens[0].GetSignedTimestamp()}); err != nil {
			return TagSignature{}, fmt.Errorf("encode timestamp: %w", err)
		}
	}
	return t, nil
}

func newTagPromise(e *protorekor.TransparencyLogEntry) tagPromise {
	return tagPromise{
		SignedEntryTimestamp: e.GetInclusionPromise().GetSignedEntryTimestamp(),
		Payload: tagEntry{
			Body: e.GetCanonicalizedBody(), IntegratedTime: e.GetIntegratedTime(),
			LogIndex: e.GetLogIndex(), LogID: hex.EncodeToString(e.GetLogId().GetKeyId()),
		},
	}
}

// Bundle makes the bundle that VerifyDigest takes with the SHA-256 of Payload, or
// VerifyStatement with an artifact's digest. It has no inclusion proof. Errors are
// refusals at CheckBundle and CheckEntry.
func (t TagSignature) Bundle() (*Bundle, error) {
	e, err := t.evidence()
	if err != nil {
		return nil, refuse(CheckBundle, fmt.Errorf("read signature stored by tag: %w", err))
	}
	if len(e.statement) > 0 {
		if err := e.checkEnvelopeHash(t.Payload); err != nil {
			return nil, refuse(CheckEntry, err)
		}
	}
	return newBundleOfTag(e)
}

// asStored returns the bundle that others will read out of storage by tag, if b is
// to go there, without what is left out there; else b.
func (b *Bundle) asStored() (*Bundle, error) {
	if b.envelope == nil {
		return b, nil
	}
	t, err := NewTagSignature(&Signed{Bundle: b, Envelope: b.envelope, Certificate: b.cert}, nil)
	if err != nil {
		return nil, err
	}
	return t.Bundle()
}

func (t TagSignature) evidence() (evidence, error) {
	e := evidence{digest: sha256.Sum256(t.Payload), signature: t.Signature}
	if len(t.Payload) > MaxBundle {
		return evidence{}, fmt.Errorf("%d bytes is more than %d", len(t.Payload), MaxBundle)
	}
	var err error
	if len(t.Signature) == 0 {
		if e.statement, e.signature, err = openEnvelope(t.Payload); err != nil {
			return evidence{}, err
		}
		e.envelope = t.Payload
	}
	if len(t.Certificate) > 0 {
		certs, err := pki.ParseCertificatesPEM(t.Certificate)
		if err != nil {
			return evidence{}, err
		}
		if len(certs) != 1 {
			return evidence{}, fmt.Errorf("got %d certificates, want 1", len(certs))
		}
		e.cert = certs[0]
	}
	if err := e.readPromise(t.Promise); err != nil {
		return evidence{}, err
	}
	if len(t.Timestamp) > 0 {
		var ts tagTimestamp
		if err := json.Unmarshal(t.Timestamp, &ts); err != nil {
			return evidence{}, fmt.Errorf("parse timestamp: %w", err)
		}
		e.timestamps = [][]byte{ts.SignedRFC3161Timestamp}
	}
	return e, nil
}

// openEnvelope returns the statement of a DSSE envelope and its one signature.
func openEnvelope(text []byte) (statement, sig []byte, err error) {
	var envelope dsse.Envelope
	if err := json.Unmarshal(text, &envelope); err != nil {
		return nil, nil, fmt.Errorf("parse envelope: %w", err)
	}
	if envelope.PayloadType != StatementPayloadType {
		return nil, nil, fmt.Errorf("the envelope is of type %q, want %q", envelope.PayloadType, StatementPayloadType)
	}
	if len(envelope.Signatures) != 1 {
		return nil, nil, fmt.Errorf("the envelope has %d signatures, want 1", len(envelope.Signatures))
	}
	if statement, err = envelope.DecodeB64Payload(); err != nil {
		return nil, nil, fmt.Errorf("parse envelope: %w", err)
	}
	if sig, err = base64.StdEncoding.DecodeString(envelope.Signatures[0].Sig); err != nil {
		return nil, nil, fmt.Errorf("parse envelope: %w", err)
	}
	if len(statement) == 0 || len(sig) == 0 {
		return nil, nil, errors.New("the envelope is empty")
	}
	return statement, sig, nil
}

// readPromise reads the log entry; without one there is nothing that a verifier
// would accept, which is for it to say.
func (e *evidence) readPromise(text []byte) error {
	if len(text) == 0 {
		return nil
	}
	var p tagPromise
	if err := json.Unmarshal(text, &p); err != nil {
		return fmt.Errorf("parse log entry: %w", err)
	}
	logID, err := hex.DecodeString(p.Payload.LogID)
	if err != nil {
		return fmt.Errorf("parse log entry: decode log ID: %w", err)
	}
	kind, err := kindOf(p.Payload.Body)
	if err != nil {
		return fmt.Errorf("parse log entry: %w", err)
	}
	e.entries = []*protorekor.TransparencyLogEntry{{
		LogIndex:          p.Payload.LogIndex,
		LogId:             &protocommon.LogId{KeyId: logID},
		KindVersion:       kind,
		IntegratedTime:    p.Payload.IntegratedTime,
		InclusionPromise:  &protorekor.InclusionPromise{SignedEntryTimestamp: p.SignedEntryTimestamp},
		CanonicalizedBody: p.Payload.Body,
	}}
	e.hint = hintOf(p.Payload.Body)
	return nil
}

// hintOf names the bare key of a logged body as bundles name it, empty if there
// is none. Nothing is verified by a hint.
func hintOf(body []byte) string {
	var entry struct {
		Spec struct {
			Signature struct {
				PublicKey struct {
					Content []byte `json:"content"`
				} `json:"publicKey"`
			} `json:"signature"`
			Signatures []dsseSignature `json:"signatures"`
		} `json:"spec"`
	}
	if json.Unmarshal(body, &entry) != nil {
		return ""
	}
	text := entry.Spec.Signature.PublicKey.Content
	if len(entry.Spec.Signatures) == 1 {
		text = entry.Spec.Signatures[0].Verifier
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PUBLIC KEY" {
		return ""
	}
	return keyHint(block.Bytes)
}

// checkEnvelopeHash checks that the log's dsse entry is of these very bytes of the
// envelope, which a bundle no longer has.
func (e evidence) checkEnvelopeHash(envelope []byte) error {
	for _, logged := range e.entries {
		if logged.GetKindVersion().GetKind() != "dsse" {
			continue
		}
		var entry dsseEntry
		if err := json.Unmarshal(logged.GetCanonicalizedBody(), &entry); err != nil {
			return fmt.Errorf("parse log entry: %w", err)
		}
		if entry.Spec.EnvelopeHash != hashOf(envelope) {
			return errors.New("the log entry is of another envelope")
		}
	}
	return nil
}

func sum256(data []byte) []byte {
	sum := sha256.Sum256(data)
	return sum[:]
}
