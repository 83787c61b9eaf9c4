package signing_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"sigstack/internal/signing"
	"sigstack/internal/signing/signingtest"
)

// FuzzParseBundle mutates a good bundle. Property: whatever verifies says what
// the original says in every member that is evidence.
func FuzzParseBundle(f *testing.F) {
	trusted, text, id := golden(f)
	original := essence(f, text)
	f.Add(text)
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json"}`))
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.bundle+json;version=0.1","verificationMaterial":{"publicKey":{"hint":"x"}},"dsseEnvelope":{"payload":"e30=","signatures":[{"sig":"AA=="}]}}`))
	f.Add(edit(f, text, func(b *protobundle.Bundle) { asChain(b, "0.1"); entry(b).InclusionProof = nil }))
	f.Add(bytes.Replace(text, []byte(`"logIndex":"1"`), []byte(`"logIndex":"2"`), 1))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := signing.ParseBundle(data)
		if err != nil {
			return
		}
		if _, err := signing.VerifyDigest(digest(artifact), b, trusted, id); err != nil {
			return
		}
		got, original := essence(t, data), proto.CloneOf(original)
		if entry(got).InclusionProof == nil { // old versions do without
			entry(original).InclusionProof = nil
		}
		if !proto.Equal(got, original) {
			t.Errorf("accepted a changed bundle: got %s, want %s", protojson.Format(got), protojson.Format(original))
		}
	})
}

// essence is the bundle without what a signature may vary in: its media type (any
// version up to 0.3), and the certificates after the leaf of old versions.
func essence(tb testing.TB, data []byte) *protobundle.Bundle {
	tb.Helper()
	var pb protobundle.Bundle
	if err := protojson.Unmarshal(data, &pb); err != nil {
		tb.Fatal(err)
	}
	pb.MediaType = ""
	if chain := pb.GetVerificationMaterial().GetX509CertificateChain(); chain != nil {
		pb.VerificationMaterial.Content = &protobundle.VerificationMaterial_Certificate{Certificate: chain.Certificates[0]}
	}
	return &pb
}

// FuzzParseLogAnswer: what is accepted comes through unchanged.
func FuzzParseLogAnswer(f *testing.F) {
	s := signingtest.New(f, now)
	forged := newForger(f, s)
	sig := forged.sign(artifact)
	entry := forged.log(sig, digest(artifact))
	seed, err := json.Marshal(map[string]any{"00": map[string]any{
		"body": entry.CanonicalizedBody, "integratedTime": entry.IntegratedTime, "logID": "00", "logIndex": 1,
		"verification": map[string]any{"signedEntryTimestamp": "AA==", "inclusionProof": map[string]any{
			"checkpoint": "c", "hashes": []string{"00"}, "logIndex": 1, "rootHash": "00", "treeSize": 2,
		}},
	}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"a":{},"b":{}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := signing.ParseLogAnswer(data)
		if err != nil {
			return
		}
		var raw map[string]struct {
			Body         []byte `json:"body"`
			LogIndex     int64  `json:"logIndex"`
			Verification struct {
				Proof struct {
					Checkpoint string `json:"checkpoint"`
					TreeSize   int64  `json:"treeSize"`
				} `json:"inclusionProof"`
			} `json:"verification"`
		}
		if err := json.Unmarshal(data, &raw); err != nil {
			t.Fatalf("accepted what is no JSON: %v", err)
		}
		for _, want := range raw {
			if !bytes.Equal(got.CanonicalizedBody, want.Body) || got.LogIndex != want.LogIndex ||
				got.InclusionProof.TreeSize != want.Verification.Proof.TreeSize ||
				got.InclusionProof.Checkpoint.Envelope != want.Verification.Proof.Checkpoint {
				t.Errorf("got %v, want %+v", got, want)
			}
		}
	})
}

// FuzzDecodeCertificate: what is accepted re-encodes to something that decodes
// to the same certificate.
func FuzzDecodeCertificate(f *testing.F) {
	s := signingtest.New(f, now)
	cert := newForger(f, s).cert
	f.Add(signing.EncodeCertificate(cert))
	f.Add(pemOf(cert))
	f.Add([]byte("-----BEGIN CERTIFICATE-----"))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := signing.DecodeCertificate(data)
		if err != nil {
			return
		}
		again, err := signing.DecodeCertificate(signing.EncodeCertificate(got))
		if err != nil || !reflect.DeepEqual(again.Raw, got.Raw) {
			t.Errorf("got %v, %v after re-encoding, want the same certificate", again, err)
		}
	})
}

// FuzzParseCertificateAnswer: an accepted answer yields a certificate.
func FuzzParseCertificateAnswer(f *testing.F) {
	s := signingtest.New(f, now)
	f.Add(certificateAnswer(f, s))
	f.Add([]byte(`{"signedCertificateDetachedSct":{"chain":{"certificates":[]}}}`))
	f.Add([]byte(`{"signedCertificateEmbeddedSct":{"chain":{"certificates":["a","b"]}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		cert, err := signing.ParseCertificateAnswer(data)
		if (cert == nil) == (err == nil) {
			t.Errorf("got %v and %v, want one of them", cert, err)
		}
	})
}

// FuzzParseCheckpoint: what is accepted begins with the lines that are read from
// it, and names as many signers as it has lines after its one blank line.
func FuzzParseCheckpoint(f *testing.F) {
	forged := newForger(f, signingtest.New(f, now))
	sig := forged.sign(artifact)
	l := forged.tile(sig, digest(artifact))
	l.more, l.tail = cosignatures(2), "extension\n"
	f.Add(forged.seal(l).InclusionProof.Checkpoint.Envelope)
	f.Add("log\n1\nAA==\n\n\u2014 log AAAAAAA=\n")
	f.Fuzz(func(t *testing.T, text string) {
		origin, size, root, signers, err := signing.ParseCheckpoint(text)
		if err != nil {
			return
		}
		head := fmt.Sprintf("%s\n%d\n%s", origin, size, base64Of(root))
		if !strings.HasPrefix(text, head) {
			t.Errorf("got %q, want the beginning of %q", head, text)
		}
		if _, lines, _ := strings.Cut(text, "\n\n"); strings.Count(lines, "\n") != len(signers) {
			t.Errorf("got signers %q, want one a line of %q", signers, lines)
		}
	})
}
