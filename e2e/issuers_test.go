package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigstack/e2e/e2etest"
	"sigstack/e2e/testissuer"
	"sigstack/internal/config"
)

// workload is an identity of a type that people do not have.
type workload struct {
	issuer config.Issuer
	claims testissuer.Claims
	name   string   // in the certificate
	flags  []string // what cosign can demand besides
}

// The issuers whose URLs are the providers' own: their keys are a file, as behind
// an air gap, and nothing is asked of them.
func workloads() []workload {
	const commit = "0123456789abcdef0123456789abcdef01234567"
	github := testissuer.Claims{
		"sub": "repo:octo/app:ref:refs/heads/main", "event_name": "push", "sha": commit, "workflow": "CI", "repository": "octo/app",
		"ref": "refs/heads/main", "job_workflow_ref": "octo/app/.github/workflows/ci.yml@refs/heads/main", "job_workflow_sha": commit,
		"workflow_ref": "octo/app/.github/workflows/ci.yml@refs/heads/main", "workflow_sha": commit, "runner_environment": "self-hosted",
		"repository_id": "1", "repository_owner": "octo", "repository_owner_id": "2", "run_id": "3", "run_attempt": "1", "repository_visibility": "private",
	}
	return []workload{
		{
			config.Issuer{URL: "https://token.actions.githubusercontent.com", Type: "github-workflow", Policy: []config.PolicyRule{
				{Name: "main-only", Expression: `claims.ref == "refs/heads/main"`, Message: "sign from main"},
			}},
			github, "https://github.com/octo/app/.github/workflows/ci.yml@refs/heads/main",
			[]string{
				"--certificate-github-workflow-trigger", "push", "--certificate-github-workflow-sha", commit,
				"--certificate-github-workflow-name", "CI", "--certificate-github-workflow-repository", "octo/app", "--certificate-github-workflow-ref", "refs/heads/main",
			},
		},
		{
			config.Issuer{URL: "https://gitlab.com", Type: "gitlab-pipeline"},
			testissuer.Claims{
				"sub": "project_path:corp/app:ref_type:branch:ref:main", "project_path": "corp/app", "project_id": "11", "namespace_path": "corp", "namespace_id": "12",
				"pipeline_id": "13", "pipeline_source": "push", "job_id": "14", "ref": "main", "ref_type": "branch", "runner_id": 15, "runner_environment": "self-hosted",
				"sha": commit, "ci_config_ref_uri": "gitlab.com/corp/app//.gitlab-ci.yml@refs/heads/main", "ci_config_sha": commit, "project_visibility": "private",
			},
			"https://gitlab.com/corp/app//.gitlab-ci.yml@refs/heads/main", nil,
		},
		{
			config.Issuer{URL: "https://agent.buildkite.com", Type: "buildkite-job"},
			testissuer.Claims{"sub": "organization:corp:pipeline:app", "organization_slug": "corp", "pipeline_slug": "app"},
			"https://buildkite.com/corp/app", nil,
		},
		{
			config.Issuer{URL: "https://oidc.codefresh.io", Type: "codefresh-workflow"},
			testissuer.Claims{
				"sub": "account:1:pipeline:2", "account_id": "1", "account_name": "corp", "pipeline_id": "2", "pipeline_name": "corp/app",
				"workflow_id": "3", "platform_url": "https://g.codefresh.io", "scm_repo_url": "https://git.example/app", "scm_ref": "main", "runner_environment": "hybrid",
			},
			"https://g.codefresh.io/corp/corp/app:1/2", nil,
		},
		{
			config.Issuer{URL: "https://kubernetes.default.svc", Type: "kubernetes"},
			testissuer.Claims{
				"sub":           "system:serviceaccount:build:signer",
				"kubernetes.io": map[string]any{"namespace": "build", "serviceaccount": map[string]any{"name": "signer", "uid": "4"}, "pod": map[string]any{"name": "p", "uid": "5"}},
			},
			"https://kubernetes.io/namespaces/build/serviceaccounts/signer", nil,
		},
		{
			config.Issuer{URL: "https://spire.corp.example", Type: "spiffe", SPIFFETrustDomain: "corp.example"},
			testissuer.Claims{"sub": "spiffe://corp.example/build/app"},
			"spiffe://corp.example/build/app", nil,
		},
		{
			config.Issuer{URL: "https://login.corp.example", Type: "uri", SubjectDomain: "https://login.corp.example"},
			testissuer.Claims{"sub": "https://login.corp.example/robots/7"},
			"https://login.corp.example/robots/7", nil,
		},
		{
			config.Issuer{URL: "https://names.corp.example", Type: "username", SubjectDomain: "corp.example"},
			testissuer.Claims{"sub": "robot"},
			"robot!corp.example", nil,
		},
		{
			config.Issuer{URL: "https://issuer.enforce.dev", Type: "chainguard-identity"},
			testissuer.Claims{"sub": "abc/def"},
			"https://issuer.enforce.dev/abc/def", nil,
		},
		{
			config.Issuer{URL: "https://ci.corp.example", Type: "ci-provider", CIProvider: "corp"},
			testissuer.Claims{"sub": "job-9", "job": 9, "project": "app"},
			"https://ci.corp.example/app/jobs/9", nil,
		},
	}
}

// corpCI is the meaning of an in-house CI system's tokens.
func corpCI() config.CIProvider {
	return config.CIProvider{
		DefaultTemplateValues:          map[string]string{"url": "https://ci.corp.example"},
		ExtensionTemplates:             map[string]string{"source-repository-uri": "{{ .url }}/{{ .project }}", "build-trigger": "project"},
		SubjectAlternativeNameTemplate: "{{ .url }}/{{ .project }}/jobs/{{ .job }}",
	}
}

// configureCA changes the CA's settings of a stack that is stopped.
func configureCA(t *testing.T, s *e2etest.Stack, change func(*config.CA)) {
	t.Helper()
	path := filepath.Join(s.ServiceDir("ca"), "config.yaml")
	conf, err := config.Parse([]byte(e2etest.ReadFile(t, path)))
	if err != nil {
		t.Fatal(err)
	}
	change(conf.CA)
	text, err := conf.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// workloadToken is what the provider would give to the workload.
func workloadToken(t *testing.T, keys *testissuer.Issuer, w workload, change testissuer.Claims) string {
	t.Helper()
	claims := keys.Claims("")
	delete(claims, "email")
	delete(claims, "email_verified")
	claims["iss"] = w.issuer.URL
	maps.Copy(claims, w.claims)
	maps.Copy(claims, change)
	return keys.Mint(t, claims)
}

// TestCosignSignsForWorkloads: cosign and sigstack sign with tokens of every type
// of issuer, and both tell by the name, the issuer and the job who signed.
func TestCosignSignsForWorkloads(t *testing.T) {
	keys := testissuer.Start(t)
	s := e2etest.Start(t, t.TempDir())
	s.Stop()
	status, set := e2etest.Get(t, keys.URL+"/keys")
	if status != http.StatusOK {
		t.Fatalf("keys of the issuer: %d", status)
	}
	e2etest.WriteFile(t, s.ServiceDir("ca"), "jwks.json", string(set))
	all := workloads()
	configureCA(t, s, func(ca *config.CA) {
		ca.CIProviders = map[string]config.CIProvider{"corp": corpCI()}
		for _, w := range all {
			w.issuer.ClientID, w.issuer.Keys = testissuer.Audience, "jwks.json"
			ca.Issuers = append(ca.Issuers, w.issuer)
		}
	})
	s = e2etest.Start(t, s.Dir)
	for i, w := range all {
		t.Run(w.issuer.Type, func(t *testing.T) {
			dir := t.TempDir()
			blob, bundle := e2etest.WriteFile(t, dir, "blob", fmt.Sprint("made by ", w.name)), filepath.Join(dir, "bundle.json")
			token := workloadToken(t, keys, w, nil)
			if i%2 == 0 {
				s.SignWithCosignAs(t, token, blob, bundle)
			} else {
				e2etest.MustRun(t, []string{"SIGSTORE_ID_TOKEN=" + token}, e2etest.Sigstack(t), "sign", "--client", s.Kit(""), "--bundle", bundle, blob)
			}
			who := []string{"--certificate-identity", w.name, "--certificate-oidc-issuer", w.issuer.URL}
			e2etest.WantAccepted(t, "cosign", s.VerifyWithCosign(t, blob, bundle, append(who, w.flags...)...))
			e2etest.WantAccepted(t, "sigstack", s.Verify(t, blob, bundle, who...))
			for _, other := range [][]string{
				{"--certificate-identity", w.name + "x", "--certificate-oidc-issuer", w.issuer.URL},
				{"--certificate-identity", w.name, "--certificate-oidc-issuer", w.issuer.URL + "/"},
			} {
				for _, r := range []e2etest.Result{s.VerifyWithCosign(t, blob, bundle, other...), s.Verify(t, blob, bundle, other...)} {
					if r.Code == 0 {
						t.Errorf("accepted as %q, though it was signed as %q by %q", other, w.name, w.issuer.URL)
					}
				}
			}
		})
	}
	t.Run("policy", func(t *testing.T) {
		token := workloadToken(t, keys, all[0], testissuer.Claims{"ref": "refs/heads/topic"})
		blob := e2etest.WriteFile(t, t.TempDir(), "blob", "made elsewhere")
		r := e2etest.Run(t, []string{"SIGSTORE_ID_TOKEN=" + token}, e2etest.Client(t, "cosign-v3"), "sign-blob", "--yes",
			"--signing-config", s.Kit("signing_config.v0.2.json"), "--trusted-root", s.Kit("trusted_root.json"), "--bundle", blob+".json", blob)
		if r.Code == 0 || !strings.Contains(r.Stderr, "main-only") || !strings.Contains(r.Stderr, "sign from main") {
			t.Errorf("cosign from another branch: exit %d, %s; want the rule and its message", r.Code, r.Stderr)
		}
	})
}

// TestFulciosIssuerFile: an issuer file of Fulcio's own is taken as it is.
func TestFulciosIssuerFile(t *testing.T) {
	issuer := testissuer.Start(t)
	s := e2etest.Start(t, t.TempDir())
	s.Stop()
	e2etest.WriteFile(t, s.ServiceDir("ca"), "fulcio.yaml", `
define:
  - &corp-defaults
    url: "https://ci.corp.example"
oidc-issuers:
  `+issuer.URL+`:
    issuer-url: `+issuer.URL+`
    client-id: sigstore
    type: ci-provider
    ci-provider: corp
    description: "the builds"
ci-issuer-metadata:
  corp:
    default-template-values: *corp-defaults
    extension-templates:
      source-repository-uri: "{{ .url }}/{{ .project }}"
    subject-alternative-name-template: "{{ .url }}/{{ .project }}/jobs/{{ .job }}"
`)
	configureCA(t, s, func(ca *config.CA) { ca.IssuersFile = "fulcio.yaml" })
	s = e2etest.Start(t, s.Dir)
	dir := t.TempDir()
	blob, bundle := e2etest.WriteFile(t, dir, "blob", "made by a build"), filepath.Join(dir, "bundle.json")
	build := workload{issuer: config.Issuer{URL: issuer.URL}, claims: testissuer.Claims{"sub": "job-10", "job": 10, "project": "app"}}
	s.SignWithCosignAs(t, workloadToken(t, issuer, build, nil), blob, bundle)
	e2etest.WantAccepted(t, "cosign", s.VerifyWithCosign(t, blob, bundle,
		"--certificate-identity", "https://ci.corp.example/app/jobs/10", "--certificate-oidc-issuer", issuer.URL))
}
