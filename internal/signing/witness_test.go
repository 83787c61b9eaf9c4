package signing_test

import (
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"sigstack/internal/signing"
	"sigstack/internal/signing/signingtest"
	"sigstack/internal/trust"
)

// signBoth makes a signature and an attestation with kit and verifies them by it.
func signBoth(t *testing.T, s *signingtest.Stack, kit *signing.Kit) []*signing.Signed {
	t.Helper()
	session, err := signing.NewSession(signing.SessionConfig{
		Kit: kit, Token: signing.StaticToken(s.Token(signingtest.Email)), Now: now, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	file, err := session.Sign(t.Context(), strings.NewReader(artifact))
	if err != nil {
		t.Fatal(err)
	}
	attestation, err := session.SignStatement(t.Context(), statement(t))
	if err != nil {
		t.Fatal(err)
	}
	return []*signing.Signed{file, attestation}
}

func timestamps(t *testing.T, signed *signing.Signed) [][]byte {
	t.Helper()
	var b struct {
		VerificationMaterial struct {
			TimestampVerificationData struct {
				Rfc3161Timestamps []struct{ SignedTimestamp []byte }
			}
		}
	}
	if err := json.Unmarshal(signed.JSON, &b); err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	for _, ts := range b.VerificationMaterial.TimestampVerificationData.Rfc3161Timestamps {
		out = append(out, ts.SignedTimestamp)
	}
	return out
}

// TestSignWithoutTimestamp has a stack without timestamp authority: the log's time
// serves alone.
func TestSignWithoutTimestamp(t *testing.T) {
	s := signingtest.New(t, now)
	m := s.Material(t)
	m.TSAs, m.TSAServices = nil, nil
	for _, signed := range signBoth(t, s, kitOf(t, m)) {
		if got := timestamps(t, signed); len(got) != 0 || !signed.Result.Timestamp.IsZero() {
			t.Errorf("got %d timestamps and %v, want none", len(got), signed.Result.Timestamp)
		}
		if strings.Contains(string(signed.JSON), "timestampVerificationData") {
			t.Errorf("got %s, want no empty timestamp data", signed.JSON)
		}
		tag, err := signing.NewTagSignature(signed, []byte(artifact))
		if err != nil || len(tag.Timestamp) != 0 {
			t.Errorf("got timestamp %s, %v by tag, want none", tag.Timestamp, err)
		}
	}
}

// twoTSAs is the kit of a stack that wants the timestamps of two operators.
func twoTSAs(t *testing.T, s *signingtest.Stack, second trust.Material) *signing.Kit {
	t.Helper()
	m := s.Material(t)
	m.TSAs = append(m.TSAs, second.TSAs...)
	m.TSAServices = append(m.TSAServices, second.TSAServices...)
	trustedRoot, err := m.TrustedRoot()
	if err != nil {
		t.Fatal(err)
	}
	text, err := m.SigningConfig()
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	config["tsaConfig"] = map[string]any{"selector": "ALL"}
	config["tsaUrls"].([]any)[1].(map[string]any)["operator"] = "second.example"
	if text, err = json.Marshal(config); err != nil {
		t.Fatal(err)
	}
	kit, err := signing.NewKit("kit/trusted_root.json", trustedRoot, text)
	if err != nil {
		t.Fatal(err)
	}
	return kit
}

func TestSignWithTwoTimestamps(t *testing.T) {
	s, second := signingtest.New(t, now), signingtest.New(t, now)
	for _, signed := range signBoth(t, s, twoTSAs(t, s, second.Material(t))) {
		if got := timestamps(t, signed); len(got) != 2 || slices.Equal(got[0], got[1]) {
			t.Errorf("got %d timestamps, want two different ones", len(got))
		}
	}
	if got := second.Calls("/api/v1/timestamp"); got != 2 {
		t.Errorf("got %d calls of the second authority, want one a signature", got)
	}
}

// TestSignRefusesSecondTimestamp has a second authority that the root knows by
// another key: one good timestamp does not make up for it.
func TestSignRefusesSecondTimestamp(t *testing.T) {
	s, second := signingtest.New(t, now), signingtest.New(t, now)
	m := second.Material(t)
	m.TSAs = signingtest.New(t, now).Material(t).TSAs
	session, err := signing.NewSession(signing.SessionConfig{
		Kit: twoTSAs(t, s, m), Token: signing.StaticToken(s.Token(signingtest.Email)), Now: now, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = session.SignStatement(t.Context(), statement(t))
	wantRefused(t, err, signing.CheckTimestamp)
}

// TestKitForVerification has no signing config: it verifies and does not sign.
func TestKitForVerification(t *testing.T) {
	s := signingtest.New(t, now)
	trustedRoot, _ := s.KitFiles(t)
	kit, err := signing.NewKit("kit/trusted_root.json", trustedRoot, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := verify(t, artifact, sign(t, s, artifact).JSON, kit, demo(t, s)); err != nil {
		t.Error(err)
	}
	_, err = signing.NewSession(signing.SessionConfig{
		Kit: kit, Token: signing.StaticToken(s.Token(signingtest.Email)), Now: now, Log: slog.New(slog.DiscardHandler),
	})
	if err == nil || !strings.Contains(err.Error(), "verification only") {
		t.Errorf("got %v, want it said that the kit is for verification only", err)
	}
}

// TestSignedChain holds the chain to the CA's answer, and refuses one that does
// not belong together.
func TestSignedChain(t *testing.T) {
	s := signingtest.New(t, now)
	signed := sign(t, s, artifact)
	if len(signed.Chain) != 2 || !signed.Chain[0].Equal(s.Keys.CA.Chain[0]) || !signed.Chain[1].Equal(s.Keys.CA.Chain[1]) {
		t.Errorf("got a chain of %d, want the CA's intermediate and root", len(signed.Chain))
	}
	good := string(certificateAnswer(t, s))
	if chain, err := signing.ParseCertificateAnswer([]byte(good)); err != nil || len(chain) != 3 {
		t.Fatalf("got %d certificates, %v, want 3", len(chain), err)
	}
	var answer struct {
		SignedCertificateEmbeddedSct struct {
			Chain struct{ Certificates []string }
		}
	}
	if err := json.Unmarshal([]byte(good), &answer); err != nil {
		t.Fatal(err)
	}
	certs := answer.SignedCertificateEmbeddedSct.Chain.Certificates
	stranger := string(pemOf(signingtest.NewCA(t, now()).Chain[0]))
	for name, list := range map[string][]string{
		"leaf only":         certs[:1],
		"wrong order":       {certs[0], certs[2], certs[1]},
		"stranger above":    {certs[0], stranger},
		"two in one string": {certs[0], certs[1] + certs[2]},
		"no PEM":            {certs[0], "x"},
		"long":              slices.Repeat(certs[2:], 11),
	} {
		text, err := json.Marshal(map[string]any{"signedCertificateEmbeddedSct": map[string]any{"chain": map[string]any{"certificates": list}}})
		if err != nil {
			t.Fatal(err)
		}
		if chain, err := signing.ParseCertificateAnswer(text); err == nil {
			t.Errorf("%s: got %d certificates, want an error", name, len(chain))
		}
	}
}
