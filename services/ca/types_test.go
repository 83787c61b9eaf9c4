package ca

import (
	"crypto"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/hex"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"sigstack/services/ca/identity"
)

// typeCase is one kind of identity: what is configured, what the token says, and
// what its certificate has.
type typeCase struct {
	name      string
	issuer    func(*identity.Issuer)
	claims    map[string]any
	challenge string
	san       string // hex of the name's tag and then the name; § is the issuer's URL
	attrs     map[int]string
	certified string // the issuer that the certificate names; "" for `iss`
}

func setType(kind identity.Type) func(*identity.Issuer) {
	return func(i *identity.Issuer) { i.Type = kind }
}

// typeCases has every type of issuer, by the names of upstream's tests.
func typeCases(t *testing.T) []typeCase {
	t.Helper()
	return slices.Concat(personCases(), workloadCases(), ciCases(), providerCases(t))
}

func personCases() []typeCase {
	const email = "alice@example.com"
	federated := maps.Clone(alice())
	federated["federated_claims"] = map[string]any{"connector_id": "https://accounts.example.com", "user_id": "7"}
	return []typeCase{
		{name: "Email", issuer: setType(identity.Email), claims: alice(), challenge: email, san: "81" + email},
		{
			name: "IssuerClaimConfig", claims: federated, challenge: email, san: "81" + email, certified: "https://accounts.example.com",
			issuer: func(i *identity.Issuer) { i.IssuerClaim = "$.federated_claims.connector_id" },
		},
		{
			name:   "UriSubject",
			issuer: func(i *identity.Issuer) { i.Type, i.SubjectDomain = identity.URI, "http://127.0.0.1" },
			claims: map[string]any{"sub": "http://127.0.0.1/users/1"}, challenge: "http://127.0.0.1/users/1", san: "86http://127.0.0.1/users/1",
		},
		{
			name:   "Username",
			issuer: func(i *identity.Issuer) { i.Type, i.SubjectDomain = identity.Username, "127.0.0.1" },
			claims: map[string]any{"sub": "foo"}, challenge: "foo",
			// The OID of the otherName, then [0] with UTF8String "foo!127.0.0.1".
			san: "a0\x06\x0a\x2b\x06\x01\x04\x01\x83\xbf\x30\x01\x07\xa0\x0f\x0c\x0dfoo!127.0.0.1",
		},
	}
}

func workloadCases() []typeCase {
	const id, account = "spiffe://example.org/ns/prod/sa/build", "system:serviceaccount:prod:build"
	pod := map[string]any{"namespace": "prod", "serviceaccount": map[string]any{"name": "build"}, "pod": map[string]any{"name": "p"}}
	const uidp = "be0b18ebd1dd3e4d/52c9c43f6b2a0b33"
	return []typeCase{
		{
			name:   "Spiffe",
			issuer: func(i *identity.Issuer) { i.Type, i.SPIFFETrustDomain = identity.SPIFFE, "example.org" },
			claims: map[string]any{"sub": id}, challenge: id, san: "86" + id,
		},
		{
			name: "Kubernetes", issuer: setType(identity.Kubernetes), challenge: account,
			claims: map[string]any{"sub": account, "kubernetes.io": pod},
			san:    "86https://kubernetes.io/namespaces/prod/serviceaccounts/build",
		},
		{
			name: "Chainguard", issuer: setType(identity.ChainguardIdentity), challenge: uidp,
			claims: map[string]any{"sub": uidp}, san: "86§/" + uidp,
		},
		{
			name: "Chainguard, email", issuer: setType(identity.ChainguardIdentity), challenge: "alice@example.com",
			claims: map[string]any{"sub": uidp, "email": "alice@example.com", "email_verified": true}, san: "86§/" + uidp,
		},
	}
}

func gitlabJob() map[string]any {
	return map[string]any{
		"sub": "project_path:acme/app:ref_type:branch:ref:main", "project_path": "acme/app", "project_id": "22",
		"project_visibility": "public", "namespace_path": "acme", "namespace_id": "72", "pipeline_source": "push", "pipeline_id": "574",
		"job_id": "302", "ci_config_ref_uri": "gitlab.com/acme/app//.gitlab-ci.yml@refs/heads/main", "ci_config_sha": "1111",
		"ref": "main", "ref_type": "branch", "sha": "2222", "runner_id": 1, "runner_environment": "gitlab-hosted", "environment": "prod",
	}
}

func ciCases() []typeCase {
	const workflow = "https://github.com/octo-org/octo-repo/.github/workflows/b.yml@refs/heads/main"
	const definition = "https://gitlab.com/acme/app//.gitlab-ci.yml@refs/heads/main"
	return []typeCase{
		{
			name: "GitHub", issuer: setType(identity.GitHubWorkflow), claims: githubRun(),
			challenge: "repo:octo-org/octo-repo:ref:refs/heads/main", san: "86" + workflow, attrs: githubAttributes(),
		},
		{
			name: "GitLab", issuer: setType(identity.GitLabPipeline), claims: gitlabJob(),
			challenge: "project_path:acme/app:ref_type:branch:ref:main", san: "86" + definition,
			attrs: map[int]string{
				9: utf8String(definition), 10: "0c0431313131", 11: utf8String("gitlab-hosted"), 12: utf8String("https://gitlab.com/acme/app"),
				13: "0c0432323232", 14: utf8String("refs/heads/main"), 15: "0c023232", 16: utf8String("https://gitlab.com/acme"), 17: "0c023732",
				18: utf8String(definition), 19: "0c0431313131", 20: "0c0470757368", 21: utf8String("https://gitlab.com/acme/app/-/jobs/302"),
				22: "0c067075626c6963",
			},
		},
		{
			name: "Buildkite", issuer: setType(identity.BuildkiteJob), challenge: "organization:acme:pipeline:app",
			claims: map[string]any{"sub": "organization:acme:pipeline:app", "organization_slug": "acme", "pipeline_slug": "app"},
			san:    "86https://buildkite.com/acme/app",
		},
		{
			name: "Codefresh", issuer: setType(identity.CodefreshWorkflow), challenge: "account:628a:pipeline:65e5",
			claims: map[string]any{
				"sub": "account:628a:pipeline:65e5", "account_id": "628a", "account_name": "acme", "pipeline_id": "65e5", "pipeline_name": "test/get",
				"workflow_id": "65e6", "runner_environment": "hybrid", "scm_repo_url": "https://github.com/acme/app", "scm_ref": "main",
			},
			san: "86https://g.codefresh.io/acme/test/get:628a/65e5",
			attrs: map[int]string{
				9: utf8String("https://g.codefresh.io/build/65e6"), 11: utf8String("hybrid"), 12: utf8String("https://github.com/acme/app"),
				14: utf8String("main"), 18: utf8String("https://g.codefresh.io/api/pipelines/65e5"), 21: utf8String("https://g.codefresh.io/build/65e6"),
			},
		},
	}
}

// githubAttributes are those of githubRun.
func githubAttributes() map[int]string {
	const workflow, repository = "https://github.com/octo-org/octo-repo/.github/workflows/", "https://github.com/octo-org/octo-repo"
	return map[int]string{
		2: "70757368", 3: "31313131", 4: "52656c65617365", 5: "6f63746f2d6f72672f6f63746f2d7265706f", 6: "726566732f68656164732f6d61696e",
		9: utf8String(workflow + "b.yml@refs/heads/main"), 10: "0c0432323232", 11: utf8String("github-hosted"), 12: utf8String(repository),
		13: "0c0431313131", 14: utf8String("refs/heads/main"), 15: "0c023734", 16: utf8String("https://github.com/octo-org"), 17: "0c023635",
		18: utf8String(workflow + "r.yml@refs/heads/main"), 19: "0c0433333333", 20: "0c0470757368",
		21: utf8String(repository + "/actions/runs/987/attempts/2"), 22: "0c067075626c6963",
	}
}

// providerCases has metadata for GitHub, which makes the same certificate as the
// type of its own with the environment besides, and one with every kind of claim.
func providerCases(t *testing.T) []typeCase {
	t.Helper()
	github := identity.CIMetadata{
		DefaultTemplateValues: map[string]string{"url": "https://github.com", "environment": ""},
		ExtensionTemplates: map[string]string{
			"github-workflow-trigger": "event_name", "github-workflow-sha": "sha", "github-workflow-name": "workflow",
			"github-workflow-repository": "repository", "github-workflow-ref": "ref", "build-signer-uri": "{{.url}}/{{.job_workflow_ref}}",
			"build-signer-digest": "job_workflow_sha", "runner-environment": "runner_environment", "source-repository-uri": "{{.url}}/{{.repository}}",
			"source-repository-digest": "sha", "source-repository-ref": "ref", "source-repository-identifier": "repository_id",
			"source-repository-owner-uri": "{{.url}}/{{.repository_owner}}", "source-repository-owner-identifier": "repository_owner_id",
			"build-config-uri": "{{.url}}/{{.workflow_ref}}", "build-config-digest": "workflow_sha", "build-trigger": "event_name",
			"run-invocation-uri":                      "{{.url}}/{{.repository}}/actions/runs/{{.run_id}}/attempts/{{.run_attempt}}",
			"source-repository-visibility-at-signing": "repository_visibility", "deployment-environment": "environment",
		},
		SubjectAlternativeNameTemplate: "{{.url}}/{{.job_workflow_ref}}",
	}
	jobs := identity.CIMetadata{
		DefaultTemplateValues: map[string]string{"url": "https://ci.example.com", "optional": ""},
		ExtensionTemplates: map[string]string{
			"run-invocation-uri":    `{{.url}}/builds/{{.build_number}}#{{index . "ci.example.com/job"}}`,
			"source-repository-ref": `refs/{{if eq .ref_type "branch"}}heads/{{else}}tags/{{end}}{{.ref}}`,
			"build-trigger":         "manual", "build-signer-digest": "optional",
		},
		SubjectAlternativeNameTemplate: "{{.url}}/{{.sub}}",
	}
	attrs := githubAttributes()
	attrs[23] = "0c0470726f64"
	return []typeCase{
		{
			name: "CiProvider", issuer: ciProvider(t, github), claims: githubRun(), challenge: "repo:octo-org/octo-repo:ref:refs/heads/main",
			san: "86https://github.com/octo-org/octo-repo/.github/workflows/b.yml@refs/heads/main", attrs: attrs,
		},
		{
			name: "CiProvider, kinds of claims", issuer: ciProvider(t, jobs), challenge: "job-1", san: "86https://ci.example.com/job-1",
			claims: map[string]any{"sub": "job-1", "build_number": 1000000, "ci.example.com/job": "a", "ref_type": "tag", "ref": "v1", "manual": true},
			attrs: map[int]string{
				14: utf8String("refs/tags/v1"), 20: "0c0474727565", 21: utf8String("https://ci.example.com/builds/1000000#a"),
			},
		},
	}
}

func ciProvider(t *testing.T, m identity.CIMetadata) func(*identity.Issuer) {
	t.Helper()
	p, err := identity.NewCIProvider("ci", m)
	if err != nil {
		t.Fatal(err)
	}
	return func(i *identity.Issuer) { i.Type, i.CIProvider = identity.CIProviderType, p }
}

// TestTypes issues a certificate for every type of issuer with a token that its
// issuer signed, by each kind of key and proof, and checks all of it.
func TestTypes(t *testing.T) {
	p256, rsaKey := newECDSA(t, elliptic.P256()), newRSA(t, 2048)
	for _, tt := range typeCases(t) {
		proofs := []struct {
			name string
			key  crypto.Signer
			body object
		}{
			{"challenge", p256, challengeBody(t, p256, tt.challenge)},
			{"RSA challenge", rsaKey, challengeBody(t, rsaKey, tt.challenge)},
			{"CSR", p256, csrBody(t, p256, x509.ECDSAWithSHA256)},
			{"RSA CSR", rsaKey, csrBody(t, rsaKey, x509.SHA256WithRSA)},
		}
		for _, proof := range proofs {
			t.Run(tt.name+"/"+proof.name, func(t *testing.T) {
				f := newFixture(t, func(f *fixture) { tt.issuer(&f.cfg.Issuers[0]) })
				chain := issued(t, f.post(t, v2Path, f.issuer.Token(t, tt.claims), proof.body))
				if strings.HasPrefix(tt.san, "a0") {
					handleOtherName(t, chain[0])
				}
				leaf := f.checkChain(t, chain, proof.key.Public())
				f.checkTransparency(t, chain)
				attrs := f.attributes(tt.claims, tt.attrs)
				if tt.certified != "" {
					attrs[1], attrs[8] = hex.EncodeToString([]byte(tt.certified)), utf8String(tt.certified)
				}
				checkExtensions(t, leaf, strings.ReplaceAll(tt.san, "§", f.issuer.URL), attrs)
			})
		}
	}
}

// handleOtherName does what Sigstore's Go clients do before they verify a
// certificate whose only name is an otherName: Go's x509 does not know the kind.
func handleOtherName(t *testing.T, leaf *x509.Certificate) {
	t.Helper()
	if len(leaf.UnhandledCriticalExtensions) != 1 || leaf.UnhandledCriticalExtensions[0].String() != "2.5.29.17" {
		t.Errorf("unhandled critical extensions are %v, want the name only", leaf.UnhandledCriticalExtensions)
	}
	leaf.UnhandledCriticalExtensions = nil
}

// TestTypesRefuse: a token whose claims do not make an identity of its issuer's
// type is refused before the key is looked at, and its claims are not repeated.
func TestTypesRefuse(t *testing.T) {
	changes := map[string]map[string]any{
		"Email":                       {"email_verified": false},
		"IssuerClaimConfig":           {"federated_claims": nil},
		"UriSubject":                  {"sub": "http://secret.example/users/1"},
		"Username":                    {"sub": "secret!127.0.0.1"},
		"Spiffe":                      {"sub": "spiffe://secret.example/x"},
		"Kubernetes":                  {"kubernetes.io": map[string]any{"namespace": "secret"}},
		"Chainguard":                  {"sub": "../secret"},
		"Chainguard, email":           {"sub": "secret//secret"},
		"GitHub":                      {"job_workflow_ref": "octo-org/../secret/b.yml@refs/heads/main"},
		"GitLab":                      {"ref_type": "secret"},
		"Buildkite":                   {"pipeline_slug": "../secret"},
		"Codefresh":                   {"platform_url": "secret:alert"},
		"CiProvider":                  {"repository": "../secret"},
		"CiProvider, kinds of claims": {"manual": []string{"secret"}},
	}
	for _, tt := range typeCases(t) {
		t.Run(tt.name, func(t *testing.T) {
			change, ok := changes[tt.name]
			if !ok {
				t.Fatal("no claim to change")
			}
			f := newFixture(t, func(f *fixture) { tt.issuer(&f.cfg.Issuers[0]) })
			claims := maps.Clone(tt.claims)
			maps.Copy(claims, change)
			w := f.post(t, v2Path, f.issuer.Token(t, claims), object{})
			if text := w.Body.String(); strings.Contains(text, "secret") {
				t.Errorf("answer %s repeats a claim", text)
			}
			wantRefusal(t, w, http.StatusBadRequest, 3, badToken)
			if n := f.log.Len(); n != 0 {
				t.Errorf("%d precertificates were logged, want none", n)
			}
		})
	}
}

// TestTypesInConfiguration: clients learn each issuer's type, and what to sign.
func TestTypesInConfiguration(t *testing.T) {
	for _, tt := range typeCases(t) {
		t.Run(tt.name, func(t *testing.T) {
			var want oidcIssuer
			f := newFixture(t, func(f *fixture) {
				i := &f.cfg.Issuers[0]
				tt.issuer(i)
				want = oidcIssuer{
					IssuerURL: &i.URL, Audience: i.ClientID, ChallengeClaim: "sub", SPIFFETrustDomain: i.SPIFFETrustDomain,
					IssuerType: string(i.Type), SubjectDomain: i.SubjectDomain,
				}
				if i.Type == identity.Email {
					want.ChallengeClaim = "email"
				}
			})
			var got configuration
			decode(t, f.get(t, "/api/v2/configuration").Body, &got)
			if len(got.Issuers) != 1 || got.Issuers[0].IssuerURL == nil || *got.Issuers[0].IssuerURL != *want.IssuerURL {
				t.Fatalf("configuration has %+v, want %q only", got.Issuers, *want.IssuerURL)
			}
			got.Issuers[0].IssuerURL, want.IssuerURL = nil, nil
			if got.Issuers[0] != want {
				t.Errorf("issuer is described as %+v, want %+v", got.Issuers[0], want)
			}
		})
	}
}

// TestAdvertisedChallenge changes what clients are told to sign, not what is
// verified.
func TestAdvertisedChallenge(t *testing.T) {
	f := newFixture(t, func(f *fixture) {
		f.cfg.Issuers[0].Type, f.cfg.Issuers[0].AdvertisedChallenge = identity.BuildkiteJob, "email"
	})
	var got configuration
	decode(t, f.get(t, "/api/v2/configuration").Body, &got)
	if len(got.Issuers) != 1 || got.Issuers[0].ChallengeClaim != "email" {
		t.Errorf("configuration has %+v, want one issuer with the challenge claim email", got.Issuers)
	}
	key := newECDSA(t, elliptic.P256())
	claims := map[string]any{"sub": "job", "organization_slug": "acme", "pipeline_slug": "app", "email": "alice@example.com", "email_verified": false}
	issued(t, f.post(t, v2Path, f.issuer.Token(t, claims), challengeBody(t, key, "job")))
	w := f.post(t, v2Path, f.issuer.Token(t, claims), challengeBody(t, key, "alice@example.com"))
	wantRefusal(t, w, http.StatusBadRequest, 3, badSignature)
}
