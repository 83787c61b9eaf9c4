package signing_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"sigstack/internal/pki"
	"sigstack/internal/signing"
	"sigstack/internal/signing/signingtest"
)

const predicateType = "https://example.com/predicate/v1"

// statement makes one about artifact.
func statement(tb testing.TB) []byte {
	tb.Helper()
	text, err := signing.NewStatement(
		[]signing.Subject{{Name: "artifact", Digest: map[string]string{"sha256": hexDigest(artifact)}}},
		predicateType, json.RawMessage(`{"tests":"passed"}`))
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

func newKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func keySession(tb testing.TB, kit *signing.Kit, key crypto.Signer) *signing.Session {
	tb.Helper()
	session, err := signing.NewSession(signing.SessionConfig{Kit: kit, Key: key, Now: now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	return session
}

func keyIdentity(tb testing.TB, key crypto.Signer) *signing.Identity {
	tb.Helper()
	id, err := signing.NewKeyIdentity(key.Public())
	if err != nil {
		tb.Fatal(err)
	}
	return id
}

// signers are the two ways to sign, each with the identity that it has.
func signers(tb testing.TB, s *signingtest.Stack) map[string]struct {
	session *signing.Session
	id      *signing.Identity
} {
	tb.Helper()
	key := newKey(tb)
	return map[string]struct {
		session *signing.Session
		id      *signing.Identity
	}{
		"keyless": {newSession(tb, s, signingtest.Email), demo(tb, s)},
		"key":     {keySession(tb, newKit(tb, s), key), keyIdentity(tb, key)},
	}
}

func TestSignStatement(t *testing.T) {
	s := signingtest.New(t, now)
	trusted := newKit(t, s).Trusted
	for name, signer := range signers(t, s) {
		t.Run(name, func(t *testing.T) {
			text := statement(t)
			signed, err := signer.session.SignStatement(t.Context(), text)
			if err != nil {
				t.Fatal(err)
			}
			b, err := signing.ParseBundle(signed.JSON)
			if err != nil {
				t.Fatal(err)
			}
			res, got, err := signing.VerifyStatement(digest(artifact), "sha256", b, trusted, signer.id, predicateType)
			if err != nil {
				t.Fatal(err)
			}
			if res != signed.Result || got.PredicateType != predicateType {
				t.Errorf("got %+v of %s, want %+v of %s", res, got.PredicateType, signed.Result, predicateType)
			}
			checkEnvelope(t, signed, text)
		})
	}
}

// checkEnvelope checks a signed statement against DSSE and contract rekor-v1 §8
// by their own words.
func checkEnvelope(t *testing.T, signed *signing.Signed, text []byte) {
	t.Helper()
	var b struct {
		VerificationMaterial struct {
			Certificate *struct{ RawBytes []byte }
			PublicKey   *struct{ Hint string }
			TlogEntries []struct {
				KindVersion       struct{ Kind, Version string }
				CanonicalizedBody []byte
			}
			TimestampVerificationData struct {
				Rfc3161Timestamps []struct{ SignedTimestamp []byte }
			}
		}
		DsseEnvelope struct {
			Payload     []byte
			PayloadType string
			Signatures  []struct{ Sig []byte }
		}
	}
	if err := json.Unmarshal(signed.JSON, &b); err != nil {
		t.Fatal(err)
	}
	envelope, material := b.DsseEnvelope, b.VerificationMaterial
	if !bytes.Equal(envelope.Payload, text) || envelope.PayloadType != "application/vnd.in-toto+json" || len(envelope.Signatures) != 1 {
		t.Fatalf("got envelope %+v, want the statement's own bytes, signed once", envelope)
	}
	if (signed.Certificate == nil) != (material.Certificate == nil) || (signed.Certificate == nil) == (material.PublicKey == nil) {
		t.Errorf("got certificate %v and key %v, want exactly what was signed with", material.Certificate, material.PublicKey)
	}
	if len(material.TlogEntries) != 1 || len(material.TimestampVerificationData.Rfc3161Timestamps) != 1 {
		t.Fatalf("got %+v, want one entry and one timestamp", material)
	}
	var entry struct {
		Spec struct {
			EnvelopeHash, PayloadHash struct{ Value string }
			Signatures                []struct{ Signature, Verifier []byte }
		}
	}
	if err := json.Unmarshal(material.TlogEntries[0].CanonicalizedBody, &entry); err != nil {
		t.Fatal(err)
	}
	if kind := material.TlogEntries[0].KindVersion; kind.Kind != "dsse" || kind.Version != "0.0.1" {
		t.Errorf("got %+v, want dsse 0.0.1", kind)
	}
	if entry.Spec.EnvelopeHash.Value != hexDigest(string(signed.Envelope)) || entry.Spec.PayloadHash.Value != hexDigest(string(text)) {
		t.Errorf("got %+v, want the hashes of envelope and statement", entry.Spec)
	}
	pae := "DSSEv1 28 application/vnd.in-toto+json " + strconv.Itoa(len(text)) + " " + string(text)
	pub := publicKeyOf(t, entry.Spec.Signatures[0].Verifier)
	if !ecdsa.VerifyASN1(pub, digest(pae), envelope.Signatures[0].Sig) || !bytes.Equal(envelope.Signatures[0].Sig, signed.Signature) {
		t.Error("the signature is not by the logged key over the envelope's PAE")
	}
}

// publicKeyOf reads the key of a PEM certificate or public key.
func publicKeyOf(t *testing.T, text []byte) *ecdsa.PublicKey {
	t.Helper()
	if pub, err := signing.LoadPublicKey(text); err == nil {
		return pub.(*ecdsa.PublicKey)
	}
	certs, err := pki.ParseCertificatesPEM(text)
	if err != nil {
		t.Fatal(err)
	}
	return certs[0].PublicKey.(*ecdsa.PublicKey)
}

// TestSignStatementRefuses has statements that could not be verified.
func TestSignStatementRefuses(t *testing.T) {
	s := signingtest.New(t, now)
	session := newSession(t, s, signingtest.Email)
	good := string(statement(t))
	tests := map[string]string{
		"no JSON":           "x",
		"no statement":      `{"_type":"other"}`,
		"no predicate type": strings.Replace(good, predicateType, "", 1),
		"no known digest":   strings.Replace(good, `"sha256":`, `"blake2b":`, 1),
		"short digest":      strings.Replace(good, hexDigest(artifact), "abcd", 1),
		"too long":          good[:len(good)-1] + strings.Repeat(" ", 20<<20) + "}",
	}
	for name, text := range tests {
		if _, err := session.SignStatement(t.Context(), []byte(text)); err == nil || !strings.Contains(err.Error(), "statement") {
			t.Errorf("%s: got %v, want an error that names the statement", name, err)
		}
	}
	if got := s.Calls("/api/v1/log/entries"); got != 0 {
		t.Errorf("got %d entries in the log, want none", got)
	}
}

// TestSignStatementPicksDigest signs about files that have no SHA-256.
func TestSignStatementPicksDigest(t *testing.T) {
	s := signingtest.New(t, now)
	text := strings.Replace(string(statement(t)), `"sha256":"`+hexDigest(artifact), `"sha512":"`+hexDigest(artifact)+hexDigest("x"), 1)
	signed, err := newSession(t, s, signingtest.Email).SignStatement(t.Context(), []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if want := "sha512:" + hexDigest(artifact) + hexDigest("x"); signed.Result.Digest != want {
		t.Errorf("got %s, want %s", signed.Result.Digest, want)
	}
}

// TestSessionRefusesOtherEntry has a log that answers with an entry of its own
// choice, which is genuine.
func TestSessionRefusesOtherEntry(t *testing.T) {
	s := signingtest.New(t, now)
	var other []byte
	s.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/api/v1/log/entries" || other == nil {
			return false
		}
		w.Header().Set("Location", "/api/v1/log/entries/"+signingtest.EntryID(other))
		w.WriteHeader(http.StatusConflict)
		return true
	}
	session := newSession(t, s, signingtest.Email)
	first, err := session.SignStatement(t.Context(), statement(t))
	if err != nil {
		t.Fatal(err)
	}
	other = first.Bundle.Entries()[0].CanonicalizedBody
	_, err = session.SignStatement(t.Context(), statement(t))
	wantRefused(t, err, signing.CheckEntry)
	_, err = session.SignDigest(t.Context(), sha256.Sum256([]byte(artifact)))
	wantRefused(t, err, signing.CheckEntry)
}

// TestSignWithKey signs a file: the bundle names the key as cosign does, and the
// log entry holds it.
func TestSignWithKey(t *testing.T) {
	s := signingtest.New(t, now)
	key := newKey(t)
	session := keySession(t, newKit(t, s), key)
	signed, err := session.Sign(t.Context(), strings.NewReader(artifact))
	if err != nil {
		t.Fatal(err)
	}
	if signed.Certificate != nil || signed.Chain != nil {
		t.Errorf("got certificate %v, want none", signed.Certificate)
	}
	if !ecdsa.VerifyASN1(&key.PublicKey, digest(artifact), signed.Signature) {
		t.Error("the signature does not verify with the key")
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	hint := base64.StdEncoding.EncodeToString(digest(string(spki)))
	if want := `"publicKey":{"hint":"` + hint + `"}`; !bytes.Contains(signed.JSON, []byte(want)) {
		t.Errorf("got %s, want it to hold %s", signed.JSON, want)
	}
	if _, err := verify(t, artifact, signed.JSON, newKit(t, s), keyIdentity(t, key)); err != nil {
		t.Error(err)
	}
	if _, err := verify(t, artifact, signed.JSON, newKit(t, s), keyIdentity(t, newKey(t))); err == nil {
		t.Error("it verifies as another key's")
	}
	subject, issuer, err := session.Identity(t.Context())
	if err != nil || subject != keyIdentity(t, key).String() || issuer != "" {
		t.Errorf("got %q, %q, %v, want the key's name and no issuer", subject, issuer, err)
	}
	if got := s.Calls("/api/v2/signingCert"); got != 0 {
		t.Errorf("got %d calls of the CA, want none", got)
	}
}

func TestSessionNeedsOneSigner(t *testing.T) {
	s := signingtest.New(t, now)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		token signing.TokenSource
		key   crypto.Signer
		want  string
	}{
		{"neither", nil, nil, "a token or a key"},
		{"both", signing.StaticToken("x"), newKey(t), "not both"},
		{"P-384", nil, p384, "curve P-384"},
		{"RSA", nil, rsaKey, "*rsa.PublicKey"},
	}
	for _, tt := range tests {
		_, err := signing.NewSession(signing.SessionConfig{
			Kit: newKit(t, s), Token: tt.token, Key: tt.key, Now: now, Log: slog.New(slog.DiscardHandler),
		})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q in it", tt.name, err, tt.want)
		}
	}
}

// TestSignWithKeyNeedsNoCA has a kit of logs and timestamp authorities only.
func TestSignWithKeyNeedsNoCA(t *testing.T) {
	s := signingtest.New(t, now)
	m := s.Material(t)
	m.CAServices, m.OIDCServices = nil, nil
	if _, err := keySession(t, kitOf(t, m), newKey(t)).SignStatement(t.Context(), statement(t)); err != nil {
		t.Error(err)
	}
}
