package ca

import (
	"context"
	"crypto/elliptic"
	"net/http"
	"testing"
	"time"

	"sigstack/internal/audit"
	"sigstack/internal/fault"
)

// TestLimit: who is over a limit is told when to come again, and nothing was
// signed; who has shown no good token is not counted.
func TestLimit(t *testing.T) {
	var asked [][2]string
	f := newFixture(t, func(f *fixture) {
		f.cfg.Limit = func(_ context.Context, issuer, subject string) error {
			asked = append(asked, [2]string{issuer, subject})
			if len(asked) > 1 {
				return fault.Later(2500*time.Millisecond, "too many certificates for this identity")
			}
			return nil
		}
	})
	key := newECDSA(t, elliptic.P256())
	body, token := challengeBody(t, key, "alice@example.com"), f.issuer.Token(t, alice())
	if w := f.post(t, "/api/v2/signingCert", token, body); w.Code != http.StatusOK {
		t.Fatalf("first: %d %s", w.Code, w.Body)
	}
	w := f.post(t, "/api/v2/signingCert", token, body)
	const want = `{"code":8,"message":"too many certificates for this identity","details":[]}` + "\n"
	if w.Code != http.StatusTooManyRequests || w.Body.String() != want || w.Header().Get("Retry-After") != "3" {
		t.Errorf("second: %d %s, Retry-After %q, want 429 %s", w.Code, w.Body, w.Header().Get("Retry-After"), want)
	}
	if n := f.log.Len(); n != 1 {
		t.Errorf("%d precertificates logged, want 1", n)
	}
	events := f.record.Take()
	if last := events[len(events)-1]; last.Outcome != audit.Refused {
		t.Errorf("on record: %+v, want a refusal", last)
	}
	for _, who := range asked {
		if who != [2]string{f.issuer.URL, "alice@example.com"} {
			t.Errorf("counted for %q", who)
		}
	}
	f.post(t, "/api/v2/signingCert", f.issuer.Token(t, map[string]any{"aud": "another"}), body)
	if len(asked) != 2 {
		t.Errorf("counted %d times, want 2: not who has no token", len(asked))
	}
}
