package token_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"sigstack/internal/fault"
	"sigstack/services/ca/cause"
	"sigstack/services/ca/identity/identitytest"
)

// TestCauses: what programs are told of each refusal, and that it repeats nothing
// that the token's author chose.
func TestCauses(t *testing.T) {
	s := newSetup(t)
	now := s.clock.Now()
	other := identitytest.NewKey(t, "hunter2")
	with := func(changes claims) string { return s.issuer.Token(t, changes) }
	const form = "three parts of base64url, at most 65536 bytes, the second a JSON object with iss and sub"
	tests := []struct {
		name, raw       string
		reason          string
		check           cause.Check
		expected, found string
	}{
		{"none", "", "TOKEN_MISSING", cause.Form, form, "0 bytes with 0 dots"},
		{"no token", "hunter2", "TOKEN_MALFORMED", cause.Form, form, "7 bytes with 0 dots"},
		{"issuer", with(claims{"iss": "https://hunter2.example"}), "ISSUER_UNKNOWN", cause.Issuer, "an issuer that the CA trusts, byte for byte", ""},
		{"audience", with(claims{"aud": []string{"hunter2", "x"}}), "AUDIENCE_MISMATCH", cause.Audience, "sigstore", "2 audiences"},
		{"one audience", with(claims{"aud": "hunter2"}), "AUDIENCE_MISMATCH", cause.Audience, "sigstore", "1 audience"},
		{"no audience", with(claims{"aud": nil}), "CLAIM_MISSING", cause.Audience, "sigstore", "none"},
		{"expired", with(claims{"exp": now.Add(-time.Hour).Unix()}), "TOKEN_EXPIRED", cause.Expiry, "not before 2026-03-01T12:00:00Z", "2026-03-01T11:00:00Z"},
		{"no expiry", with(claims{"exp": nil}), "CLAIM_MISSING", cause.Expiry, "not before 2026-03-01T12:00:00Z", "none"},
		{"odd expiry", with(claims{"exp": "hunter2"}), "CLAIM_INVALID", cause.Expiry, "not before 2026-03-01T12:00:00Z", "not a time"},
		{
			"too early", with(claims{"nbf": now.Add(time.Hour).Unix()}),
			"TOKEN_NOT_YET_VALID", cause.NotBefore, "none, or at the latest 2026-03-01T12:05:00Z", "2026-03-01T13:00:00Z",
		},
		{
			"key", identitytest.Sign(t, other, s.issuer.Claims(nil)),
			"SIGNATURE_INVALID", cause.Signature, "RS256 or ES256 by one of the issuer's keys", "ES256, and the id of another key",
		},
		{
			"none", identitytest.Unsigned(t, "none", s.issuer.Claims(nil), nil),
			"ALGORITHM_NOT_ACCEPTED", cause.Signature, "RS256 or ES256 by one of the issuer's keys", "none, and no key id",
		},
		{
			"no signature", strings.TrimRight(s.issuer.Token(t, nil), "-_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") + "x",
			"TOKEN_MALFORMED", cause.Signature, "RS256 or ES256 by one of the issuer's keys", "ES256, and the id of one of them",
		},
		{
			"made up", identitytest.Unsigned(t, "hunter2", s.issuer.Claims(nil), nil),
			"ALGORITHM_NOT_ACCEPTED", cause.Signature, "RS256 or ES256 by one of the issuer's keys", "an unknown algorithm, and no key id",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := s.verifier.Verify(t.Context(), tt.raw)
			got, _ := fault.DetailOf(err)
			want := map[string]string{"check": string(tt.check), "expected": tt.expected}
			if tt.found != "" {
				want["found"] = tt.found
			}
			if strings.HasPrefix(tt.reason, "CLAIM_") {
				want["claim"] = map[cause.Check]string{cause.Audience: "aud", cause.Expiry: "exp"}[tt.check]
			}
			if got.Reason != tt.reason || !maps.Equal(got.Metadata, want) {
				t.Errorf("told %s %v\nwant %s %v", got.Reason, got.Metadata, tt.reason, want)
			}
			if shown := fault.Public(err) + fmt.Sprint(got); strings.Contains(shown, "hunter2") {
				t.Errorf("the refusal repeats the token: %s", shown)
			}
		})
	}
}

// TestTrace: who watches is told of each check in order, up to the one that fails,
// and of an inspection only what needs no keys.
func TestTrace(t *testing.T) {
	s := newSetup(t)
	traced := func(raw string, inspect bool) (passed []cause.Check, failed cause.Step) {
		ctx := cause.Trace(t.Context(), func(step cause.Step) {
			if step.Expected == "" {
				t.Errorf("%s: nothing is expected", step.Check)
			}
			if step.Err != nil {
				failed = step
				return
			}
			passed = append(passed, step.Check)
		})
		verify := s.verifier.Verify
		if inspect {
			verify = s.verifier.Inspect
		}
		if _, err := verify(ctx, raw); (err == nil) != (failed.Err == nil) {
			t.Errorf("error %v, traced %v", err, failed.Err)
		}
		return passed, failed
	}
	all := []cause.Check{cause.Form, cause.Issuer, cause.Audience, cause.Expiry, cause.NotBefore, cause.Keys, cause.Signature}
	before := s.issuer.Fetched()
	if passed, _ := traced(s.issuer.Token(t, nil), true); !slices.Equal(passed, all[:5]) || s.issuer.Fetched() != before {
		t.Errorf("inspection: passed %v, want %v without asking the issuer", passed, all[:5])
	}
	if passed, failed := traced(s.issuer.Token(t, nil), false); !slices.Equal(passed, all) || failed.Err != nil {
		t.Errorf("good token: passed %v, failed %v, want %v", passed, failed.Check, all)
	}
	passed, failed := traced(s.issuer.Token(t, claims{"aud": "elsewhere"}), false)
	if !slices.Equal(passed, all[:2]) || failed.Check != cause.Audience || failed.Said != "elsewhere" {
		t.Errorf("audience: passed %v, failed %+v, want %v, then audience of elsewhere", passed, failed, all[:2])
	}
}
