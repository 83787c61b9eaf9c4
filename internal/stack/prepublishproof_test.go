package stack

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"sigstack/internal/pki"
	"sigstack/internal/trust"
)

// TestVerifyCheckpoint: names, keys and windows of both protocols (contract
// trust-material §6.2).
func TestVerifyCheckpoint(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spki := func(pub any) []byte {
		der, err := x509.MarshalPKIXPublicKey(pub)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	window := trust.Window{Start: now.Add(-time.Hour)}
	v1 := trust.KnownLog{BaseURL: "https://log.example:8443", PublicKey: spki(key.Public()), ID: pki.LogID(spki(key.Public())), Window: window}
	v2, err := trust.Log{BaseURL: "https://log2.example", PublicKey: spki(public), APIVersion: 2}.ID()
	if err != nil {
		t.Fatal(err)
	}
	ed := trust.KnownLog{BaseURL: "https://log2.example", PublicKey: spki(public), ID: v2, Window: window}
	note := func(origin, name string, sign func([]byte) []byte, hint []byte) string {
		text := origin + "\n0\n" + base64.StdEncoding.EncodeToString(make([]byte, 32)) + "\n"
		return text + "\n\u2014 " + name + " " + base64.StdEncoding.EncodeToString(append(append([]byte{}, hint[:4]...), sign([]byte(text))...)) + "\n"
	}
	ec := func(text []byte) []byte {
		sum := sha256.Sum256(text)
		sig, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		return sig
	}
	edSign := func(text []byte) []byte { return ed25519.Sign(private, text) }
	for _, tt := range []struct {
		name    string
		note    string
		log     trust.KnownLog
		version uint32
		want    string // "" for one that verifies
	}{
		{"version 1", note("log.example - 1", "log.example", ec, v1.ID[:]), v1, 1, ""},
		{"version 2", note("log2.example", "log2.example", edSign, ed.ID[:]), ed, 2, ""},
		{"port in the name", note("log.example:8443 - 1", "log.example:8443", ec, v1.ID[:]), v1, 1, "signed by the name"},
		{"origin of another", note("other.example - 1", "log.example", ec, v1.ID[:]), v1, 1, "has the origin"},
		{"version 1 without a tree", note("log.example", "log.example", ec, v1.ID[:]), v1, 1, "has the origin"},
		{"version 2 with a tree", note("log2.example - 1", "log2.example", edSign, ed.ID[:]), ed, 2, "has the origin"},
		{"hint of another key", note("log.example - 1", "log.example", ec, ed.ID[:]), v1, 1, "does not verify"},
		{"key of another", note("log2.example", "log2.example", ec, ed.ID[:]), ed, 2, "does not verify"},
		{"changed", strings.Replace(note("log.example - 1", "log.example", ec, v1.ID[:]), " - 1\n0", " - 1\n1", 1), v1, 1, "does not verify"},
		{"no signature", "log.example - 1\n0\nAA==\n\n", v1, 1, "no signature"},
		{"no note", "hello", v1, 1, "not a signed note"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := verifyCheckpoint(tt.note, []trust.KnownLog{tt.log}, tt.version, now)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	good := note("log.example - 1", "log.example", ec, v1.ID[:])
	if _, err := verifyCheckpoint(good, nil, 1, now); err == nil || !strings.Contains(err.Error(), "no key for it") {
		t.Errorf("without a key: got %v", err)
	}
	if _, err := verifyCheckpoint(good, []trust.KnownLog{v1}, 1, now.Add(-2*time.Hour)); err == nil || !strings.Contains(err.Error(), "would not be trusted now") {
		t.Errorf("before its window: got %v", err)
	}
	if _, err := verifyCheckpoint(good, []trust.KnownLog{v1}, 1, time.Time{}); err != nil {
		t.Errorf("of a frozen tree: %v", err)
	}
}

// FuzzVerifyCheckpoint: without the key nothing verifies.
func FuzzVerifyCheckpoint(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		f.Fatal(err)
	}
	log := trust.KnownLog{BaseURL: "https://log.example", PublicKey: der, ID: pki.LogID(der)}
	f.Add("log.example - 1\n0\nAA==\n\n\u2014 log.example AAAAAAAA\n")
	f.Fuzz(func(t *testing.T, note string) {
		if _, err := verifyCheckpoint(note, []trust.KnownLog{log}, 1, time.Time{}); err == nil {
			t.Errorf("verified %q", note)
		}
	})
}
