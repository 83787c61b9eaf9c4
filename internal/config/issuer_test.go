package config_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"sigstack/internal/config"
)

// withIssuers is a configuration whose issuers are those of text, and whose CI
// providers are "known".
func withIssuers(profile, text string) string {
	return fmt.Sprintf(`version: 1
profile: %s
url: http://localhost:8080
listen: 127.0.0.1:8080
ctlog: {key: ctlog, tree_id: 77}
ca:
  key: ca
  chain: keys/ca.chain.pem
  ci_providers:
    known: {subject_alternative_name_template: "{{ .url }}"}
  issuers:
%s`, profile, text)
}

func TestIssuerTypes(t *testing.T) {
	for _, settings := range []string{
		"type: email, issuer_claim: $.a.b, challenge_claim: email, skip_email_verification: true",
		"type: uri, subject_domain: https://corp.example",
		"type: username, subject_domain: corp.example",
		"type: spiffe, spiffe_trust_domain: corp.example",
		"type: kubernetes, service_account_token: /run/token, ca_cert: keys/k.pem",
		"type: github-workflow, keys: keys/github.json",
		"type: gitlab-pipeline, discovery_url: https://gitlab.corp.example/x, ca_cert: keys/k.pem",
		"type: buildkite-job, lifetime: 5m",
		"type: codefresh-workflow, policy: [{name: a, expression: 'true'}, {name: b, expression: 'true', message: no}]",
		"type: chainguard-identity",
		"type: ci-provider, ci_provider: known",
	} {
		if _, err := config.Parse([]byte(withIssuers("serve", "    - {url: https://ci.example, "+settings+"}\n"))); err != nil {
			t.Errorf("%s: %v", settings, err)
		}
	}
	for _, name := range config.IssuerTypes {
		_, err := config.Parse([]byte(withIssuers("serve", "    - {url: https://ci.example, type: "+name+"}\n")))
		if err != nil && strings.Contains(err.Error(), "want one of") {
			t.Errorf("type %s is not known: %v", name, err)
		}
	}
}

// TestIssuerRefusals: every problem has the path of its field, and its line.
func TestIssuerRefusals(t *testing.T) {
	tests := []struct {
		name, settings string
		want           []string // fields and parts of their messages
	}{
		{"type", "{url: https://a.example, type: emial}", []string{"ca.issuers[0].type: "}},
		{"URL", "{url: a.example, type: email}", []string{"ca.issuers[0].url: "}},
		{"uri without domain", "{url: https://a.example, type: uri}", []string{"ca.issuers[0].subject_domain: missing"}},
		{"username without domain", "{url: https://a.example, type: username}", []string{"ca.issuers[0].subject_domain: missing"}},
		{"domain of email", "{url: https://a.example, type: email, subject_domain: a.example}", []string{"ca.issuers[0].subject_domain: only type uri or username"}},
		{"spiffe without domain", "{url: https://a.example, type: spiffe}", []string{"ca.issuers[0].spiffe_trust_domain: missing"}},
		{"spiffe domain", "{url: https://a.example, type: spiffe, spiffe_trust_domain: 'spiffe://A'}", []string{"ca.issuers[0].spiffe_trust_domain: \"spiffe://A\" is not"}},
		{"spiffe pattern", "{url: 'https://*.example', type: spiffe, spiffe_trust_domain: a}", []string{"ca.issuers[0].url: an issuer of type spiffe is no pattern"}},
		{"issuer claim", "{url: https://a.example, type: uri, subject_domain: https://a.example, issuer_claim: $.a}", []string{"ca.issuers[0].issuer_claim: only type email"}},
		{"no provider", "{url: https://a.example, type: ci-provider}", []string{"ca.issuers[0].ci_provider: missing"}},
		{"unknown provider", "{url: https://a.example, type: ci-provider, ci_provider: other}", []string{"ca.issuers[0].ci_provider: there is no ca.ci_providers.other"}},
		{"token of email", "{url: https://a.example, type: email, service_account_token: t}", []string{"ca.issuers[0].service_account_token: only type kubernetes"}},
		{"token to a pattern", "{url: 'https://*.example', type: kubernetes, service_account_token: t}", []string{"ca.issuers[0].service_account_token: is never shown"}},
		{"lifetime", "{url: https://a.example, type: email, lifetime: 11m}", []string{"ca.issuers[0].lifetime: "}},
		{"short lifetime", "{url: https://a.example, type: email, lifetime: 59s}", []string{"ca.issuers[0].lifetime: "}},
		{
			"policy", "{url: https://a.example, type: email, policy: [{name: a}, {name: a, expression: 'true'}, {expression: 'true'}]}",
			[]string{"ca.issuers[0].policy[0].expression: missing", "ca.issuers[0].policy[1].name: \"a\" is taken", "ca.issuers[0].policy[2].name: missing"},
		},
		{
			"keys and more", "{url: https://a.example, type: email, keys: k, discovery_url: https://b.example, ca_cert: c}",
			[]string{"ca.issuers[0].discovery_url: leave it out", "ca.issuers[0].ca_cert: leave it out"},
		},
		{"keys of a pattern", "{url: 'https://*.example', type: email, keys: k}", []string{"ca.issuers[0].keys: a pattern"}},
		{"discovery of a pattern", "{url: 'https://*.example', type: email, discovery_url: https://b.example}", []string{"ca.issuers[0].discovery_url: a pattern"}},
		{"plain discovery", "{url: https://a.example, type: email, discovery_url: http://b.example}", []string{"ca.issuers[0].discovery_url: \"http://b.example\" is plain http"}},
		{"keys outside", "{url: https://a.example, type: email, keys: ../k}", []string{"ca.issuers[0].keys: \"../k\" leads out"}},
		{
			"twice", "{url: https://a.example, type: email}\n    - {url: https://a.example, type: github-workflow, client_id: sigstore}",
			[]string{"line 13: ca.issuers[1].url: https://a.example is listed twice"},
		},
		{
			"two key sets", "{url: https://a.example, type: email, keys: k}\n    - {url: https://a.example, type: github-workflow, client_id: ci}",
			[]string{"line 13: ca.issuers[1]: https://a.example is listed before with another"},
		},
		{"unknown setting", "{url: https://a.example, type: email, jwks: k}", []string{"ca.issuers[0].jwks: not known"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := config.Parse([]byte(withIssuers("serve", "    - "+tt.settings+"\n")))
			for _, want := range tt.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error = %v, want one with %q", err, want)
				}
			}
			if err != nil && strings.Count(err.Error(), "line ") != len(tt.want) {
				t.Errorf("error = %v, want %d problems with their lines", err, len(tt.want))
			}
		})
	}
}

// TestAudiences: one URL, told apart by audience.
func TestAudiences(t *testing.T) {
	c, err := config.Parse([]byte(withIssuers("serve",
		"    - {url: https://a.example, type: email}\n    - {url: https://a.example, type: github-workflow, client_id: ci}\n")))
	if err != nil || len(c.CA.Issuers) != 2 {
		t.Errorf("got %v and %v, want two issuers", c, err)
	}
}

// TestLocallyBacked: each is a warning, in both profiles.
func TestLocallyBacked(t *testing.T) {
	for _, profile := range []string{"serve", "up"} {
		f := config.Read("", []byte(withIssuers(profile, "    - {url: https://a.example, type: email, keys: keys/a.json}\n"+
			"    - {url: https://b.example, type: email, discovery_url: https://c.example}\n    - {url: https://d.example, type: email}\n")))
		var marked []string
		for _, p := range f.Problems {
			if p.Warning && strings.HasPrefix(p.Message, "locally backed") {
				marked = append(marked, p.Field)
			}
		}
		if want := []string{"ca.issuers[0].keys", "ca.issuers[1].discovery_url"}; !slices.Equal(marked, want) || f.Err() != nil {
			t.Errorf("profile %s: marked %q (%v), want %q", profile, marked, f.Err(), want)
		}
	}
}

func TestIssuersFileAlone(t *testing.T) {
	text := strings.Replace(withIssuers("serve", ""), "  issuers:\n", "  issuers_file: issuers.yaml\n", 1)
	if _, err := config.Parse([]byte(text)); err != nil {
		t.Error(err)
	}
	if _, err := config.Parse([]byte(strings.Replace(text, "  issuers_file: issuers.yaml\n", "", 1))); err == nil || !strings.Contains(err.Error(), "ca.issuers: none") {
		t.Errorf("error = %v, want one of no issuers", err)
	}
	if _, err := config.Parse([]byte(strings.Replace(text, "{subject_alternative_name_template: \"{{ .url }}\"}", "{}", 1))); err == nil ||
		!strings.Contains(err.Error(), "ca.ci_providers.known.subject_alternative_name_template: missing") {
		t.Errorf("error = %v, want one of a provider without a name", err)
	}
}

// TestEmptyIssuer: a dash with nothing behind it is told at its line, and moves no
// other's number.
func TestEmptyIssuer(t *testing.T) {
	text := withIssuers("serve", "    - {url: https://a.example, type: email}\n    -\n    - {url: https://b.example, type: emial}\n")
	f := config.Read("", []byte(text))
	line := 1 + strings.Count(text[:strings.Index(text, "    -\n")], "\n")
	got := map[string]int{}
	for _, p := range f.Problems {
		if !p.Warning {
			got[p.Field] = p.Line
		}
	}
	if want := map[string]int{"ca.issuers[1]": line, "ca.issuers[2].type": line + 1}; !maps.Equal(got, want) {
		t.Errorf("problems at %v, want %v: %v", got, want, f.Problems)
	}
}
