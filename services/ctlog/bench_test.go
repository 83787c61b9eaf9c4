package ctlog_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"testing"
	"time"
)

// BenchmarkAddPreChain is one precertificate logged through the in-process
// call: checked, committed on a memory file system, SCT signed.
func BenchmarkAddPreChain(b *testing.B) {
	d, ca := newDisk(b), newAuthority(b)
	r := d.open(b, ca, nil)
	chains := make([][][]byte, 512)
	for i := range chains {
		chains[i] = ca.chain(b)
	}
	n := 0
	for b.Loop() {
		if n == len(chains) { // every leaf must be new
			b.StopTimer()
			for i := range chains {
				chains[i] = ca.chain(b)
			}
			n = 0
			b.StartTimer()
		}
		d.clock.move(2 * time.Millisecond) // so that no root waits for its millisecond
		if _, err := r.AddPreChain(b.Context(), chains[n]); err != nil {
			b.Fatal(err)
		}
		n++
	}
}

// BenchmarkAddPreChainFloor is the bare cryptography of one submission:
//
//	2 × ECDSA P-256 verification (precertificate by intermediate, that by root),
//	    each after SHA-256 of some 500 bytes
//	1 × SHA-256 of 600 bytes (identity), 1 × of 600 (leaf hash), 20 × of 65 (path)
//	1 × ECDSA P-256 signature after SHA-256 of 600 bytes (SCT)
func BenchmarkAddPreChainFloor(b *testing.B) {
	key := newKey(b)
	tbs, leaf, node := make([]byte, 500), make([]byte, 600), make([]byte, 65)
	sum := sha256.Sum256(tbs)
	sig, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		for range 2 {
			sum := sha256.Sum256(tbs)
			if !ecdsa.VerifyASN1(&key.PublicKey, sum[:], sig) {
				b.Fatal("signature does not verify")
			}
		}
		for range 2 {
			sha256.Sum256(leaf)
		}
		for range 20 {
			sha256.Sum256(node)
		}
		sum := sha256.Sum256(leaf)
		if _, err := key.Sign(rand.Reader, sum[:], crypto.SHA256); err != nil {
			b.Fatal(err)
		}
	}
}
