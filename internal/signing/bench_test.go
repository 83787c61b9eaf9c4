package signing_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"testing"

	"sigstack/internal/signing"
	"sigstack/internal/signing/signingtest"
)

// BenchmarkVerify parses and verifies one bundle with log entry and timestamp, as
// the verification of a release does for each file.
func BenchmarkVerify(b *testing.B) {
	trusted, text, id := golden(b)
	d := digest(artifact)
	for b.Loop() {
		parsed, err := signing.ParseBundle(text)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := signing.VerifyDigest(d, parsed, trusted, id); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkVerifyFloor is the bare crypto of one verification: 5 P-256
// verifications (signature; the same inside the log entry; signed entry timestamp;
// checkpoint; timestamp token). Chains of the signer's and of the timestamp authority's
// certificate, and SCTs, are proven once, for all that these signed. Hashes of some
// hundred bytes do not count.
func BenchmarkVerifyFloor(b *testing.B) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	d := sha256.Sum256([]byte(artifact))
	sig, err := key.Sign(rand.Reader, d[:], crypto.SHA256)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		for range 5 {
			if !ecdsa.VerifyASN1(&key.PublicKey, d[:], sig) {
				b.Fatal("the signature does not verify")
			}
		}
	}
}

// BenchmarkSignStatement signs attestations with one certificate, against the
// fakes of a stack over loopback HTTP: a log entry and a timestamp each, and the
// verification of the finished bundle.
func BenchmarkSignStatement(b *testing.B) {
	s := signingtest.New(b, now)
	session := newSession(b, s, signingtest.Email)
	text := statement(b)
	if _, err := session.SignStatement(b.Context(), text); err != nil { // gets the certificate
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := session.SignStatement(b.Context(), text); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSignStatementFloor is the bare crypto of one attestation: four P-256
// signatures (our own; the fakes' entry timestamp, checkpoint and timestamp
// token), and the 5 verifications of BenchmarkVerifyFloor.
func BenchmarkSignStatementFloor(b *testing.B) {
	key := newKey(b)
	d := digest(artifact)
	for b.Loop() {
		var sig []byte
		for range 4 {
			var err error
			if sig, err = key.Sign(rand.Reader, d, crypto.SHA256); err != nil {
				b.Fatal(err)
			}
		}
		for range 5 {
			if !ecdsa.VerifyASN1(&key.PublicKey, d, sig) {
				b.Fatal("the signature does not verify")
			}
		}
	}
}
