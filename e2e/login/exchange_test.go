package login

import (
	"strings"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
	"sigstack/e2e/testissuer"
	"sigstack/internal/config"
)

// A CI system's job has a token for ciAudience, and an address of its own.
const (
	ciAudience = "sigstack.corp.example"
	ciJob      = "release-job@ci.corp.example"
)

// startWithCI is a stack that trades a CI system's tokens for its own.
func startWithCI(t *testing.T, ci *testissuer.Issuer) *e2etest.Stack {
	t.Helper()
	return configure(t, func(_ *e2etest.Stack, c *config.Config) {
		c.OIDC.Connectors = []config.Connector{{
			Type: "oidc", ID: "ci", Name: "CI",
			// A job has no name of a person.
			Config:        map[string]any{"issuer": ci.URL, "clientID": ciAudience, "userNameKey": "sub"},
			TokenExchange: &config.TokenExchange{Only: true},
		}}
	})
}

// jobClaims are those of a job's token.
func jobClaims(ci *testissuer.Issuer) testissuer.Claims {
	claims := ci.Claims(ciJob)
	claims["aud"] = ciAudience
	return claims
}

// exchange trades a token, as a job does: by a file.
func exchange(t *testing.T, s *e2etest.Stack, connector, token string) e2etest.Result {
	t.Helper()
	file := e2etest.WriteFile(t, t.TempDir(), "token", token+"\n")
	return e2etest.Run(t, nil, e2etest.Sigstack(t), "token", "--issuer", s.Issuer(), "--exchange", file, "--connector", connector)
}

// A job signs with the token that its CI system gave it, and verifiers need to
// know the stack's issuer alone. A token that differs in one fact is refused.
func TestExchange(t *testing.T) {
	t.Parallel()
	ci, other := testissuer.Start(t), testissuer.Start(t)
	s := startWithCI(t, ci)
	got := exchange(t, s, "ci", ci.Mint(t, jobClaims(ci)))
	if got.Code != 0 {
		t.Fatalf("exchange: exit %d\n%s", got.Code, got.Stderr)
	}
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			g := c.withToken(t, s, strings.TrimSpace(got.Stdout))
			g.wantSigned(t, s, ciJob)
		})
	}
	with := func(name string, value any) string {
		claims := jobClaims(ci)
		claims[name] = value
		return ci.Mint(t, claims)
	}
	for _, tt := range []struct{ name, connector, token, want string }{
		{"for another audience", "ci", with("aud", "registry.corp.example"), "another audience"},
		{"for our client, not for the exchange", "ci", with("aud", testissuer.Audience), "another audience"},
		{"expired", "ci", with("exp", time.Now().Add(-time.Minute).Unix()), "access_denied"},
		{"not valid yet", "ci", with("nbf", time.Now().Add(time.Hour).Unix()), "access_denied"},
		{"of another issuer", "ci", other.Mint(t, jobClaims(other)), "access_denied"},
		{"in the issuer's name", "ci", with("iss", other.URL), "access_denied"},
		{"with an unpublished key", "ci", ci.MintUnpublished(t, jobClaims(ci)), "access_denied"},
		{"not a token", "ci", "token", ""},
		{"of people", "local", ci.Mint(t, jobClaims(ci)), "connector"},
		{"for a connector that is not there", "cd", ci.Mint(t, jobClaims(ci)), "connector"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := exchange(t, s, tt.connector, tt.token)
			if got.Code == 0 || strings.TrimSpace(got.Stdout) != "" || !strings.Contains(got.Stderr, tt.want) {
				t.Errorf("exit %d, %q, %s; want a failure that says %q, and no token", got.Code, got.Stdout, got.Stderr, tt.want)
			}
			if strings.Contains(got.Stderr, tt.token) && len(tt.token) > 20 {
				t.Errorf("the error shows the token: %s", got.Stderr)
			}
		})
	}
	t.Run("with an unverified address", func(t *testing.T) {
		// It is exchanged, but the new token says so too, and the CA refuses it.
		got := exchange(t, s, "ci", with("email_verified", false))
		if got.Code != 0 {
			t.Fatalf("exchange: exit %d\n%s", got.Code, got.Stderr)
		}
		for _, c := range clients {
			c.withToken(t, s, strings.TrimSpace(got.Stdout)).wantFailed(t, "not verified|email_verified")
		}
	})
}
