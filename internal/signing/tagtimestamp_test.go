package signing_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/digitorus/timestamp"

	"sigstack/internal/signing"
	"sigstack/internal/signing/signingtest"
)

// mutated returns a stored timestamp whose token's signature has a bit changed.
func mutated(t *testing.T, text []byte) []byte {
	t.Helper()
	var ts struct{ SignedRFC3161Timestamp []byte }
	if err := json.Unmarshal(text, &ts); err != nil {
		t.Fatal(err)
	}
	ts.SignedRFC3161Timestamp[len(ts.SignedRFC3161Timestamp)-1] ^= 1
	text, err := json.Marshal(ts)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestTagTimestamp looks into the token: what it is over, and by whom.
func TestTagTimestamp(t *testing.T) {
	s := signingtest.New(t, now)
	for name, signer := range signers(t, s) {
		t.Run(name, func(t *testing.T) {
			tag := tagged(t, signer.session, true)
			der := tokenOf(t, tag)
			token, err := timestamp.ParseResponse(der)
			if err != nil || !bytes.Equal(token.HashedMessage, digest(string(tag.Payload))) {
				t.Fatalf("got %+v, %v, want a token over the envelope", token, err)
			}
			trusted := newKit(t, s).Trusted
			trusted.DemandTimestamp = true
			if _, err := verifyTag(tag, trusted, signer.id); err != nil {
				t.Errorf("demanded: got %v, want it accepted", err)
			}
			bare := tag
			bare.Timestamp = nil
			_, err = verifyTag(bare, trusted, signer.id)
			wantRefused(t, err, signing.CheckTimestamp)

			m := s.Material(t)
			m.TSAs = signingtest.New(t, now).Material(t).TSAs
			_, err = verifyTag(tag, kitOf(t, m).Trusted, signer.id)
			wantRefused(t, err, signing.CheckTimestamp)
			m.TSAs = nil
			_, err = verifyTag(tag, kitOf(t, m).Trusted, signer.id)
			wantRefused(t, err, signing.CheckTimestamp)
			m.TSAs = append(m.TSAs, s.Material(t).TSAs...)
			m.TSAs[0].Window.End = now().Add(-time.Minute)
			_, err = verifyTag(tag, kitOf(t, m).Trusted, signer.id)
			wantRefused(t, err, signing.CheckTimestamp)
		})
	}
}

func tokenOf(t *testing.T, tag signing.TagSignature) []byte {
	t.Helper()
	var ts struct{ SignedRFC3161Timestamp []byte }
	if err := json.Unmarshal(tag.Timestamp, &ts); err != nil {
		t.Fatal(err)
	}
	return ts.SignedRFC3161Timestamp
}

// TestTagTimestampOfSignature has a token over the signature inside, as bundles
// have it and cosign 3 stores it by tag.
func TestTagTimestampOfSignature(t *testing.T) {
	s := signingtest.New(t, now)
	signed, err := newSession(t, s, signingtest.Email).SignStatement(t.Context(), statement(t))
	if err != nil {
		t.Fatal(err)
	}
	tag, err := signing.NewTagSignature(signed, nil)
	if err != nil || tag.Timestamp != nil {
		t.Fatalf("got timestamp %s, %v, want a bundle's left out", tag.Timestamp, err)
	}
	if _, err := verifyTag(tag, newKit(t, s).Trusted, demo(t, s)); err != nil {
		t.Errorf("without a timestamp: got %v, want it accepted", err)
	}
	tag.Timestamp, err = json.Marshal(map[string][]byte{"SignedRFC3161Timestamp": timestamps(t, signed)[0]})
	if err != nil {
		t.Fatal(err)
	}
	_, err = verifyTag(tag, newKit(t, s).Trusted, demo(t, s))
	wantRefused(t, err, signing.CheckTimestamp)
	if !strings.Contains(err.Error(), "as cosign 3 makes it") {
		t.Errorf("got %v, want it said what the token is over", err)
	}
}

// TestTagTimestampOfCosign has two attestations of images as cosign v2.6.5 and
// v3.1.3 stored them, with attest --timestamp-server-url, for a stack at port 18977.
func TestTagTimestampOfCosign(t *testing.T) {
	trusted, err := signing.NewTrustRoot("kit/trusted_root.json", testFile(t, "tag.cosign.trusted_root.json"))
	if err != nil {
		t.Fatal(err)
	}
	trusted.DemandTimestamp = true
	id := identity(t, "demo@sigstack.local", "", "http://localhost:18977/dex", "")
	judge := func(file, image string) (signing.Result, error) {
		t.Helper()
		var tag signing.TagSignature
		if err := json.Unmarshal(testFile(t, file), &tag); err != nil {
			t.Fatal(err)
		}
		b, err := tag.Bundle()
		if err != nil {
			t.Fatal(err)
		}
		sum, err := hex.DecodeString(image)
		if err != nil {
			t.Fatal(err)
		}
		res, _, err := signing.VerifyStatement(sum, "sha256", b, trusted, id, "https://example.com/review/v1")
		return res, err
	}
	res, err := judge("tag.cosign2.json", "bb8022033962cdf7cf8f29f79b394d0dd157e4f568ab07a75efeba939b74be93")
	if err != nil || res.Timestamp.IsZero() {
		t.Errorf("cosign 2: got %+v, %v, want its timestamp accepted", res, err)
	}
	_, err = judge("tag.cosign3.json", "5700a4c34b72d398ab092886ba6bd75fb546b6d8824411e2a2de8c2c58a3fac3")
	wantRefused(t, err, signing.CheckTimestamp)
	if !strings.Contains(err.Error(), "as cosign 3 makes it") {
		t.Errorf("cosign 3: got %v, want it said what its timestamp is over", err)
	}
}

// TestTagTimestampOutsideCertificate signs by tag while the authority's clock is
// wrong: the certificate has to be valid at the time that the token states, too.
func TestTagTimestampOutsideCertificate(t *testing.T) {
	s := signingtest.New(t, now)
	ahead := signingtest.NewWith(t, func() time.Time { return now().Add(20 * time.Minute) }, s.Keys)
	s.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/api/v1/timestamp" {
			return false
		}
		http.Redirect(w, r, ahead.URL+r.URL.Path, http.StatusTemporaryRedirect)
		return true
	}
	session, err := signing.NewSession(signing.SessionConfig{
		Kit: newKit(t, s), Token: signing.StaticToken(s.Token(signingtest.Email)), Now: now,
		Log: slog.New(slog.DiscardHandler), HTTP: http.DefaultClient,
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = session.SignStatementByTag(t.Context(), statement(t))
	wantRefused(t, err, signing.CheckCertificate)
}
