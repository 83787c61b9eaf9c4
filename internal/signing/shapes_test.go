package signing_test

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"

	"sigstack/internal/signing"
	"sigstack/internal/signing/signingtest"
)

// A shape is a change to the form of a good bundle of version 0.3.
type shape struct {
	name   string
	change func(*protobundle.Bundle)
	want   signing.Check // empty: accepted
}

const oldMediaType = "application/vnd.dev.sigstore.bundle+json;version="

// asChain puts the certificate into a chain, as old versions have it, with others
// behind it.
func asChain(b *protobundle.Bundle, version string, more ...[]byte) {
	b.MediaType = oldMediaType + version
	chain := []*protocommon.X509Certificate{b.GetVerificationMaterial().GetCertificate()}
	for _, der := range more {
		chain = append(chain, &protocommon.X509Certificate{RawBytes: der})
	}
	setChain(b, chain)
}

func setChain(b *protobundle.Bundle, chain []*protocommon.X509Certificate) {
	b.VerificationMaterial.Content = &protobundle.VerificationMaterial_X509CertificateChain{
		X509CertificateChain: &protocommon.X509CertificateChain{Certificates: chain},
	}
}

func shapes(s *signingtest.Stack) []shape {
	middle, root := s.Keys.CA.Chain[0].Raw, s.Keys.CA.Chain[1].Raw
	digestOf := func(b *protobundle.Bundle) *protocommon.HashOutput { return b.GetMessageSignature().MessageDigest }
	sha3 := protocommon.HashAlgorithm(protocommon.HashAlgorithm_value["SHA3_256"])
	return []shape{
		{"nothing", func(*protobundle.Bundle) {}, ""},
		{"v0.3 as it was first called", func(b *protobundle.Bundle) { b.MediaType = oldMediaType + "0.3" }, ""},
		{"v0.1", func(b *protobundle.Bundle) { asChain(b, "0.1") }, ""},
		{"v0.2", func(b *protobundle.Bundle) { asChain(b, "0.2") }, ""},
		{"v0.2 with the intermediate", func(b *protobundle.Bundle) { asChain(b, "0.2", middle) }, ""},
		{"v0.1 without proof", func(b *protobundle.Bundle) { asChain(b, "0.1"); entry(b).InclusionProof = nil }, ""},
		{"v0.1 with the root", func(b *protobundle.Bundle) { asChain(b, "0.1", middle, root) }, ""},
		{"v0.1 without promise", func(b *protobundle.Bundle) { asChain(b, "0.1"); entry(b).InclusionPromise = nil }, signing.CheckPromise},
		{"v0.1 with a wrong proof", func(b *protobundle.Bundle) { asChain(b, "0.1"); flip(entry(b).InclusionProof.Hashes[0]) }, signing.CheckInclusion},
		{"v0.1 without entry", func(b *protobundle.Bundle) { asChain(b, "0.1"); b.VerificationMaterial.TlogEntries = nil }, signing.CheckLog},
		{"v0.2 without proof", func(b *protobundle.Bundle) { asChain(b, "0.2"); entry(b).InclusionProof = nil }, signing.CheckInclusion},
		{"v0.3 without proof", func(b *protobundle.Bundle) { entry(b).InclusionProof = nil }, signing.CheckInclusion},
		{"proof without checkpoint", func(b *protobundle.Bundle) { entry(b).InclusionProof.Checkpoint = nil }, signing.CheckInclusion},
		{"v0.2 with the root", func(b *protobundle.Bundle) { asChain(b, "0.2", middle, root) }, signing.CheckBundle},
		{"v0.2 with an empty chain", func(b *protobundle.Bundle) { b.MediaType = oldMediaType + "0.2"; setChain(b, nil) }, signing.CheckBundle},
		{"v0.2 with a broken chain", func(b *protobundle.Bundle) { asChain(b, "0.2", []byte("x")) }, signing.CheckBundle},
		{"v0.2 with a chain in the wrong order", func(b *protobundle.Bundle) {
			leaf := b.GetVerificationMaterial().GetCertificate()
			b.MediaType = oldMediaType + "0.2"
			setChain(b, []*protocommon.X509Certificate{{RawBytes: middle}, leaf})
		}, signing.CheckEntry},
		{"v0.2 with one certificate", func(b *protobundle.Bundle) { b.MediaType = oldMediaType + "0.2" }, signing.CheckBundle},
		{"v0.3 with a chain", func(b *protobundle.Bundle) {
			media := b.MediaType
			asChain(b, "0.2")
			b.MediaType = media
		}, signing.CheckBundle},
		{"v0.2 called as v0.3 is", func(b *protobundle.Bundle) {
			asChain(b, "")
			b.MediaType = "application/vnd.dev.sigstore.bundle.v0.2+json"
		}, signing.CheckBundle},
		{"v0.3.1", func(b *protobundle.Bundle) { b.MediaType = "application/vnd.dev.sigstore.bundle.v0.3.1+json" }, signing.CheckBundle},
		{"no media type", func(b *protobundle.Bundle) { b.MediaType = "" }, signing.CheckBundle},
		{"no content", func(b *protobundle.Bundle) { b.Content = nil }, signing.CheckBundle},
		{"no material", func(b *protobundle.Bundle) { b.VerificationMaterial = nil }, signing.CheckBundle},
		{"no signature", func(b *protobundle.Bundle) { b.GetMessageSignature().Signature = nil }, signing.CheckBundle},
		{"no digest", func(b *protobundle.Bundle) { b.GetMessageSignature().MessageDigest = nil }, signing.CheckBundle},
		{"empty digest", func(b *protobundle.Bundle) { digestOf(b).Digest = nil }, signing.CheckBundle},
		{"digest without algorithm", func(b *protobundle.Bundle) { digestOf(b).Algorithm = 0 }, signing.CheckBundle},
		{"SHA-256 called SHA-512", func(b *protobundle.Bundle) { digestOf(b).Algorithm = protocommon.HashAlgorithm_SHA2_512 }, signing.CheckBundle},
		{"SHA-256 called SHA3-256", func(b *protobundle.Bundle) { digestOf(b).Algorithm = sha3 }, signing.CheckBundle},
		{"key in place of the certificate", func(b *protobundle.Bundle) {
			b.VerificationMaterial.Content = &protobundle.VerificationMaterial_PublicKey{PublicKey: &protocommon.PublicKeyIdentifier{}}
		}, signing.CheckBundle},
		{"negative index", func(b *protobundle.Bundle) { entry(b).LogIndex = -1 }, signing.CheckEntry},
		{"no log", func(b *protobundle.Bundle) { entry(b).LogId = nil }, signing.CheckEntry},
		{"no kind", func(b *protobundle.Bundle) { entry(b).KindVersion = nil }, signing.CheckEntry},
		{"no body", func(b *protobundle.Bundle) { entry(b).CanonicalizedBody = nil }, signing.CheckEntry},
		{"certificate with bytes behind it", func(b *protobundle.Bundle) {
			cert := b.GetVerificationMaterial().GetCertificate()
			cert.RawBytes = append(cert.RawBytes, 0)
		}, signing.CheckBundle},
	}
}

// rewrite changes a body of JSON and makes it canonical again.
func (f *forger) rewrite(body []byte, change func(object)) []byte {
	var b object
	if err := json.Unmarshal(body, &b); err != nil {
		f.tb.Fatal(err)
	}
	change(b)
	return f.json(b)
}

func base64Of(data []byte) string { return base64.StdEncoding.EncodeToString(data) }

func fromBase64(text any) []byte {
	data, err := base64.StdEncoding.DecodeString(text.(string))
	if err != nil {
		panic(err) // what we encoded ourselves
	}
	return data
}

func upper(text any) string { return strings.ToUpper(text.(string)) }

func TestParseBundleNamesCosignsOwnFormat(t *testing.T) {
	_, err := signing.ParseBundle([]byte(`{"base64Signature":"MEUCIQ==","cert":"","rekorBundle":{}}`))
	wantRefused(t, err, signing.CheckBundle)
	if want := "sign with --new-bundle-format"; !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want the next step: %s", err, want)
	}
}
