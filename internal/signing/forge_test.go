package signing_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/digitorus/timestamp"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"sigstack/internal/pki"
	"sigstack/internal/signing"
	"sigstack/internal/signing/signingtest"
	"sigstack/internal/trust"
)

type tlogEntry = protorekor.TransparencyLogEntry

func kitOf(tb testing.TB, m trust.Material) *signing.Kit {
	tb.Helper()
	trustedRoot, err := m.TrustedRoot()
	if err != nil {
		tb.Fatal(err)
	}
	config, err := m.SigningConfig()
	if err != nil {
		tb.Fatal(err)
	}
	kit, err := signing.NewKit("kit/trusted_root.json", trustedRoot, config)
	if err != nil {
		tb.Fatal(err)
	}
	return kit
}

// forger makes bundles without a Session, which would refuse to hand out what
// these tests need.
type forger struct {
	tb    testing.TB
	stack *signingtest.Stack
	key   *ecdsa.PrivateKey
	cert  *x509.Certificate
}

func newForger(tb testing.TB, s *signingtest.Stack) *forger {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := s.Issue(key.Public(), signingtest.Email, s.Issuer())
	if err != nil {
		tb.Fatal(err)
	}
	return &forger{tb: tb, stack: s, key: key, cert: cert}
}

func (f *forger) sign(text string) []byte {
	d := sha256.Sum256([]byte(text))
	sig, err := f.key.Sign(rand.Reader, d[:], crypto.SHA256)
	if err != nil {
		f.tb.Fatal(err)
	}
	return sig
}

func (f *forger) post(path, contentType string, body []byte) []byte {
	res, err := http.Post(f.stack.URL+path, contentType, bytes.NewReader(body))
	if err != nil {
		f.tb.Fatal(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusCreated {
		f.tb.Fatalf("got %d %s %v, want 201", res.StatusCode, got, err)
	}
	return got
}

// log has sig logged as one over digest.
func (f *forger) log(sig, digest []byte) *tlogEntry {
	pem := pki.CertificatesPEM([]*x509.Certificate{f.cert})
	body, err := json.Marshal(map[string]any{
		"apiVersion": "0.0.1", "kind": "hashedrekord",
		"spec": map[string]any{
			"data":      map[string]any{"hash": map[string]any{"algorithm": "sha256", "value": hex.EncodeToString(digest)}},
			"signature": map[string]any{"content": sig, "publicKey": map[string]any{"content": pem}},
		},
	})
	if err != nil {
		f.tb.Fatal(err)
	}
	entry, err := signing.ParseLogAnswer(f.post("/api/v1/log/entries", "application/json", body))
	if err != nil {
		f.tb.Fatal(err)
	}
	return entry
}

func (f *forger) timestamp(sig []byte) []byte {
	query, err := timestamp.CreateRequest(bytes.NewReader(sig), &timestamp.RequestOptions{Hash: crypto.SHA256})
	if err != nil {
		f.tb.Fatal(err)
	}
	return f.post("/api/v1/timestamp", "application/timestamp-query", query)
}

func (f *forger) bundle(sig, digest []byte) []byte {
	out, err := protojson.Marshal(&protobundle.Bundle{
		MediaType: "application/vnd.dev.sigstore.bundle.v0.3+json",
		VerificationMaterial: &protobundle.VerificationMaterial{
			Content:     &protobundle.VerificationMaterial_Certificate{Certificate: &protocommon.X509Certificate{RawBytes: f.cert.Raw}},
			TlogEntries: []*tlogEntry{f.log(sig, digest)},
			TimestampVerificationData: &protobundle.TimestampVerificationData{
				Rfc3161Timestamps: []*protocommon.RFC3161SignedTimestamp{{SignedTimestamp: f.timestamp(sig)}},
			},
		},
		Content: &protobundle.Bundle_MessageSignature{MessageSignature: &protocommon.MessageSignature{
			MessageDigest: &protocommon.HashOutput{Algorithm: protocommon.HashAlgorithm_SHA2_256, Digest: digest},
			Signature:     sig,
		}},
	})
	if err != nil {
		f.tb.Fatal(err)
	}
	return out
}

// signedOver returns a bundle for digest whose signature is over text.
func signedOver(tb testing.TB, s *signingtest.Stack, text string, digest []byte) []byte {
	tb.Helper()
	f := newForger(tb, s)
	return f.bundle(f.sign(text), digest)
}

// signedLater returns a bundle that is logged and timestamped when the
// certificate is of the given age.
func signedLater(tb testing.TB, s *signingtest.Stack, age time.Duration) []byte {
	tb.Helper()
	f := newForger(tb, s)
	then := s.Now().Add(age)
	s.Now = func() time.Time { return then }
	return f.bundle(f.sign(artifact), digest(artifact))
}
