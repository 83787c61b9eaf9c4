package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"syscall"
	"testing"
)

// cpuTime is what the process used so far, in nanoseconds.
func cpuTime(b *testing.B) int64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// signedText is something signed, with its signature.
type signedText struct {
	text      []byte
	signature []byte
}

func signText(b *testing.B, key crypto.Signer, length int) signedText {
	b.Helper()
	text := make([]byte, length)
	sum := sha256.Sum256(text)
	signature, err := key.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		b.Fatal(err)
	}
	return signedText{text, signature}
}

// BenchmarkCertificateFloor is the bare cryptography of one certificate that a
// stack issues, its CT log and its audit record included:
//
//	1 × RSA 2048 PKCS#1 v1.5 verification (token), SHA-256 of 600 bytes
//	1 × ECDSA P-256 verification (proof of possession), SHA-256 of 20 bytes
//	1 × rand.Read of 20 bytes (serial), 1 × SHA-1 of 65 bytes (key identifier)
//	2 × ECDSA P-256 signature (precertificate, certificate), SHA-256 of 600 bytes each
//	1 × ECDSA P-256 verification (precertificate, by the log), SHA-256 of 600 bytes
//	1 × SHA-256 of 700 bytes (identity in the log), 1 × of 600 (leaf), 2 × of 65 (nodes)
//	1 × ECDSA P-256 signature (SCT), SHA-256 of 600 bytes
//	1 × ECDSA P-256 verification (SCT, by the authority), SHA-256 of 600 bytes
//	2 × SHA-256 of 700 bytes (fingerprint on record, the record's own hash)
//
// Not in it, though it is done: the authority's verification of its certificate,
// which could be left out at some risk; and what is done once for many, which is
// the verification of the issuing CA, the signature under a batch of audit records,
// and the rest of the tree's hashes. It keeps every core busy, as the clients of a
// measured stack do: a core that shares its caches with nobody would do the same in
// less time.
func BenchmarkCertificateFloor(b *testing.B) {
	ec, rsaKey := newECDSA(b, elliptic.P256()), newRSA(b, 2048)
	token, proof, tbs := signText(b, rsaKey, 600), signText(b, ec, 20), signText(b, ec, 600)
	der, node, point := make([]byte, 700), make([]byte, 65), make([]byte, 65)
	verify := func(m signedText) {
		sum := sha256.Sum256(m.text)
		if !ecdsa.VerifyASN1(&ec.PublicKey, sum[:], m.signature) {
			b.Error("signature does not verify")
		}
	}
	one := func(serial []byte) {
		sum := sha256.Sum256(token.text)
		if err := rsa.VerifyPKCS1v15(&rsaKey.PublicKey, crypto.SHA256, sum[:], token.signature); err != nil {
			b.Error(err)
		}
		if _, err := rand.Read(serial); err != nil {
			b.Error(err)
		}
		sha1.Sum(point)
		for range 3 {
			sum := sha256.Sum256(tbs.text)
			if _, err := ec.Sign(rand.Reader, sum[:], crypto.SHA256); err != nil {
				b.Error(err)
			}
		}
		verify(proof)
		verify(tbs)
		verify(tbs)
		for range 3 {
			sha256.Sum256(der)
		}
		sha256.Sum256(tbs.text)
		for range 2 {
			sha256.Sum256(node)
		}
	}
	before := cpuTime(b)
	b.RunParallel(func(pb *testing.PB) {
		for serial := make([]byte, 20); pb.Next(); {
			one(serial)
		}
	})
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
}
