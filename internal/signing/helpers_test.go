package signing_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"sigstack/internal/pki"
	"sigstack/internal/signing"
	"sigstack/internal/signing/signingtest"
)

const artifact = "what is signed"

func newKit(tb testing.TB, s *signingtest.Stack) *signing.Kit {
	tb.Helper()
	trustedRoot, config := s.KitFiles(tb)
	kit, err := signing.NewKit("kit/trusted_root.json", trustedRoot, config)
	if err != nil {
		tb.Fatal(err)
	}
	return kit
}

func newSession(tb testing.TB, s *signingtest.Stack, email string) *signing.Session {
	tb.Helper()
	session, err := signing.NewSession(signing.SessionConfig{
		Kit: newKit(tb, s), Token: signing.StaticToken(s.Token(email)),
		Now: s.Now, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		tb.Fatal(err)
	}
	return session
}

func sign(tb testing.TB, s *signingtest.Stack, text string) *signing.Signed {
	tb.Helper()
	signed, err := newSession(tb, s, signingtest.Email).Sign(tb.Context(), strings.NewReader(text))
	if err != nil {
		tb.Fatal(err)
	}
	return signed
}

func identity(tb testing.TB, subject, subjectRegexp, issuer, issuerRegexp string) *signing.Identity {
	tb.Helper()
	id, err := signing.NewIdentity(subject, subjectRegexp, issuer, issuerRegexp)
	if err != nil {
		tb.Fatal(err)
	}
	return id
}

func demo(tb testing.TB, s *signingtest.Stack) *signing.Identity {
	tb.Helper()
	return identity(tb, signingtest.Email, "", s.Issuer(), "")
}

// edit returns the bundle with change applied to its message.
func edit(tb testing.TB, text []byte, change func(*protobundle.Bundle)) []byte {
	tb.Helper()
	var pb protobundle.Bundle
	if err := protojson.Unmarshal(text, &pb); err != nil {
		tb.Fatal(err)
	}
	change(&pb)
	out, err := protojson.Marshal(&pb)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// verify parses and verifies text over content.
func verify(tb testing.TB, content string, text []byte, kit *signing.Kit, id *signing.Identity) (signing.Result, error) {
	tb.Helper()
	b, err := signing.ParseBundle(text)
	if err != nil {
		return signing.Result{}, err
	}
	return signing.Verify(tb.Context(), strings.NewReader(content), b, kit.Trusted, id)
}

// wantRefused demands a refusal at check. What fails before any trust root is
// asked, a malformed bundle, names none.
func wantRefused(t *testing.T, err error, check signing.Check) {
	t.Helper()
	var refused *signing.RefusedError
	if !errors.As(err, &refused) {
		t.Fatalf("got error %v, want a refusal at %q", err, check)
	}
	if refused.Check != check {
		t.Errorf("got refusal at %q (%v), want at %q", refused.Check, err, check)
	}
	if refused.TrustRoot != "" && !strings.Contains(err.Error(), "kit/trusted_root.json sha256:") {
		t.Errorf("got %q, want the trust root named", err)
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("got %q, want one line", err)
	}
}

func flip(b []byte) {
	b[len(b)/2] ^= 1
}

func now() time.Time { return time.Now() }

func digest(text string) []byte {
	d := sha256.Sum256([]byte(text))
	return bytes.Clone(d[:])
}

func hexDigest(text string) string { return hex.EncodeToString(digest(text)) }

func pemOf(c *x509.Certificate) []byte { return pki.CertificatesPEM([]*x509.Certificate{c}) }
