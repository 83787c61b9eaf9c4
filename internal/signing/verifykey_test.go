package signing_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"strings"
	"testing"
	"time"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"

	"sigstack/internal/signing"
	"sigstack/internal/signing/signingtest"
	"sigstack/internal/trust"
)

// keyForger signs with a bare key.
func keyForger(tb testing.TB, s *signingtest.Stack) *forger {
	tb.Helper()
	return &forger{tb: tb, stack: s, key: newKey(tb)}
}

func TestVerifyKey(t *testing.T) {
	s := signingtest.New(t, now)
	kit := newKit(t, s)
	f := keyForger(t, s)
	id := keyIdentity(t, f.key)
	sig := f.sign(artifact)
	v1 := []*tlogEntry{f.seal(f.hashedRekord(sig, digest(artifact)))}
	v2 := []*tlogEntry{f.seal(f.tile(sig, digest(artifact)))}
	tests := []struct {
		name   string
		bundle *protobundle.Bundle
	}{
		{"Rekor v1", f.message(sig, digest(artifact), v1)},
		{"Rekor v1 with a timestamp", f.message(sig, digest(artifact), v1, f.timestamp(sig))},
		{"Rekor v2", f.message(sig, digest(artifact), v2)}, // a key has no end, so it needs no time
		{"Rekor v2 with a timestamp", f.message(sig, digest(artifact), v2, f.timestamp(sig))},
	}
	for _, tt := range tests {
		for _, hint := range []string{"any", ""} {
			tt.bundle.VerificationMaterial.GetPublicKey().Hint = hint
			res, err := verify(t, artifact, encode(f, tt.bundle), kit, id)
			if err != nil {
				t.Errorf("%s, hint %q: %v", tt.name, hint, err)
				continue
			}
			if res.Identity != id.String() || !strings.HasPrefix(res.Identity, "key sha256:") || res.Issuer != "" {
				t.Errorf("got %q via %q, want the key %s", res.Identity, res.Issuer, id)
			}
		}
	}
	t.Run("attestation", func(t *testing.T) {
		payload := statement(t)
		text := f.attested(signing.StatementPayloadType, payload, 1, func(sig []byte) ledger { return f.dsse(sig, payload) })
		if _, _, err := verifyStatement(text, kit.Trusted, id, artifact, predicateType); err != nil {
			t.Error(err)
		}
	})
}

// TestVerifyKeyRefuses has signatures that are right but for the way they are
// asked about, or for one fact.
func TestVerifyKeyRefuses(t *testing.T) {
	s := signingtest.New(t, now)
	kit := newKit(t, s)
	f := keyForger(t, s)
	certified := newForger(t, s)
	sig := f.sign(artifact)
	v1 := []*tlogEntry{f.seal(f.hashedRekord(sig, digest(artifact)))}
	good := f.message(sig, digest(artifact), v1, f.timestamp(sig))
	again := f.sign(artifact)
	tests := []struct {
		name string
		text []byte
		id   *signing.Identity
		want signing.Check
	}{
		{"another key", encode(f, good), keyIdentity(t, newKey(t)), signing.CheckIdentity},
		{"an identity", encode(f, good), demo(t, s), signing.CheckBundle},
		{"a certificate of this key", certified.bundle(certified.sign(artifact), digest(artifact)), keyIdentity(t, certified.key), signing.CheckBundle},
		{"entry of another key", encode(f, f.message(sig, digest(artifact), []*tlogEntry{
			certified.seal(certified.hashedRekord(certified.sign(artifact), digest(artifact))),
		})), keyIdentity(t, f.key), signing.CheckIdentity},
		{"entry of another signature", encode(f, f.message(again, digest(artifact), v1)), keyIdentity(t, f.key), signing.CheckEntry},
		{"tile of another signature", encode(f, f.message(again, digest(artifact), []*tlogEntry{
			f.seal(f.tile(sig, digest(artifact))),
		})), keyIdentity(t, f.key), signing.CheckEntry},
		{"timestamp of another signature", encode(f, f.message(sig, digest(artifact), v1, f.timestamp(again))), keyIdentity(t, f.key), signing.CheckTimestamp},
		{"no entry", encode(f, f.message(sig, digest(artifact), nil, f.timestamp(sig))), keyIdentity(t, f.key), signing.CheckLog},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := verify(t, artifact, tt.text, kit, tt.id)
			wantRefused(t, err, tt.want)
		})
	}
	t.Run("tile of a log whose key has an end, at no known time", func(t *testing.T) {
		ended := s.Material(t)
		ended.TLogs = append([]trust.Log(nil), ended.TLogs...)
		ended.TLogs[0].Window.End = now().Add(time.Hour)
		tile := []*tlogEntry{f.seal(f.tile(sig, digest(artifact)))}
		id := keyIdentity(t, f.key)
		_, err := verify(t, artifact, encode(f, f.message(sig, digest(artifact), tile)), kitOf(t, ended), id)
		wantRefused(t, err, signing.CheckLog)
		if _, err := verify(t, artifact, encode(f, f.message(sig, digest(artifact), tile, f.timestamp(sig))), kitOf(t, ended), id); err != nil {
			t.Errorf("with a timestamp before the end: %v", err)
		}
	})
	t.Run("signature over other bytes in a tile", func(t *testing.T) {
		sig := f.sign("other")
		text := encode(f, f.message(sig, digest(artifact), []*tlogEntry{f.seal(f.tile(sig, digest(artifact)))}))
		_, err := verify(t, artifact, text, kit, keyIdentity(t, f.key))
		wantRefused(t, err, signing.CheckSignature)
	})
	t.Run("digest of another length than the key's", func(t *testing.T) {
		sum := sha512.Sum512([]byte(artifact))
		sig, err := f.key.Sign(rand.Reader, sum[:], crypto.SHA512)
		if err != nil {
			t.Fatal(err)
		}
		b := f.message(sig, sum[:], []*tlogEntry{f.seal(f.tile(sig, sum[:]))})
		b.GetMessageSignature().MessageDigest.Algorithm = protocommon.HashAlgorithm_SHA2_512
		_, err = verify(t, artifact, encode(f, b), kit, keyIdentity(t, f.key))
		wantRefused(t, err, signing.CheckSignature)
	})
}

func TestNewKeyIdentity(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsa2048, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	edwards, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, pub := range []crypto.PublicKey{newKey(t).Public(), p384.Public(), rsa2048.Public(), edwards} {
		if id, err := signing.NewKeyIdentity(pub); err != nil || !strings.HasPrefix(id.String(), "key sha256:") {
			t.Errorf("%T: got %v, %v, want an identity", pub, id, err)
		}
	}
	for _, pub := range []crypto.PublicKey{nil, "key", p224.Public(), newKey(t)} {
		if id, err := signing.NewKeyIdentity(pub); err == nil {
			t.Errorf("%T: got %v, want an error", pub, id)
		}
	}
}
