package signing

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"fmt"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"google.golang.org/protobuf/encoding/protojson"
)

// bundleMediaType is the media type that we emit; older ones are read.
const bundleMediaType = "application/vnd.dev.sigstore.bundle.v0.3+json"

// evidence is everything that goes into a bundle.
type evidence struct {
	digest     [sha256.Size]byte // SHA-256 of the artifact, if there is no statement
	statement  []byte            // what an envelope holds; nil for a message signature
	signature  []byte
	cert       *x509.Certificate // nil for a bare key
	hint       string            // of the bare key
	entries    []*protorekor.TransparencyLogEntry
	timestamps [][]byte // RFC 3161 TimeStampResp, DER
	envelope   []byte   // of an attestation by tag: its JSON, which timestamps are over; nil otherwise
}

// timestamped is what timestamps are over.
func (e evidence) timestamped() []byte {
	if e.envelope != nil {
		return e.envelope
	}
	return e.signature
}

// build assembles a v0.3 bundle and its compact JSON, or what storage by tag is
// made of, which has no JSON.
func (e evidence) build() (*Bundle, []byte, error) {
	if e.envelope != nil {
		b, err := newBundleOfTag(e)
		return b, nil, err
	}
	pb := e.proto(bundleMediaType)
	b, err := newBundle(pb)
	if err != nil {
		return nil, nil, err
	}
	text, err := protojson.Marshal(pb)
	if err != nil {
		return nil, nil, fmt.Errorf("encode bundle: %w", err)
	}
	// protojson varies its white space on purpose; compact JSON does not.
	var compact bytes.Buffer
	if err := json.Compact(&compact, text); err != nil {
		return nil, nil, fmt.Errorf("encode bundle: %w", err)
	}
	return b, compact.Bytes(), nil
}

// proto renders e as a bundle of the given media type.
func (e evidence) proto(mediaType string) *protobundle.Bundle {
	pb := &protobundle.Bundle{
		MediaType:            mediaType,
		VerificationMaterial: &protobundle.VerificationMaterial{TlogEntries: e.entries},
	}
	e.setSigner(pb.VerificationMaterial)
	e.setContent(pb)
	if len(e.timestamps) > 0 {
		data := &protobundle.TimestampVerificationData{}
		for _, ts := range e.timestamps {
			data.Rfc3161Timestamps = append(data.Rfc3161Timestamps, &protocommon.RFC3161SignedTimestamp{SignedTimestamp: ts})
		}
		pb.VerificationMaterial.TimestampVerificationData = data
	}
	return pb
}

func (e evidence) setSigner(material *protobundle.VerificationMaterial) {
	if e.cert == nil {
		material.Content = &protobundle.VerificationMaterial_PublicKey{
			PublicKey: &protocommon.PublicKeyIdentifier{Hint: e.hint},
		}
		return
	}
	material.Content = &protobundle.VerificationMaterial_Certificate{
		Certificate: &protocommon.X509Certificate{RawBytes: e.cert.Raw},
	}
}

func (e evidence) setContent(pb *protobundle.Bundle) {
	if e.statement != nil {
		pb.Content = &protobundle.Bundle_DsseEnvelope{DsseEnvelope: &protodsse.Envelope{
			Payload:     e.statement,
			PayloadType: StatementPayloadType,
			Signatures:  []*protodsse.Signature{{Sig: e.signature}},
		}}
		return
	}
	pb.Content = &protobundle.Bundle_MessageSignature{MessageSignature: &protocommon.MessageSignature{
		MessageDigest: &protocommon.HashOutput{Algorithm: protocommon.HashAlgorithm_SHA2_256, Digest: e.digest[:]},
		Signature:     e.signature,
	}}
}
