package identity_test

import (
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"sigstack/internal/fault"
	"sigstack/services/ca/identity"
)

func parse(t *testing.T, members map[string]any) identity.Claims {
	t.Helper()
	payload, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	c, err := identity.ParseClaims(payload)
	if err != nil {
		t.Fatalf("ParseClaims(%s): %v", payload, err)
	}
	return c
}

func with(base, changes map[string]any) map[string]any {
	all := maps.Clone(base)
	maps.Copy(all, changes)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	return all
}

// mapping is a case that differs from a good one by one fact.
type mapping struct {
	name    string
	issuer  func(*identity.Issuer)
	changes map[string]any
	want    string // the name's value, or part of the public sentence if refused
	refused bool
}

func checkMappings(t *testing.T, issuer identity.Issuer, base map[string]any, kind identity.NameKind, tests []mapping) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			i := issuer
			if tt.issuer != nil {
				tt.issuer(&i)
			}
			who, err := i.Principal(parse(t, with(base, tt.changes)))
			if tt.refused {
				if fault.KindOf(err) != fault.Invalid || !strings.Contains(fault.Public(err), tt.want) {
					t.Errorf("error = %v, want an invalid one with %q", err, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if who.Name != (identity.Name{Kind: kind, Value: tt.want}) {
				t.Errorf("name = %+v, want kind %d %q", who.Name, kind, tt.want)
			}
		})
	}
}

func TestEmail(t *testing.T) {
	issuer := identity.Issuer{URL: "https://issuer.example", ClientID: "sigstore", Type: identity.Email}
	base := map[string]any{"iss": issuer.URL, "sub": "CgVhbGljZQ", "email": "alice@example.com", "email_verified": true}
	skip := func(i *identity.Issuer) { i.SkipEmailVerification = true }
	const alice = "alice@example.com"
	checkMappings(t, issuer, base, identity.RFC822Name, []mapping{
		{name: "verified", want: alice},
		{name: "verified as a string", changes: map[string]any{"email_verified": "true"}, want: alice},
		{name: "verified as Python's string", changes: map[string]any{"email_verified": "True"}, want: alice},
		{name: "verification skipped", issuer: skip, changes: map[string]any{"email_verified": false}, want: alice},
		{name: "verification skipped and absent", issuer: skip, changes: map[string]any{"email_verified": nil}, want: alice},
		{name: "local domain", changes: map[string]any{"email": "demo@sigstack.local"}, want: "demo@sigstack.local"},
		{name: "plus", changes: map[string]any{"email": "a.b+c@x.org"}, want: "a.b+c@x.org"},
		{name: "unverified", changes: map[string]any{"email_verified": false}, want: "not verified", refused: true},
		{name: "verified absent", changes: map[string]any{"email_verified": nil}, want: "not verified", refused: true},
		{name: "verified in capitals", changes: map[string]any{"email_verified": "TRUE"}, want: "not verified", refused: true},
		{name: "verified as a number", changes: map[string]any{"email_verified": 1}, want: "not verified", refused: true},
		{name: "no email", changes: map[string]any{"email": nil}, want: "claim email is missing", refused: true},
		{name: "null email", changes: map[string]any{"email": json.RawMessage("null")}, want: "claim email is missing", refused: true},
		{name: "email by another case", changes: map[string]any{"email": nil, "Email": alice}, want: "claim email is missing", refused: true},
		{name: "email not a string", changes: map[string]any{"email": []string{alice}}, want: "claim email is not a string", refused: true},
		{name: "non-ASCII local part", changes: map[string]any{"email": "älice@example.com"}, want: "not a plain ASCII", refused: true},
		{name: "non-ASCII domain", changes: map[string]any{"email": "alice@exämple.com"}, want: "not a plain ASCII", refused: true},
		{name: "display name", changes: map[string]any{"email": "Alice <alice@example.com>"}, want: "not a plain ASCII", refused: true},
		{name: "bracketed", changes: map[string]any{"email": "<alice@example.com>"}, want: "not a plain ASCII", refused: true},
		{name: "two addresses", changes: map[string]any{"email": "alice@example.com,bob@example.com"}, want: "not a plain ASCII", refused: true},
		{name: "no domain", changes: map[string]any{"email": "alice"}, want: "not a plain ASCII", refused: true},
		{name: "line break", changes: map[string]any{"email": "alice@example.com\n"}, want: "claim email has control characters", refused: true},
		{name: "address literal", changes: map[string]any{"email": "alice@[127.0.0.1]"}, want: "not a plain ASCII", refused: true},
		{name: "too long", changes: map[string]any{"email": strings.Repeat("a", 250) + "@x.de"}, want: "not a plain ASCII", refused: true},
	})
}

func TestURI(t *testing.T) {
	issuer := identity.Issuer{URL: "https://issuer.example.com", ClientID: "sigstore", Type: identity.URI, SubjectDomain: "https://example.com"}
	base := map[string]any{"iss": issuer.URL, "sub": "https://example.com/users/1"}
	checkMappings(t, issuer, base, identity.URIName, []mapping{
		{name: "in the domain", want: "https://example.com/users/1"},
		{name: "bare host", changes: map[string]any{"sub": "https://example.com"}, want: "https://example.com"},
		{name: "other scheme", changes: map[string]any{"sub": "http://example.com/users/1"}, want: "not in the issuer's subject domain", refused: true},
		{name: "other host", changes: map[string]any{"sub": "https://example.org/users/1"}, want: "not in the issuer's subject domain", refused: true},
		{name: "host below", changes: map[string]any{"sub": "https://a.example.com/users/1"}, want: "not in the issuer's subject domain", refused: true},
		{name: "host as user", changes: map[string]any{"sub": "https://example.com@evil.org/"}, want: "not in the issuer's subject domain", refused: true},
		{name: "with user", changes: map[string]any{"sub": "https://root@example.com/"}, want: "not a plain ASCII URL", refused: true},
		{name: "email", changes: map[string]any{"sub": "alice@example.com"}, want: "email address", refused: true},
		{name: "no URL", changes: map[string]any{"sub": "https://example.com/%zz"}, want: "not a URL", refused: true},
		{name: "non-ASCII", changes: map[string]any{"sub": "https://example.com/ä"}, want: "not a plain ASCII URL", refused: true},
	})
}

// githubRun is a token's claims as GitHub documents them.
func githubRun() map[string]any {
	return map[string]any{
		"iss": "https://token.actions.githubusercontent.com",
		"sub": "repo:octo-org/octo-repo:environment:prod",

		"event_name": "push", "sha": "1111", "workflow": "Release", "repository": "octo-org/octo-repo",
		"ref": "refs/heads/main", "job_workflow_ref": "octo-org/shared/.github/workflows/build.yml@refs/tags/v1",
		"job_workflow_sha": "2222", "workflow_ref": "octo-org/octo-repo/.github/workflows/release.yml@refs/heads/main",
		"workflow_sha": "3333", "runner_environment": "github-hosted", "repository_id": "74",
		"repository_owner": "octo-org", "repository_owner_id": "65", "run_id": "987", "run_attempt": "2",
		"repository_visibility": "public", "environment": "prod",
	}
}

func TestGitHubWorkflow(t *testing.T) {
	issuer := identity.Issuer{URL: "https://token.actions.githubusercontent.com", ClientID: "sigstore", Type: identity.GitHubWorkflow}
	tests := []mapping{
		{name: "whole", want: "https://github.com/octo-org/shared/.github/workflows/build.yml@refs/tags/v1"},
		{name: "no environment", changes: map[string]any{"environment": nil}, want: "https://github.com/octo-org/shared/.github/workflows/build.yml@refs/tags/v1"},
		{
			name: "odd branch", changes: map[string]any{"job_workflow_ref": "o/r/.github/workflows/b.yml@refs/heads/100%#1"},
			want: "https://github.com/o/r/.github/workflows/b.yml@refs/heads/100%25%231",
		},
		{
			name: "path that climbs", changes: map[string]any{"job_workflow_ref": "octo-org/../evil/b.yml@refs/heads/main"},
			want: "claim job_workflow_ref is not a clean path", refused: true,
		},
		{name: "oversize claim", changes: map[string]any{"workflow": strings.Repeat("x", 4097)}, want: "claim workflow is over", refused: true},
	}
	for name := range githubRun() {
		if name == "iss" || name == "sub" || name == "environment" {
			continue
		}
		tests = append(tests, mapping{name: "no " + name, changes: map[string]any{name: nil}, want: "claim " + name + " is missing", refused: true})
	}
	checkMappings(t, issuer, githubRun(), identity.URIName, tests)
}

// TestExtensions holds every byte of the extensions (contract: ca.md §6).
func TestExtensions(t *testing.T) {
	issuer := identity.Issuer{Type: identity.GitHubWorkflow}
	who, err := issuer.Principal(parse(t, githubRun()))
	if err != nil {
		t.Fatal(err)
	}
	exts, err := who.Extensions()
	if err != nil {
		t.Fatal(err)
	}
	const r = "1.3.6.1.4.1.57264.1."
	utf8 := func(s string) string { return hex.EncodeToString(append([]byte{0x0c, byte(len(s))}, s...)) }
	raw := func(s string) string { return hex.EncodeToString([]byte(s)) }
	const san = "https://github.com/octo-org/shared/.github/workflows/build.yml@refs/tags/v1"
	want := []string{
		"2.5.29.17 " + hex.EncodeToString(append([]byte{0x30, byte(len(san) + 2), 0x86, byte(len(san))}, san...)),
		r + "1 " + raw("https://token.actions.githubusercontent.com"),
		r + "2 70757368",
		r + "3 " + raw("1111"),
		r + "4 " + raw("Release"),
		r + "5 " + raw("octo-org/octo-repo"),
		r + "6 " + raw("refs/heads/main"),
		r + "8 " + utf8("https://token.actions.githubusercontent.com"),
		r + "9 " + utf8(san),
		r + "10 " + utf8("2222"),
		r + "11 " + utf8("github-hosted"),
		r + "12 " + utf8("https://github.com/octo-org/octo-repo"),
		r + "13 " + utf8("1111"),
		r + "14 " + utf8("refs/heads/main"),
		r + "15 " + utf8("74"),
		r + "16 " + utf8("https://github.com/octo-org"),
		r + "17 " + utf8("65"),
		r + "18 " + utf8("https://github.com/octo-org/octo-repo/.github/workflows/release.yml@refs/heads/main"),
		r + "19 " + utf8("3333"),
		r + "20 0c0470757368",
		r + "21 " + utf8("https://github.com/octo-org/octo-repo/actions/runs/987/attempts/2"),
		r + "22 " + utf8("public"),
		r + "24 " + utf8("repo:octo-org/octo-repo:environment:prod"),
	}
	var got []string
	for i, e := range exts {
		if e.Critical != (i == 0) {
			t.Errorf("%s critical = %v", e.Id, e.Critical)
		}
		got = append(got, e.Id.String()+" "+hex.EncodeToString(e.Value))
	}
	if !slices.Equal(got, want) {
		t.Errorf("extensions are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestChallenges(t *testing.T) {
	uri := identity.Issuer{Type: identity.URI, SubjectDomain: "https://example.com"}
	sub := "https://example.com/1"
	chainguard := identity.Issuer{Type: identity.ChainguardIdentity}
	tests := []struct {
		name   string
		issuer identity.Issuer
		claims map[string]any
		want   []string
	}{
		{"email", identity.Issuer{Type: identity.Email}, map[string]any{"email": "a@b.c", "email_verified": true}, []string{"a@b.c"}},
		{"subject", uri, nil, []string{sub}},
		{"subject and verified email", uri, map[string]any{"email": "a@b.c", "email_verified": true}, []string{sub, "a@b.c"}},
		{"chainguard, subject", chainguard, map[string]any{"sub": "a/b"}, []string{"a/b"}},
		{"chainguard, verified email", chainguard, map[string]any{"sub": "a/b", "email": "a@b.c", "email_verified": true}, []string{"a@b.c"}},
		{"chainguard, unverified email", chainguard, map[string]any{"sub": "a/b", "email": "a@b.c"}, []string{"a/b"}},
		{"unverified email", uri, map[string]any{"email": "a@b.c", "email_verified": false}, []string{sub}},
		{"verified but odd email", uri, map[string]any{"email": "a", "email_verified": true}, []string{sub}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			who, err := tt.issuer.Principal(parse(t, with(map[string]any{"iss": "https://issuer.example", "sub": sub}, tt.claims)))
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(who.Challenges, tt.want) {
				t.Errorf("challenges = %q, want %q", who.Challenges, tt.want)
			}
		})
	}
}
