package signing_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"testing"

	"sigstack/internal/signing"
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

// BenchmarkVerifyFloor is the bare crypto of one verification: 11 P-256
// verifications (signature; the same inside the log entry; signed entry
// timestamp; checkpoint; SCT; timestamp token, its certificate and that one's
// issuer; certificate and its issuer at the token's time; the certificate again
// at the log's time). Hashes of some hundred bytes do not count.
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
		for range 11 {
			if !ecdsa.VerifyASN1(&key.PublicKey, d[:], sig) {
				b.Fatal("the signature does not verify")
			}
		}
	}
}
