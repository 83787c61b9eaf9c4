package identity_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"sigstack/services/ca/identity"
)

// find returns the golden case of that name.
func find(t *testing.T, name string) golden {
	t.Helper()
	cases := readGoldens(t)
	i := slices.IndexFunc(cases, func(c golden) bool { return c.Name == name })
	if i < 0 {
		t.Fatalf("no case %q", name)
	}
	return cases[i]
}

// TestClimbing: no claim that becomes part of a URL can name something above or
// beside what it should.
func TestClimbing(t *testing.T) {
	paths := []string{"a/../b", "..", "./a", "/a", "a/", "a//b"}
	segments := append([]string{"a/b"}, paths...)
	tests := []struct {
		golden string
		values []string
		claims []string
	}{
		{"github-workflow", paths, []string{"repository", "repository_owner", "job_workflow_ref", "workflow_ref"}},
		{"github-workflow", segments, []string{"run_id", "run_attempt"}},
		{"gitlab-pipeline", paths, []string{"project_path", "namespace_path"}},
		{"gitlab-pipeline", segments, []string{"job_id"}},
		{"buildkite-job", segments, []string{"organization_slug", "pipeline_slug"}},
		{"codefresh-workflow", paths, []string{"account_name", "pipeline_name"}},
		{"codefresh-workflow", segments, []string{"account_id", "pipeline_id", "workflow_id"}},
		{"chainguard-identity", paths, []string{"sub"}},
	}
	for _, tt := range tests {
		c := find(t, tt.golden)
		for _, claim := range tt.claims {
			for _, value := range tt.values {
				t.Run(tt.golden+"/"+claim+"/"+strings.ReplaceAll(value, "/", "|"), func(t *testing.T) {
					_, _, err := certified(c.issuer(t), replaced(t, c, claim, value))
					wantInvalid(t, err, "claim "+claim+" is not a clean path")
				})
			}
		}
	}
}

func replaced(t *testing.T, c golden, claim string, value any) []byte {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	c.Claims = maps.Clone(c.Claims)
	c.Claims[claim] = text
	return c.payload(t)
}

func TestOddClaims(t *testing.T) {
	pod := func(namespace, account string) any {
		return map[string]any{"namespace": namespace, "serviceaccount": map[string]any{"name": account}}
	}
	const platform, names, uri = "claim platform_url is not a plain", "no valid names", "do not make a plain ASCII URL"
	tests := []struct {
		golden, claim string
		value         any
		want          string
	}{
		{"codefresh-workflow", "platform_url", "https://root@g.codefresh.io", platform},
		{"codefresh-workflow", "platform_url", "https://g.codefresh.io?a", platform},
		{"codefresh-workflow", "platform_url", "https://g.codefresh.io#a", platform},
		{"codefresh-workflow", "platform_url", "ftp://g.codefresh.io", platform},
		{"codefresh-workflow", "platform_url", "https:g.codefresh.io", platform},
		{"codefresh-workflow", "platform_url", "g.codefresh.io", platform},
		{"codefresh-workflow", "platform_url", "https://%", platform},
		{"codefresh-workflow", "platform_url", "https://g..codefresh.io", uri},
		{"kubernetes", "kubernetes.io", pod("-prod", "build"), names},
		{"kubernetes", "kubernetes.io", pod("prod-", "build"), names},
		{"kubernetes", "kubernetes.io", pod("Prod", "build"), names},
		{"kubernetes", "kubernetes.io", pod("prod", ".."), names},
		{"kubernetes", "kubernetes.io", pod("prod", "a..b"), names},
		{"kubernetes", "kubernetes.io", pod("prod", strings.Repeat("a", 254)), names},
		{"gitlab-pipeline", "ci_config_ref_uri", "root@gitlab.com/a//b.yml", uri},
		{"gitlab-pipeline", "ci_config_ref_uri", "exämple.com/a//b.yml", uri},
		{"gitlab-pipeline", "ci_config_ref_uri", "ex%C3%A4mple.com/a//b.yml", uri},
		{"gitlab-pipeline", "ci_config_ref_uri", "gitlab.com:/a//b.yml", uri},
		{"gitlab-pipeline", "ci_config_ref_uri", ":80/a//b.yml", uri},
		{"gitlab-pipeline", "ci_config_ref_uri", "/a//b.yml", uri},
		{"gitlab-pipeline", "ci_config_ref_uri", "gitlab.com/%2E%2e/b.yml", uri},
		{"gitlab-pipeline", "ci_config_ref_uri", "gitlab.com/" + strings.Repeat("ž", 1000), uri},
		{"gitlab-pipeline", "ci_config_ref_uri", "gitlab.com/%zz", "not a URL without scheme"},
		{"gitlab-pipeline", "runner_id", 1.5, "runner_id"},
		{"uri", "sub", "https://example.com/a|b", "not a plain ASCII URL"},
		{"uri", "sub", "https://example.com/ž", "not a plain ASCII URL"},
		{"username", "sub", "foo\ufffd", "cannot be printed"},
		{"username", "sub", "foo\u200bbar", "cannot be printed"},
		{"email", "email", strings.Repeat("a", 250) + "@x.de", "not a plain ASCII"},
	}
	for _, tt := range tests {
		t.Run(tt.golden+"/"+tt.claim, func(t *testing.T) {
			c := find(t, tt.golden)
			_, _, err := certified(c.issuer(t), replaced(t, c, tt.claim, tt.value))
			wantInvalid(t, err, tt.want)
		})
	}
}

// TestOpaqueName: a name without a host is taken if it is ASCII.
func TestOpaqueName(t *testing.T) {
	issuer := provider(t, identity.CIMetadata{SubjectAlternativeNameTemplate: "urn:ci:{{.sub}}"})
	who, err := issuer.Principal(parse(t, map[string]any{"iss": "i", "sub": "a"}))
	if err != nil || who.Name.Value != "urn:ci:a" {
		t.Errorf("name %+v, %v, want urn:ci:a", who.Name, err)
	}
	_, err = issuer.Principal(parse(t, map[string]any{"iss": "i", "sub": "ž"}))
	wantInvalid(t, err, "do not make a plain ASCII URL")
}

// TestDefaultsAreOwned: whoever made a CI system cannot change it later.
func TestDefaultsAreOwned(t *testing.T) {
	defaults := map[string]string{"url": "https://ci.example.com"}
	issuer := provider(t, identity.CIMetadata{DefaultTemplateValues: defaults, SubjectAlternativeNameTemplate: "{{.url}}"})
	defaults["url"] = "https://evil.example.com"
	who, err := issuer.Principal(parse(t, map[string]any{"iss": "i", "sub": "a"}))
	if err != nil || who.Name.Value != "https://ci.example.com" {
		t.Errorf("name %+v, %v, want https://ci.example.com", who.Name, err)
	}
}

// TestExtensionsRefuse: what is no IA5String is not encoded as one.
func TestExtensionsRefuse(t *testing.T) {
	for _, kind := range []identity.NameKind{identity.RFC822Name, identity.URIName} {
		p := identity.Principal{Name: identity.Name{Kind: kind, Value: "ž@example.com"}}
		if exts, err := p.Extensions(); err == nil {
			t.Errorf("kind %d is encoded as %x, want an error", kind, exts[0].Value)
		}
	}
}
