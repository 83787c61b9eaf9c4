package tsa_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/digitorus/timestamp"
)

// BenchmarkTimestamp is one DER request through the mux, answered with the
// certificate.
func BenchmarkTimestamp(b *testing.B) {
	a := newAuthority(b, newHierarchy(b, elliptic.P256()), nil)
	query := derQuery(b, timestamp.Request{Certificates: true})
	for b.Loop() {
		r := httptest.NewRequestWithContext(context.Background(), http.MethodPost, path, bytes.NewReader(query))
		r.Header.Set("Content-Type", derType)
		rec := httptest.NewRecorder()
		a.mux.ServeHTTP(rec, r)
		if rec.Code != http.StatusCreated {
			b.Fatalf("answer %d: %s", rec.Code, rec.Body)
		}
	}
}

// BenchmarkTimestampFloor is the bare cryptography of one timestamp:
//
//	1 × rand.Read of 20 bytes (serial)
//	1 × SHA-256 of a 160-byte TSTInfo
//	1 × SHA-256 of 300 bytes of signed attributes
//	1 × ECDSA P-256 signature
func BenchmarkTimestampFloor(b *testing.B) {
	key := newKey(b, elliptic.P256())
	serial, info, attrs := make([]byte, 20), make([]byte, 160), make([]byte, 300)
	for b.Loop() {
		if _, err := rand.Read(serial); err != nil {
			b.Fatal(err)
		}
		sha256.Sum256(info)
		sum := sha256.Sum256(attrs)
		if _, err := key.Sign(rand.Reader, sum[:], crypto.SHA256); err != nil {
			b.Fatal(err)
		}
	}
}
