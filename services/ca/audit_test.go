package ca

import (
	"crypto/elliptic"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"sigstack/internal/audit"
	"sigstack/internal/fault"
)

func TestEachCertificateIsOnRecord(t *testing.T) {
	key := newECDSA(t, elliptic.P256())
	for _, tt := range []struct {
		name    string
		issuer  func(*fixture)
		claims  map[string]any
		signed  string
		subject string
	}{
		{"email", nil, alice(), "alice@example.com", "alice@example.com"},
		{
			"workflow", ofType("github-workflow", ""), githubRun(), "repo:octo-org/octo-repo:ref:refs/heads/main",
			"https://github.com/octo-org/octo-repo/.github/workflows/b.yml@refs/heads/main",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, tt.issuer)
			leaf := issued(t, f.post(t, "/api/v2/signingCert", f.issuer.Token(t, tt.claims), challengeBody(t, key, tt.signed)))[0]
			got := f.record.Only(t)
			want := map[string]string{
				"serial":             leaf.SerialNumber.Text(16),
				"not_before":         "2026-03-01T12:00:00Z",
				"not_after":          "2026-03-01T12:10:00Z",
				"key_id":             fmt.Sprintf("%x", leaf.SubjectKeyId),
				"certificate_sha256": fmt.Sprintf("%x", sha256.Sum256(leaf.Raw)),
			}
			if got.Action != audit.ActionCertificate || got.Outcome != audit.OK || got.Service != "ca" {
				t.Errorf("got %+v, want a certificate that was issued", got)
			}
			if got.Issuer != f.issuer.URL || got.Subject != tt.subject {
				t.Errorf("got %s of %s, want %s of %s", got.Subject, got.Issuer, tt.subject, f.issuer.URL)
			}
			if !maps.Equal(got.Detail, want) {
				t.Errorf("detail: got %v, want %v", got.Detail, want)
			}
		})
	}
}

// TestEachRefusalIsOnRecord: with its cause, whom a token named if it was
// verified, and never the token.
func TestEachRefusalIsOnRecord(t *testing.T) {
	key := newECDSA(t, elliptic.P256())
	body := challengeBody(t, key, "alice@example.com")
	for _, tt := range []struct {
		name     string
		token    func(f *fixture) string
		body     any
		logFails error
		outcome  audit.Outcome
		subject  string
		cause    string
	}{
		{"no token", func(*fixture) string { return "" }, body, nil, audit.Refused, "", "there is no token"},
		{"not a token", func(*fixture) string { return "a.b.c" }, body, nil, audit.Refused, "", "the payload is not base64url"},
		{
			"another audience", func(f *fixture) string {
				return f.issuer.Token(t, with(alice(), "aud", "mallory"))
			}, body, nil, audit.Refused, "", "the token is for another audience",
		},
		{
			"not verified by its issuer", func(f *fixture) string {
				return f.issuer.Token(t, with(alice(), "email_verified", false))
			}, body, nil, audit.Refused, "subject-1", "the email is not verified",
		},
		{
			"no proof of the key", func(f *fixture) string { return f.issuer.Token(t, alice()) },
			challengeBody(t, key, "mallory@example.com"), nil, audit.Refused, "alice@example.com", "signature",
		},
		{
			"not JSON", func(f *fixture) string { return f.issuer.Token(t, alice()) }, "[",
			nil, audit.Refused, "", "not a JSON object",
		},
		{
			"the log is down", func(f *fixture) string { return f.issuer.Token(t, alice()) }, body,
			errors.New("down"), audit.Failed, "alice@example.com", "Error entering certificate in CTL",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, nil)
			f.log.Answering(nil, tt.logFails)
			token := tt.token(f)
			if w := f.post(t, "/api/v2/signingCert", token, tt.body); w.Code < 400 {
				t.Fatalf("status %d, want a refusal", w.Code)
			}
			got := f.record.Only(t)
			if got.Outcome != tt.outcome || got.Subject != tt.subject || (got.Issuer != "") != (tt.subject != "") {
				t.Errorf("got outcome %s, subject %q, issuer %q; want %s, %q", got.Outcome, got.Subject, got.Issuer, tt.outcome, tt.subject)
			}
			if !strings.Contains(got.Detail["cause"], tt.cause) {
				t.Errorf("cause: got %q, want %q in it", got.Detail["cause"], tt.cause)
			}
			if token != "" && strings.Contains(fmt.Sprint(got), token) {
				t.Error("the token is on record")
			}
		})
	}
}

// with returns claims with one changed.
func with(claims map[string]any, name string, value any) map[string]any {
	changed := maps.Clone(claims)
	changed[name] = value
	return changed
}

// TestNoRecordNoCertificate: what cannot be recorded is not answered, and what is
// known not to be recordable is not logged either.
func TestNoRecordNoCertificate(t *testing.T) {
	full := fault.Wrap(fault.Unavailable, errors.New("no space left on device"), "the audit record cannot be written")
	key := newECDSA(t, elliptic.P256())
	for _, tt := range []struct {
		name   string
		down   error
		logged int
	}{
		{"not ready", full, 0},
		{"full since", nil, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, nil)
			f.record.Fail(full, tt.down)
			token := f.issuer.Token(t, alice())
			w := f.post(t, "/api/v2/signingCert", token, challengeBody(t, key, "alice@example.com"))
			wantRefusal(t, w, http.StatusServiceUnavailable, 14, "the audit record cannot be written")
			if got := f.log.Len(); got != tt.logged {
				t.Errorf("got %d precertificates in the log, want %d", got, tt.logged)
			}
			f.record.Fail(nil, nil)
			issued(t, f.post(t, "/api/v2/signingCert", token, challengeBody(t, key, "alice@example.com")))
		})
	}
}

// TestARefusalWithoutARecordIsNone: the caller is told to come again.
func TestARefusalWithoutARecordIsNone(t *testing.T) {
	f := newFixture(t, nil)
	f.record.Fail(fault.New(fault.Unavailable, "the audit record cannot be written"), nil)
	w := f.post(t, "/api/v2/signingCert", "a.b.c", challengeBody(t, newECDSA(t, elliptic.P256()), "alice@example.com"))
	wantRefusal(t, w, http.StatusServiceUnavailable, 14, "the audit record cannot be written")
}

func TestNewWantsARecord(t *testing.T) {
	f := newFixture(t, nil)
	for i, change := range []func(*Config){
		func(c *Config) { c.Audit = nil },
		func(c *Config) { c.AuditReady = nil },
	} {
		cfg := f.cfg
		change(&cfg)
		if _, err := New(cfg); err == nil || !slices.Contains(strings.Fields(err.Error()), "audit") {
			t.Errorf("%d: got %v, want an error that asks for an audit record", i, err)
		}
	}
}
