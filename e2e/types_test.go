package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigstack/e2e/e2etest"
	"sigstack/e2e/testissuer"
	"sigstack/internal/config"
)

// issuerType is a kind of identity: how it is configured, what its tokens say
// beside what every token says, and the name that certificates have for it.
type issuerType struct {
	config   config.Issuer
	claims   testissuer.Claims
	identity string // § is the issuer's URL
}

func issuerTypes() []issuerType {
	gitlab := testissuer.Claims{
		"sub": "project_path:acme/app:ref_type:branch:ref:main", "project_path": "acme/app", "project_id": "22", "namespace_path": "acme",
		"namespace_id": "72", "pipeline_source": "push", "pipeline_id": "574", "job_id": "302", "ref": "main", "ref_type": "branch", "sha": "2222",
		"ci_config_ref_uri": "gitlab.com/acme/app//.gitlab-ci.yml@refs/heads/main", "runner_id": 1, "runner_environment": "gitlab-hosted",
	}
	github := testissuer.Claims{
		"sub": "repo:acme/app:ref:refs/heads/main", "event_name": "push", "sha": "1111", "workflow": "Release", "repository": "acme/app",
		"ref": "refs/heads/main", "job_workflow_ref": "acme/app/.github/workflows/b.yml@refs/heads/main", "job_workflow_sha": "2222",
		"workflow_ref": "acme/app/.github/workflows/b.yml@refs/heads/main", "workflow_sha": "3333", "runner_environment": "github-hosted",
		"repository_id": "74", "repository_owner": "acme", "repository_owner_id": "65", "run_id": "987", "run_attempt": "2",
		"repository_visibility": "private",
	}
	codefresh := testissuer.Claims{
		"sub": "account:628a:pipeline:65e5", "account_id": "628a", "account_name": "acme", "pipeline_id": "65e5", "pipeline_name": "test/get",
		"workflow_id": "65e6",
	}
	pod := map[string]any{"namespace": "prod", "serviceaccount": map[string]any{"name": "build"}}
	return []issuerType{
		{config.Issuer{Type: "email"}, testissuer.Claims{"email": "alice@example.com", "email_verified": true}, "alice@example.com"},
		{config.Issuer{Type: "uri", SubjectDomain: "http://127.0.0.1"}, testissuer.Claims{"sub": "http://127.0.0.1/users/1"}, "http://127.0.0.1/users/1"},
		{config.Issuer{Type: "username", SubjectDomain: "127.0.0.1"}, testissuer.Claims{"sub": "foo"}, "foo!127.0.0.1"},
		{config.Issuer{Type: "spiffe", SPIFFETrustDomain: "example.org"}, testissuer.Claims{"sub": "spiffe://example.org/build"}, "spiffe://example.org/build"},
		{
			config.Issuer{Type: "kubernetes"},
			testissuer.Claims{"sub": "system:serviceaccount:prod:build", "kubernetes.io": pod},
			"https://kubernetes.io/namespaces/prod/serviceaccounts/build",
		},
		{config.Issuer{Type: "github-workflow"}, github, "https://github.com/acme/app/.github/workflows/b.yml@refs/heads/main"},
		{config.Issuer{Type: "gitlab-pipeline"}, gitlab, "https://gitlab.com/acme/app//.gitlab-ci.yml@refs/heads/main"},
		{
			config.Issuer{Type: "buildkite-job"},
			testissuer.Claims{"sub": "organization:acme:pipeline:app", "organization_slug": "acme", "pipeline_slug": "app"},
			"https://buildkite.com/acme/app",
		},
		{config.Issuer{Type: "codefresh-workflow"}, codefresh, "https://g.codefresh.io/acme/test/get:628a/65e5"},
		{config.Issuer{Type: "chainguard-identity"}, testissuer.Claims{"sub": "be0b18eb/52c9c43f"}, "§/be0b18eb/52c9c43f"},
		{
			config.Issuer{Type: "ci-provider", CIProvider: "forge"},
			testissuer.Claims{"sub": "job-1", "repository": "acme/app", "build": 1000000},
			"https://forge.example.com/acme/app/1000000",
		},
	}
}

// TestIdentities signs as every type of issuer has it, with cosign, and cosign and
// sigstack agree that this identity signed, and no other.
func TestIdentities(t *testing.T) {
	types := issuerTypes()
	dir := filepath.Join(t.TempDir(), "data")
	first := e2etest.Start(t, dir)
	first.Stop()
	var issuers []*testissuer.Issuer
	var trusted []config.Issuer
	for _, it := range types {
		issuer := testissuer.Start(t)
		it.config.URL, it.config.ClientID = issuer.URL, testissuer.Audience
		issuers, trusted = append(issuers, issuer), append(trusted, it.config)
	}
	trust(t, filepath.Join(first.ServiceDir("ca"), "config.yaml"), trusted)
	s := e2etest.Start(t, dir)
	for i, it := range types {
		t.Run(it.config.Type, func(t *testing.T) {
			claims := issuers[i].Claims("")
			delete(claims, "email")
			delete(claims, "email_verified")
			for name, value := range it.claims {
				claims[name] = value
			}
			name := strings.ReplaceAll(it.identity, "§", issuers[i].URL)
			signAs(t, s, issuers[i].Mint(t, claims), name, issuers[i].URL)
		})
	}
}

// trust adds issuers, and a CI system called forge, to a configuration.
func trust(t *testing.T, path string, issuers []config.Issuer) {
	t.Helper()
	conf, err := config.Parse([]byte(e2etest.ReadFile(t, path)))
	if err != nil {
		t.Fatal(err)
	}
	conf.CA.Issuers = append(conf.CA.Issuers, issuers...)
	conf.CA.CIProviders = map[string]config.CIProvider{"forge": {
		DefaultTemplateValues:          map[string]string{"url": "https://forge.example.com"},
		ExtensionTemplates:             map[string]string{"source-repository-uri": "{{.url}}/{{.repository}}"},
		SubjectAlternativeNameTemplate: "{{.url}}/{{.repository}}/{{.build}}",
	}}
	text, err := conf.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// signAs signs a blob with a token and has it verified, as its identity and as
// another.
func signAs(t *testing.T, s *e2etest.Stack, token, name, issuer string) {
	t.Helper()
	dir := t.TempDir()
	blob, bundle := e2etest.WriteFile(t, dir, "blob", "hello\n"), filepath.Join(dir, "bundle.json")
	e2etest.MustRun(t, []string{"SIGSTORE_ID_TOKEN=" + token}, e2etest.Client(t, "cosign-v3"), "sign-blob", "--yes",
		"--signing-config", s.Kit("signing_config.v0.2.json"), "--trusted-root", s.Kit("trusted_root.json"), "--bundle", bundle, blob)
	good := []string{"--certificate-identity", name, "--certificate-oidc-issuer", issuer}
	e2etest.WantAccepted(t, "cosign", s.VerifyWithCosign(t, blob, bundle, good...))
	e2etest.WantAccepted(t, "sigstack", s.Verify(t, blob, bundle, good...))
	for _, other := range [][]string{
		{"--certificate-identity", name + "x", "--certificate-oidc-issuer", issuer},
		{"--certificate-identity", name, "--certificate-oidc-issuer", issuer + "/"},
	} {
		for _, r := range []e2etest.Result{s.VerifyWithCosign(t, blob, bundle, other...), s.Verify(t, blob, bundle, other...)} {
			if r.Code == 0 {
				t.Errorf("accepted as %q, though it was signed as %q by %q", other, name, issuer)
			}
		}
	}
}
