package signing_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"sigstack/internal/pki"
	"sigstack/internal/signing"
	"sigstack/internal/signing/signingtest"
)

// tagged signs artifact as a payload, or a statement about it, in the form for
// storage by tag.
func tagged(tb testing.TB, session *signing.Session, attest bool) signing.TagSignature {
	tb.Helper()
	var signed *signing.Signed
	var err error
	payload := []byte(artifact)
	if attest {
		signed, err = session.SignStatementByTag(tb.Context(), statement(tb))
		payload = nil
	} else {
		signed, err = session.Sign(tb.Context(), strings.NewReader(artifact))
	}
	if err != nil {
		tb.Fatal(err)
	}
	t, err := signing.NewTagSignature(signed, payload)
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

// verifyTag verifies t by whichever of the two it is.
func verifyTag(t signing.TagSignature, trusted *signing.TrustRoot, id *signing.Identity) (signing.Result, error) {
	b, err := t.Bundle()
	if err != nil {
		return signing.Result{}, err
	}
	if b.HoldsStatement() {
		res, _, err := signing.VerifyStatement(digest(artifact), "sha256", b, trusted, id, predicateType)
		return res, err
	}
	sum := sha256.Sum256(t.Payload)
	return signing.VerifyDigest(sum[:], b, trusted, id)
}

func TestTagSignature(t *testing.T) {
	s := signingtest.New(t, now)
	trusted := newKit(t, s).Trusted
	for name, signer := range signers(t, s) {
		for _, attest := range []bool{false, true} {
			tag := tagged(t, signer.session, attest)
			res, err := verifyTag(tag, trusted, signer.id)
			if err != nil {
				t.Errorf("%s, attestation %v: %v", name, attest, err)
			}
			if res.IntegratedTime.IsZero() || res.Timestamp.IsZero() {
				t.Errorf("%s, attestation %v: got %+v, want the log's time and a timestamp", name, attest, res)
			}
			if (len(tag.Certificate) == 0) != (name == "key") || (len(tag.Chain) == 0) != (name == "key") {
				t.Errorf("%s: got certificate %q and chain %q", name, tag.Certificate, tag.Chain)
			}
			if (len(tag.Signature) == 0) != attest {
				t.Errorf("%s, attestation %v: got signature %x", name, attest, tag.Signature)
			}
		}
	}
}

// TestTagSignatureForms holds the encodings to what cosign's annotations have.
func TestTagSignatureForms(t *testing.T) {
	s := signingtest.New(t, now)
	session := newSession(t, s, signingtest.Email)
	signed, err := session.Sign(t.Context(), strings.NewReader(artifact))
	if err != nil {
		t.Fatal(err)
	}
	tag, err := signing.NewTagSignature(signed, []byte(artifact))
	if err != nil {
		t.Fatal(err)
	}
	e := signed.Bundle.Entries()[0]
	enc := base64.StdEncoding.EncodeToString
	want := `{"SignedEntryTimestamp":"` + enc(e.InclusionPromise.SignedEntryTimestamp) + `","Payload":{"body":"` + enc(e.CanonicalizedBody) +
		`","integratedTime":` + number(e.IntegratedTime) + `,"logIndex":` + number(e.LogIndex) + `,"logID":"` + hex.EncodeToString(e.LogId.KeyId) + `"}}`
	if string(tag.Promise) != want {
		t.Errorf("got promise %s, want %s", tag.Promise, want)
	}
	var ts struct{ SignedRFC3161Timestamp []byte }
	if err := json.Unmarshal(tag.Timestamp, &ts); err != nil || !strings.HasPrefix(string(tag.Timestamp), `{"SignedRFC3161Timestamp":"MII`) {
		t.Errorf("got timestamp %s, %v", tag.Timestamp, err)
	}
	if !bytes.Equal(tag.Certificate, pemOf(signed.Certificate)) || !bytes.Equal(tag.Chain, pki.CertificatesPEM(s.Keys.CA.Chain)) {
		t.Errorf("got certificate %s and chain %s, want the signer's and its issuers'", tag.Certificate, tag.Chain)
	}
	if !bytes.Equal(tag.Payload, []byte(artifact)) || !bytes.Equal(tag.Signature, signed.Signature) {
		t.Errorf("got payload %q and signature %x", tag.Payload, tag.Signature)
	}
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

func TestNewTagSignatureRefuses(t *testing.T) {
	s := signingtest.New(t, now)
	if got, err := signing.NewTagSignature(sign(t, s, artifact), []byte("other")); err == nil {
		t.Errorf("got %+v for another payload, want an error", got)
	}
}

// TestTagSignatureRefuses changes one fact at a time.
func TestTagSignatureRefuses(t *testing.T) {
	s := signingtest.New(t, now)
	trusted := newKit(t, s).Trusted
	session := newSession(t, s, signingtest.Email)
	key := newKey(t)
	byKey := tagged(t, keySession(t, newKit(t, s), key), false)
	other := tagged(t, newSession(t, s, signingtest.Email), false)
	another := tagged(t, session, true)
	edited := func(text []byte, old, to string) []byte {
		t.Helper()
		if !bytes.Contains(text, []byte(old)) {
			t.Fatalf("no %q in %s", old, text)
		}
		return bytes.Replace(text, []byte(old), []byte(to), 1)
	}
	tests := []struct {
		name   string
		attest bool
		change func(tag *signing.TagSignature)
		want   signing.Check
	}{
		{"payload", false, func(tag *signing.TagSignature) { flip(tag.Payload) }, signing.CheckEntry},
		{"signature", false, func(tag *signing.TagSignature) { tag.Signature = other.Signature }, signing.CheckEntry},
		{"certificate of another signature", false, func(tag *signing.TagSignature) { tag.Certificate = other.Certificate }, signing.CheckEntry},
		{"entry of another signature", false, func(tag *signing.TagSignature) { tag.Promise = other.Promise }, signing.CheckEntry},
		{"timestamp of another signature", false, func(tag *signing.TagSignature) { tag.Timestamp = other.Timestamp }, signing.CheckTimestamp},
		{"time", false, func(tag *signing.TagSignature) {
			tag.Promise = edited(tag.Promise, `"integratedTime":1`, `"integratedTime":2`)
		}, signing.CheckPromise},
		{"index", false, func(tag *signing.TagSignature) { tag.Promise = edited(tag.Promise, `"logIndex":`, `"logIndex":1`) }, signing.CheckPromise},
		{"log", false, func(tag *signing.TagSignature) { tag.Promise = edited(tag.Promise, `"logID":"`, `"logID":"00`) }, signing.CheckLog},
		{"no entry", false, func(tag *signing.TagSignature) { tag.Promise = nil }, signing.CheckLog},
		{"no promise", false, func(tag *signing.TagSignature) {
			tag.Promise = edited(tag.Promise, `{"SignedEntryTimestamp":"`, `{"x":"`)
		}, signing.CheckPromise},
		{"damaged entry", false, func(tag *signing.TagSignature) { tag.Promise = []byte("{") }, signing.CheckBundle},
		{"damaged timestamp", false, func(tag *signing.TagSignature) { tag.Timestamp = []byte("{") }, signing.CheckBundle},
		{"damaged certificate", false, func(tag *signing.TagSignature) { tag.Certificate = []byte("x") }, signing.CheckBundle},
		{"two certificates", false, func(tag *signing.TagSignature) { tag.Certificate = append(tag.Certificate, other.Certificate...) }, signing.CheckBundle},
		{"no certificate", false, func(tag *signing.TagSignature) { tag.Certificate = nil }, signing.CheckBundle},
		{"a key's", false, func(tag *signing.TagSignature) { *tag = byKey }, signing.CheckBundle},
		{"neither payload nor envelope", false, func(tag *signing.TagSignature) { tag.Signature = nil }, signing.CheckBundle},
		{"a key's with a certificate", false, func(tag *signing.TagSignature) {
			cert := tag.Certificate
			*tag = byKey
			tag.Certificate = cert
		}, signing.CheckEntry},
		{"space in the envelope", true, func(tag *signing.TagSignature) { tag.Payload = append(tag.Payload, ' ') }, signing.CheckEntry},
		{"statement", true, func(tag *signing.TagSignature) {
			text := strings.Replace(string(statement(t)), "passed", "PASSED", 1)
			tag.Payload = edited(tag.Payload, base64.StdEncoding.EncodeToString(statement(t)), base64.StdEncoding.EncodeToString([]byte(text)))
		}, signing.CheckEntry},
		{"payload type", true, func(tag *signing.TagSignature) { tag.Payload = edited(tag.Payload, "vnd.in-toto", "vnd.other") }, signing.CheckBundle},
		{"two signatures", true, func(tag *signing.TagSignature) {
			tag.Payload = edited(tag.Payload, `"signatures":[`, `"signatures":[{"keyid":"","sig":"AA=="},`)
		}, signing.CheckBundle},
		{"no signatures", true, func(tag *signing.TagSignature) {
			tag.Payload = edited(tag.Payload, `"signatures":`, `"x":`)
		}, signing.CheckBundle},
		{"timestamp of another envelope", true, func(tag *signing.TagSignature) { tag.Timestamp = another.Timestamp }, signing.CheckTimestamp},
		{"mutated timestamp", true, func(tag *signing.TagSignature) { tag.Timestamp = mutated(t, tag.Timestamp) }, signing.CheckTimestamp},
		{"timestamp without a token", true, func(tag *signing.TagSignature) { tag.Timestamp = []byte("{}") }, signing.CheckTimestamp},
		{"damaged timestamp of an envelope", true, func(tag *signing.TagSignature) { tag.Timestamp = []byte("{") }, signing.CheckBundle},
		{"entry of a signature", true, func(tag *signing.TagSignature) { tag.Promise = other.Promise }, signing.CheckEntry},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tag := tagged(t, session, tt.attest)
			tt.change(&tag)
			_, err := verifyTag(tag, trusted, demo(t, s))
			wantRefused(t, err, tt.want)
		})
	}
}

// TestTagSignatureOfStranger has a key pair's signature judged by another key.
func TestTagSignatureOfStranger(t *testing.T) {
	s := signingtest.New(t, now)
	trusted := newKit(t, s).Trusted
	for _, attest := range []bool{false, true} {
		tag := tagged(t, keySession(t, newKit(t, s), newKey(t)), attest)
		_, err := verifyTag(tag, trusted, keyIdentity(t, newKey(t)))
		wantRefused(t, err, signing.CheckIdentity)
	}
}

// The files of testdata that begin with statement are one attestation about
// artifact, as a bundle and as the envelope for storage by tag, with the root to
// verify it with; see TestGolden.
const (
	goldenStatementRoot = "statement.trusted_root.json"
	goldenStatement     = "statement.sigstore.json"
	goldenEnvelope      = "statement.envelope.json"
	goldenTagRoot       = "tag.trusted_root.json"
	goldenTagStatement  = "tag.statement.json" // a TagSignature, with a timestamp
)

// TestGoldenTag keeps signatures and attestations of the past verifying by tag.
func TestGoldenTag(t *testing.T) {
	if *update {
		s := signingtest.New(t, now)
		trustedRoot, _ := s.KitFiles(t)
		signed, err := newSession(t, s, signingtest.Email).SignStatement(t.Context(), statement(t))
		if err != nil {
			t.Fatal(err)
		}
		writeGolden(t, goldenStatementRoot, trustedRoot)
		writeGolden(t, goldenStatement, signed.JSON)
		writeGolden(t, goldenEnvelope, signed.Envelope)
		stored, err := json.Marshal(tagged(t, newSession(t, s, signingtest.Email), true))
		if err != nil {
			t.Fatal(err)
		}
		writeGolden(t, goldenTagRoot, trustedRoot)
		writeGolden(t, goldenTagStatement, stored)
	}
	for _, g := range goldenTags(t) {
		if _, err := verifyTag(g.tag, g.trusted, g.id); err != nil {
			t.Error(err)
		}
	}
}

type goldenTag struct {
	tag     signing.TagSignature
	trusted *signing.TrustRoot
	id      *signing.Identity
}

// goldenTags returns a signature, and attestations without a timestamp and with
// one.
func goldenTags(tb testing.TB) []goldenTag {
	tb.Helper()
	trusted, text, id := golden(tb)
	signature := goldenTag{newTag(tb, text, nil, []byte(artifact)), trusted, id}
	trusted, err := signing.NewTrustRoot("golden", testFile(tb, goldenStatementRoot))
	if err != nil {
		tb.Fatal(err)
	}
	attestation := goldenTag{newTag(tb, testFile(tb, goldenStatement), testFile(tb, goldenEnvelope), nil), trusted, id}
	timestamped := goldenTag{id: id}
	if timestamped.trusted, err = signing.NewTrustRoot("golden", testFile(tb, goldenTagRoot)); err != nil {
		tb.Fatal(err)
	}
	if err := json.Unmarshal(testFile(tb, goldenTagStatement), &timestamped.tag); err != nil {
		tb.Fatal(err)
	}
	return []goldenTag{signature, attestation, timestamped}
}

func newTag(tb testing.TB, text, envelope, payload []byte) signing.TagSignature {
	tb.Helper()
	b, err := signing.ParseBundle(text)
	if err != nil {
		tb.Fatal(err)
	}
	tag, err := signing.NewTagSignature(&signing.Signed{
		Bundle: b, Signature: b.Signature(), Certificate: b.Certificate(), Envelope: envelope,
	}, payload)
	if err != nil {
		tb.Fatal(err)
	}
	return tag
}

// FuzzTagSignature mutates a signature and attestations. Property: whatever
// verifies is what was stored, but for the spelling of PEM and JSON, and for the
// chain, which no verdict rests on.
func FuzzTagSignature(f *testing.F) {
	goldens := goldenTags(f)
	for i, g := range goldens {
		f.Add(i, g.tag.Payload, g.tag.Signature, g.tag.Certificate, g.tag.Promise, g.tag.Timestamp)
		f.Add(i, g.tag.Payload, g.tag.Signature, []byte{}, g.tag.Promise, []byte{})
	}
	f.Add(1, goldens[1].tag.Payload, []byte("x"), goldens[0].tag.Certificate, goldens[0].tag.Promise, []byte(`{"SignedRFC3161Timestamp":"AA=="}`))
	f.Fuzz(func(t *testing.T, i int, payload, sig, cert, promise, timestamp []byte) {
		g := goldens[uint(i)%uint(len(goldens))]
		tag := signing.TagSignature{Payload: payload, Signature: sig, Certificate: cert, Promise: promise, Timestamp: timestamp}
		if _, err := verifyTag(tag, g.trusted, g.id); err != nil {
			return
		}
		if !bytes.Equal(payload, g.tag.Payload) || !bytes.Equal(sig, g.tag.Signature) {
			t.Errorf("accepted payload %q and signature %x", payload, sig)
		}
		b, err := tag.Bundle()
		if err != nil {
			t.Fatal(err)
		}
		again, err := signing.NewTagSignature(&signing.Signed{Bundle: b, Signature: sig, Certificate: b.Certificate(), Envelope: envelopeOf(g, payload)}, payload)
		if err != nil {
			t.Fatal(err)
		}
		if len(timestamp) == 0 {
			again.Timestamp = g.tag.Timestamp // whoever takes it away takes no promise away
		}
		if !bytes.Equal(again.Promise, g.tag.Promise) || !bytes.Equal(again.Certificate, g.tag.Certificate) || !bytes.Equal(again.Timestamp, g.tag.Timestamp) {
			t.Errorf("accepted a changed signature: got %+v, want %+v", again, g.tag)
		}
	})
}

func envelopeOf(g goldenTag, payload []byte) []byte {
	if len(g.tag.Signature) == 0 {
		return payload
	}
	return nil
}
