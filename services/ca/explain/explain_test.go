package explain_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"sigstack/services/ca/cause"
	"sigstack/services/ca/explain"
	"sigstack/services/ca/identity"
	"sigstack/services/ca/identity/identitytest"
	"sigstack/services/ca/policy"
)

func now() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

type claims = map[string]any

// setup is an issuer of emails with a policy.
func setup(t testing.TB) (*identitytest.Issuer, explain.Config) {
	t.Helper()
	issuer := identitytest.New(t, now)
	p, err := policy.Compile([]policy.Rule{
		{Name: "corp", Expression: `claims.email.endsWith("@corp.example")`, Message: "use your corporate address"},
		{Name: "team", Expression: `claims.team == "release"`, Message: "ask the release team"},
	})
	if err != nil {
		t.Fatal(err)
	}
	trusted := identity.Issuer{
		URL: issuer.URL, ClientID: identitytest.ClientID, Type: identity.Email, Policy: p.Check, Lifetime: 5 * time.Minute,
	}
	return issuer, explain.Config{
		Issuers: []identity.Issuer{trusted}, Policies: map[explain.Key]*policy.Policy{{URL: issuer.URL, ClientID: identitytest.ClientID}: p},
		Now: now, Log: slog.New(slog.DiscardHandler),
	}
}

func good() claims {
	return claims{"email": "ann@corp.example", "email_verified": true, "team": "release"}
}

// explained also holds the report to its promise not to show the token.
func explained(t *testing.T, cfg explain.Config, raw string) *explain.Report {
	t.Helper()
	r, err := explain.Token(t.Context(), cfg, raw)
	if err != nil {
		t.Fatalf("explain: %v", err)
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for part := range strings.SplitSeq(raw, ".") {
		if len(part) > 10 && strings.Contains(string(text), part) {
			t.Errorf("the report shows the token: %s", text)
		}
	}
	if len(r.Checks) != len(cause.Checks()) {
		t.Errorf("%d checks, want each of %v", len(r.Checks), cause.Checks())
	}
	return r
}

func outcomes(r *explain.Report) (list []explain.Outcome) {
	for _, c := range r.Checks {
		list = append(list, c.Outcome)
	}
	return list
}

func TestAccepted(t *testing.T) {
	issuer, cfg := setup(t)
	r := explained(t, cfg, issuer.Token(t, good()))
	if !r.Accepted || !r.Complete || slices.ContainsFunc(outcomes(r), func(o explain.Outcome) bool { return o != explain.Pass }) {
		t.Errorf("accepted %t, complete %t, %+v, want all passed", r.Accepted, r.Complete, r.Checks)
	}
	if r.Issuer == nil || r.Issuer.URL != issuer.URL || r.Issuer.Type != "email" || r.Issuer.LocallyBacked {
		t.Errorf("issuer %+v, want that of the token", r.Issuer)
	}
	if len(r.Rules) != 2 || r.Rules[0].Outcome != explain.Pass || r.Rules[1].Outcome != explain.Pass {
		t.Errorf("rules %+v, want both passed", r.Rules)
	}
	c := r.Certificate
	if c == nil || c.NameType != "email" || c.Name != "ann@corp.example" || c.Lifetime != "5m0s" || !slices.Equal(c.Challenges, []string{"ann@corp.example"}) {
		t.Fatalf("certificate %+v, want Ann's, for five minutes", c)
	}
	want := []explain.Extension{
		{"1.3.6.1.4.1.57264.1.1", "issuer (old form)", issuer.URL, hex.EncodeToString([]byte(issuer.URL))},
		{"1.3.6.1.4.1.57264.1.8", "issuer", issuer.URL, "0c" + hex.EncodeToString(append([]byte{byte(len(issuer.URL))}, issuer.URL...))},
		{"1.3.6.1.4.1.57264.1.24", "token subject", "subject-1", "0c09" + hex.EncodeToString([]byte("subject-1"))},
	}
	if !slices.Equal(c.Extensions, want) {
		t.Errorf("extensions\ngot  %+v\nwant %+v", c.Extensions, want)
	}
}

// TestRefused: each token fails at one check, and what comes behind is not reached.
func TestRefused(t *testing.T) {
	issuer, cfg := setup(t)
	with := func(changes claims) string {
		c := good()
		for name, value := range changes {
			c[name] = value
		}
		return issuer.Token(t, c)
	}
	for _, tt := range []struct {
		name, raw     string
		check         cause.Check
		reason, found string
		said          string
	}{
		{"form", "x", cause.Form, "TOKEN_MALFORMED", "1 byte with 0 dots", ""},
		{"issuer", with(claims{"iss": "https://other.example"}), cause.Issuer, "ISSUER_UNKNOWN", "", "https://other.example"},
		{"audience", with(claims{"aud": "other"}), cause.Audience, "AUDIENCE_MISMATCH", "1 audience", "other"},
		{"expiry", with(claims{"exp": now().Unix() - 1}), cause.Expiry, "TOKEN_EXPIRED", "2026-03-01T11:59:59Z", ""},
		{"start", with(claims{"nbf": now().Unix() + 600}), cause.NotBefore, "TOKEN_NOT_YET_VALID", "2026-03-01T12:10:00Z", ""},
		{
			"signature", identitytest.Sign(t, identitytest.NewKey(t, "key-1"), issuer.Claims(good())),
			cause.Signature, "SIGNATURE_INVALID", "ES256, and the id of one of them", "key-1",
		},
		{"identity", with(claims{"email_verified": false}), cause.Identity, "IDENTITY_REFUSED", "", ""},
		{"claim", with(claims{"email": nil}), cause.Identity, "CLAIM_MISSING", "", ""},
		{"policy", with(claims{"team": "dev"}), cause.Policy, "POLICY_REFUSED", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := explained(t, cfg, tt.raw)
			if r.Accepted || r.Certificate != nil {
				t.Errorf("accepted %t with %+v, want a refusal", r.Accepted, r.Certificate)
			}
			failed := slices.Index(cause.Checks(), tt.check)
			for i, got := range outcomes(r) {
				want := explain.Pass
				if i == failed {
					want = explain.Fail
				} else if i > failed {
					want = explain.NotReached
				}
				if got != want {
					t.Errorf("%s: %s, want %s", r.Checks[i].Name, got, want)
				}
			}
			c := r.Checks[failed]
			if c.Reason != tt.reason || c.Found != tt.found || c.Said != tt.said || c.Message == "" {
				t.Errorf("%+v, want reason %s, found %q, said %q", c, tt.reason, tt.found, tt.said)
			}
			if got, err := r.Failed(); err != nil || got.Name != tt.check {
				t.Errorf("failed: %v, %v, want %s", got.Name, err, tt.check)
			}
		})
	}
}

// TestRules: all of them are told, not the first alone that refuses.
func TestRules(t *testing.T) {
	issuer, cfg := setup(t)
	r := explained(t, cfg, issuer.Token(t, claims{"email": "eve@evil.example", "email_verified": true}))
	want := []explain.Rule{
		{Name: "corp", Outcome: explain.Fail, Message: "use your corporate address"},
		{Name: "team", Outcome: explain.Fail, Message: "ask the release team", Failed: "claim or member team is missing"},
	}
	if !slices.Equal(r.Rules, want) {
		t.Errorf("got %+v, want %+v", r.Rules, want)
	}
}

func TestIssuerAway(t *testing.T) {
	issuer, cfg := setup(t)
	raw := issuer.Token(t, good())
	issuer.Handle(http.NotFoundHandler())
	r := explained(t, cfg, raw)
	if c, err := r.Failed(); err != nil || c.Name != cause.Keys || c.Reason != "ISSUER_UNAVAILABLE" || r.Accepted {
		t.Errorf("failed: %+v, %v, want the issuer's keys", c, err)
	}
	cfg.Offline = true
	r = explained(t, cfg, raw)
	if !r.Accepted || r.Complete || r.Checks[5].Outcome != explain.Skipped || r.Checks[6].Outcome != explain.Skipped || r.Certificate == nil {
		t.Errorf("offline: accepted %t, complete %t, %+v, want the signature skipped", r.Accepted, r.Complete, r.Checks)
	}
}

func TestCanceledIsNoRefusal(t *testing.T) {
	issuer, cfg := setup(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r, err := explain.Token(ctx, cfg, issuer.Token(t, good())); err == nil {
		t.Errorf("got %+v, want an error", r)
	}
}

func TestPublished(t *testing.T) {
	issuer := identitytest.New(t, now)
	body := `{"issuers":[
		{"issuerUrl":"` + issuer.URL + `","audience":"sigstore","challengeClaim":"email","spiffeTrustDomain":"","issuerType":"email","subjectDomain":"","skipEmailVerification":false},
		{"issuerUrl":"` + issuer.URL + `","audience":"ci","challengeClaim":"sub","issuerType":"ci-provider"},
		{"wildcardIssuerUrl":"https://*.corp.example","audience":"sigstore","issuerType":"kubernetes"}]}`
	issuers, err := explain.PublishedIssuers([]byte(body), http.DefaultClient)
	if err != nil || len(issuers) != 3 || issuers[2].URL != "https://*.corp.example" {
		t.Fatalf("issuers %+v, %v, want three", issuers, err)
	}
	cfg := explain.Config{Issuers: issuers, Published: true, Now: now, Log: slog.New(slog.DiscardHandler)}
	r := explained(t, cfg, issuer.Token(t, good()))
	if !r.Accepted || r.Complete || r.Certificate == nil || r.Checks[8].Outcome != explain.Skipped {
		t.Errorf("email: accepted %t, complete %t, %+v, want the policy skipped", r.Accepted, r.Complete, r.Checks)
	}
	r = explained(t, cfg, issuer.Token(t, claims{"aud": "ci"}))
	if !r.Accepted || r.Complete || r.Certificate != nil || r.Checks[7].Outcome != explain.Skipped {
		t.Errorf("ci-provider: accepted %t, complete %t, %+v, want the identity skipped", r.Accepted, r.Complete, r.Checks)
	}
}

// TestPublishedBacked: whom an authority's operator backs is not asked, for its own
// keys say nothing; the rest is explained.
func TestPublishedBacked(t *testing.T) {
	issuer, cfg := setup(t)
	cfg.Published, cfg.Backed = true, []string{issuer.URL}
	raw := identitytest.Sign(t, identitytest.NewKey(t, "operator"), issuer.Claims(good()))
	r := explained(t, cfg, raw)
	if !r.Accepted || r.Complete || !r.Unsigned() || !r.Issuer.LocallyBacked || r.Certificate == nil || issuer.Fetched() != 0 {
		t.Errorf("accepted %t, complete %t, issuer %+v, %+v, want keys and signature skipped", r.Accepted, r.Complete, r.Issuer, r.Checks)
	}
	cfg.Backed = nil
	if c, err := explained(t, cfg, raw).Failed(); err != nil || c.Name != cause.Signature {
		t.Errorf("without the mark: failed %v, %v, want the signature", c.Name, err)
	}
}

func FuzzPublishedIssuers(f *testing.F) {
	f.Add([]byte(`{"issuers":[{"issuerUrl":"https://a.example","audience":"x","issuerType":"email"}]}`))
	f.Add([]byte(`{"issuers":[{"wildcardIssuerUrl":"https://*.example","audience":"x","issuerType":"ci-provider"}]}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		issuers, err := explain.PublishedIssuers(body, http.DefaultClient)
		if err != nil {
			return
		}
		for _, i := range issuers {
			if err := i.Check(); err != nil {
				t.Errorf("%s gives an issuer that is none: %v", body, err)
			}
		}
	})
}

// TestFixedKeys: an issuer with a key set of its own is asked for nothing, so that
// offline its signatures are checked all the same.
func TestFixedKeys(t *testing.T) {
	issuer, cfg := setup(t)
	resp, err := issuer.Server.Client().Get(issuer.URL + "/keys")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if cfg.Issuers[0].Keys, err = io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	cfg.Offline = true
	before := issuer.Fetched()
	r := explained(t, cfg, issuer.Token(t, good()))
	if !r.Accepted || !r.Complete || !r.Issuer.LocallyBacked || issuer.Fetched() != before {
		t.Errorf("accepted %t, complete %t, issuer %+v, want all checked without asking", r.Accepted, r.Complete, r.Issuer)
	}
	forged := identitytest.Sign(t, identitytest.NewKey(t, "key-1"), issuer.Claims(good()))
	if c, err := explained(t, cfg, forged).Failed(); err != nil || c.Name != cause.Signature {
		t.Errorf("forged: failed %v, %v, want the signature", c.Name, err)
	}
}
