package signing_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sigstack/internal/signing"
	"sigstack/internal/signing/signingtest"
)

func TestSessionSigns(t *testing.T) {
	s := signingtest.New(t, now)
	path := filepath.Join(t.TempDir(), "artifact")
	if err := os.WriteFile(path, []byte(artifact), 0o600); err != nil {
		t.Fatal(err)
	}
	signed, err := newSession(t, s, signingtest.Email).SignFile(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if signed.Result.Identity != signingtest.Email || signed.Result.Digest != "sha256:"+hexDigest(artifact) {
		t.Errorf("got %+v, want %s and the artifact's digest", signed.Result, signingtest.Email)
	}
	if !ecdsa.VerifyASN1(signed.Certificate.PublicKey.(*ecdsa.PublicKey), digest(artifact), signed.Signature) {
		t.Error("the signature does not verify with the certificate's key")
	}
	b, err := signing.ParseBundle(signed.JSON)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := signing.VerifyFile(t.Context(), path, b, newKit(t, s).Trusted, demo(t, s)); err != nil {
		t.Error(err)
	}
}

// TestBundleShape holds a bundle to the members that contract release-artifacts
// and every client of v0.3 expect.
func TestBundleShape(t *testing.T) {
	s := signingtest.New(t, now)
	var b struct {
		MediaType            string
		VerificationMaterial struct {
			Certificate struct{ RawBytes []byte }
			TlogEntries []struct {
				LogIndex, IntegratedTime string
				KindVersion              struct{ Kind, Version string }
				InclusionPromise         struct{ SignedEntryTimestamp []byte }
				InclusionProof           struct{ Checkpoint struct{ Envelope string } }
				CanonicalizedBody        []byte
			}
			TimestampVerificationData struct {
				Rfc3161Timestamps []struct{ SignedTimestamp []byte }
			}
		}
		MessageSignature struct {
			MessageDigest struct {
				Algorithm string
				Digest    []byte
			}
			Signature []byte
		}
	}
	text := sign(t, s, artifact).JSON
	decoder := json.NewDecoder(bytes.NewReader(text))
	if err := decoder.Decode(&b); err != nil {
		t.Fatal(err)
	}
	material := b.VerificationMaterial
	if b.MediaType != "application/vnd.dev.sigstore.bundle.v0.3+json" || len(material.Certificate.RawBytes) == 0 {
		t.Errorf("got media type %q and a certificate of %d bytes, want v0.3 and a single certificate", b.MediaType, len(material.Certificate.RawBytes))
	}
	if len(material.TlogEntries) != 1 || len(material.TimestampVerificationData.Rfc3161Timestamps) != 1 {
		t.Fatalf("got %d entries and %d timestamps, want one each", len(material.TlogEntries), len(material.TimestampVerificationData.Rfc3161Timestamps))
	}
	e := material.TlogEntries[0]
	if e.KindVersion.Kind != "hashedrekord" || e.KindVersion.Version != "0.0.1" || len(e.InclusionPromise.SignedEntryTimestamp) == 0 || e.InclusionProof.Checkpoint.Envelope == "" {
		t.Errorf("got entry %+v, want hashedrekord 0.0.1 with promise and checkpoint", e)
	}
	if b.MessageSignature.MessageDigest.Algorithm != "SHA2_256" || !bytes.Equal(b.MessageSignature.MessageDigest.Digest, digest(artifact)) {
		t.Errorf("got digest %+v, want the artifact's SHA2_256", b.MessageSignature.MessageDigest)
	}
	if bytes.ContainsAny(text, " \n") && strings.Contains(string(text), `": `) {
		t.Errorf("got %q, want compact JSON", text)
	}
}

// TestSessionReusesCertificate signs in parallel with one certificate, and with
// a second one once the first nears its end.
func TestSessionReusesCertificate(t *testing.T) {
	var mu sync.Mutex
	shift := time.Duration(0)
	clock := func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return time.Now().Add(shift)
	}
	s := signingtest.New(t, clock)
	session := newSession(t, s, signingtest.Email)
	signMany(t, session, 8)
	if got := s.Calls("/api/v2/signingCert"); got != 1 {
		t.Errorf("got %d certificates for 8 signatures, want 1", got)
	}
	mu.Lock()
	shift = 7*time.Minute + 50*time.Second
	mu.Unlock()
	signMany(t, session, 1)
	if got := s.Calls("/api/v2/signingCert"); got != 1 {
		t.Errorf("got %d certificates with two minutes left, want 1", got)
	}
	mu.Lock()
	shift = 8*time.Minute + time.Second
	mu.Unlock()
	signMany(t, session, 8)
	if got := s.Calls("/api/v2/signingCert"); got != 2 {
		t.Errorf("got %d certificates, want a second one near the end of the first", got)
	}
}

func signMany(t *testing.T, session *signing.Session, n int) {
	t.Helper()
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			if _, err := session.Sign(t.Context(), strings.NewReader(artifact)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// TestSessionKeepsIdentity has a token source that turns to another user.
func TestSessionKeepsIdentity(t *testing.T) {
	clock := time.Now()
	s := signingtest.New(t, func() time.Time { return clock })
	emails := []string{"one@fake.example", "two@fake.example"}
	session, err := signing.NewSession(signing.SessionConfig{
		Kit: newKit(t, s), Now: s.Now, Log: slog.New(slog.DiscardHandler),
		Token: func(context.Context) (string, error) {
			email := emails[0]
			emails = emails[1:]
			return s.Token(email), nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	signMany(t, session, 1)
	clock = clock.Add(9 * time.Minute)
	_, err = session.Sign(t.Context(), strings.NewReader(artifact))
	if err == nil || !strings.Contains(err.Error(), "two@fake.example") {
		t.Errorf("got %v, want a refusal to go on as two@fake.example", err)
	}
}

// TestSessionRefusesBadAnswers has services whose answers do not verify: nothing
// is handed out.
func TestSessionRefusesBadAnswers(t *testing.T) {
	keys := signingtest.NewKeys(t, now().Add(-time.Hour))
	tests := []struct {
		name   string
		change func(own *signingtest.Keys, fresh signingtest.Keys)
		want   signing.Check
	}{
		{"certificate authority", func(k *signingtest.Keys, fresh signingtest.Keys) { k.CA = fresh.CA }, signing.CheckCertificate},
		{"CT log", func(k *signingtest.Keys, fresh signingtest.Keys) { k.CT = fresh.CT }, signing.CheckSCT},
		{"transparency log", func(k *signingtest.Keys, fresh signingtest.Keys) { k.Log = fresh.Log }, signing.CheckLog},
		{"timestamp authority", func(k *signingtest.Keys, fresh signingtest.Keys) { k.TSA = fresh.TSA }, signing.CheckTimestamp},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			theirs := keys
			tt.change(&theirs, signingtest.NewKeys(t, now().Add(-time.Hour)))
			s := signingtest.NewWith(t, now, theirs)
			m := s.Material(t)
			honest := signingtest.NewWith(t, now, keys).Material(t)
			m.CAs, m.CTLogs, m.TLogs, m.TSAs = honest.CAs, honest.CTLogs, honest.TLogs, honest.TSAs
			session, err := signing.NewSession(signing.SessionConfig{
				Kit: kitOf(t, m), Token: signing.StaticToken(s.Token(signingtest.Email)),
				Now: s.Now, Log: slog.New(slog.DiscardHandler),
			})
			if err != nil {
				t.Fatal(err)
			}
			_, err = session.Sign(t.Context(), strings.NewReader(artifact))
			wantRefused(t, err, tt.want)
		})
	}
}

// TestSessionRefusesOtherKey has a CA that certifies a key of its own.
func TestSessionRefusesOtherKey(t *testing.T) {
	s := signingtest.New(t, now)
	replay := &bytes.Buffer{}
	s.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/api/v2/signingCert" || replay.Len() == 0 {
			return false
		}
		_, _ = w.Write(replay.Bytes())
		return true
	}
	replay.Write(certificateAnswer(t, s))
	_, err := newSession(t, s, signingtest.Email).Sign(t.Context(), strings.NewReader(artifact))
	wantRefused(t, err, signing.CheckCertificate)
}

// certificateAnswer has the fake CA certify a forger's key.
func certificateAnswer(tb testing.TB, s *signingtest.Stack) []byte {
	tb.Helper()
	f := newForger(tb, s)
	leaf := string(pemOf(f.cert))
	out, err := json.Marshal(map[string]any{"signedCertificateEmbeddedSct": map[string]any{"chain": map[string]any{
		"certificates": []string{leaf, string(pemOf(s.Keys.CA.Chain[0])), string(pemOf(s.Keys.CA.Chain[1]))},
	}}})
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// TestSessionTakesConflict has a log that answers duplicates with 409 and the
// entry's location (contract rekor-v1 §6).
func TestSessionTakesConflict(t *testing.T) {
	s := signingtest.New(t, now)
	s.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPost || r.URL.Path != "/api/v1/log/entries" {
			return false
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		add := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
		if err := s.AddEntry(httptest.NewRecorder(), add); err != nil {
			t.Error(err)
		}
		w.Header().Set("Location", "/api/v1/log/entries/"+signingtest.EntryID(body))
		w.WriteHeader(http.StatusConflict)
		return true
	}
	signed := sign(t, s, artifact)
	if signed.Result.LogIndex != 1 {
		t.Errorf("got index %d, want the existing entry's, 1", signed.Result.LogIndex)
	}
}

func TestSessionRefusesConflictElsewhere(t *testing.T) {
	s := signingtest.New(t, now)
	s.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/api/v1/log/entries" {
			return false
		}
		w.Header().Set("Location", "http://evil.example/steal?")
		w.WriteHeader(http.StatusConflict)
		return true
	}
	_, err := newSession(t, s, signingtest.Email).Sign(t.Context(), strings.NewReader(artifact))
	if err == nil || !strings.Contains(err.Error(), "names it") {
		t.Errorf("got %v, want the location refused", err)
	}
}

// TestSessionReportsRefusal has a CA that says no: its words, address and what
// to do are in the error, the token is not.
func TestSessionReportsRefusal(t *testing.T) {
	s := signingtest.New(t, now)
	token := s.Token(signingtest.Email)
	s.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/api/v2/signingCert" {
			return false
		}
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"code":3,"message":"There was an error processing the identity token","details":[]}`))
		return true
	}
	_, err := newSession(t, s, signingtest.Email).Sign(t.Context(), strings.NewReader(artifact))
	var refused *signing.ServiceError
	if !errors.As(err, &refused) || refused.Status != http.StatusBadRequest {
		t.Fatalf("got %v, want a *ServiceError of 400", err)
	}
	for _, want := range []string{"certificate authority", s.URL, "processing the identity token", "check that the identity token"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %q, want it to hold %q", err, want)
		}
	}
	if strings.Contains(err.Error(), token) {
		t.Error("the error holds the token")
	}
	if got := s.Calls("/api/v2/signingCert"); got != 1 {
		t.Errorf("got %d calls, want no retry of a refusal", got)
	}
}

func TestSessionNeedsVerifiedClaims(t *testing.T) {
	s := signingtest.New(t, now)
	enc := func(claims string) string {
		return "h." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".s"
	}
	for _, token := range []string{"", "one", "a.b", "a.!.c", enc(`[]`), enc(`{"email":"a@b"}`), enc(`{"email_verified":"maybe"}`), "a.b.c.d"} {
		session, err := signing.NewSession(signing.SessionConfig{
			Kit: newKit(t, s), Token: signing.StaticToken(token), Now: s.Now, Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := session.SignDigest(t.Context(), sha256.Sum256(nil)); err == nil {
			t.Errorf("token %q: got a signature, want an error", token)
		}
	}
	if got := s.Calls("/api/v2/signingCert"); got != 0 {
		t.Errorf("got %d calls of the CA, want none for unreadable tokens", got)
	}
}
