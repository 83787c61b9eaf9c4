package ca

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"testing"

	"sigstack/services/ca/identity"
	"sigstack/services/ca/issuerfile"
)

// told is what the configuration endpoint answers.
func (f *fixture) told(t *testing.T) []map[string]any {
	t.Helper()
	rec := httptest.NewRecorder()
	f.mux.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/v2/configuration", nil))
	var answer struct {
		Issuers []map[string]any `json:"issuers"`
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &answer); err != nil || rec.Code != http.StatusOK {
		t.Fatalf("status %d, %v: %s", rec.Code, err, rec.Body)
	}
	return answer.Issuers
}

// entry is an issuer as the endpoint shows it; unset scalars are there too
// (contract: ca.md §1).
func entry(arm, url, audience, challenge, kind string, changes map[string]any) map[string]any {
	e := map[string]any{
		arm: url, "audience": audience, "challengeClaim": challenge, "issuerType": kind,
		"spiffeTrustDomain": "", "subjectDomain": "", "skipEmailVerification": false,
	}
	for k, v := range changes {
		e[k] = v
	}
	return e
}

// TestConfigurationFromFile: upstream's file in both forms, as clients are told of it.
func TestConfigurationFromFile(t *testing.T) {
	const url, pattern = "issuerUrl", "wildcardIssuerUrl"
	want := []map[string]any{
		entry(url, "https://accounts.corp.example", "sigstore", "email", "email", nil),
		entry(url, "https://login.corp.example/dex", "sigstore", "email", "email", map[string]any{"skipEmailVerification": true}),
		entry(url, "https://ci.corp.example", "sigstore", "sub", "ci-provider", nil),
		entry(url, "https://rounds.corp.example", "sigstore", "sub", "ci-provider", nil),
		entry(url, "https://old-ci.corp.example", "other", "sub", "gitlab-pipeline", nil),
		entry(url, "https://spiffe.corp.example", "sigstore", "sub", "spiffe", map[string]any{"spiffeTrustDomain": "corp.example"}),
		entry(url, "https://sites.corp.example", "sigstore", "sub", "uri", map[string]any{"subjectDomain": "https://www.corp.example"}),
		entry(url, "https://names.corp.example", "sigstore", "sub", "username", map[string]any{"subjectDomain": "corp.example"}),
		entry(url, "https://kubernetes.default.svc", "sigstore", "sub", "kubernetes", nil),
		entry(pattern, "https://oidc.eks.*.amazonaws.com/id/*", "sigstore", "sub", "kubernetes", nil),
		entry(pattern, "https://ci.corp.example/*", "sigstore", "sub", "ci-provider", nil),
	}
	for _, name := range []string{"issuers.yaml", "issuers.json"} {
		data, err := os.ReadFile("issuerfile/testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		issuers, err := issuerfile.Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		got := newFixture(t, func(f *fixture) { f.cfg.Issuers = issuers }).told(t)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got\n%v, want\n%v", name, got, want)
		}
	}
}

// TestConfigurationTellsNoBacking: the endpoint's fields are upstream's alone, and an
// advertised challenge stands in place of the type's.
func TestConfigurationTellsNoBacking(t *testing.T) {
	got := newFixture(t, func(f *fixture) {
		f.cfg.Issuers = []identity.Issuer{{
			URL: "https://token.actions.githubusercontent.com", ClientID: "sigstore", Type: identity.GitHubWorkflow,
			DiscoveryURL: "https://git.corp.example", AdvertisedChallenge: "email",
		}}
	}).told(t)
	want := []map[string]any{entry("issuerUrl", "https://token.actions.githubusercontent.com", "sigstore", "email", "github-workflow", nil)}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
