// Package attest holds every row of contract release-artifacts C against the built
// program and both cosigns: provenance by a policy, SBOMs against files, summaries,
// and files of several attestations; each right, and wrong in every way listed there.
package attest

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigstack/e2e/clients"
	"sigstack/e2e/e2etest"
	"sigstack/e2e/testissuer"
)

func TestMain(m *testing.M) { os.Exit(e2etest.Main(m)) }

// Who signs.
const (
	builder  = "builder@ci.example"
	verifier = "verifier@ci.example"
	mallory  = "mallory@ci.example"
)

// world is a stack, and an issuer whose word it takes for everybody.
type world struct {
	*e2etest.Stack
	issuer *testissuer.Issuer
	dir    string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	issuer := testissuer.Start(t)
	return &world{e2etest.Start(t, t.TempDir(), "--trust-issuer", issuer.URL), issuer, t.TempDir()}
}

// token is one of somebody's.
func (w *world) token(t *testing.T, who string) string {
	t.Helper()
	return w.issuer.Mint(t, w.issuer.Claims(who))
}

// env has a token of somebody's.
func (w *world) env(t *testing.T, who string) []string {
	t.Helper()
	return []string{"SIGSTORE_ID_TOKEN=" + w.token(t, who)}
}

// by demands somebody's signature.
func (w *world) by(who string) []string {
	return []string{"--certificate-identity", who, "--certificate-oidc-issuer", w.issuer.URL}
}

// file makes one with a content, in a directory of its own.
func (w *world) file(t *testing.T, name, content string) string {
	t.Helper()
	dir, err := os.MkdirTemp(w.dir, "")
	if err != nil {
		t.Fatal(err)
	}
	return e2etest.WriteFile(t, dir, name, content)
}

// run runs sigstack; command may be of two words.
func (w *world) run(t *testing.T, env []string, command string, args ...string) e2etest.Result {
	t.Helper()
	all := append(strings.Fields(command), "--client", w.Kit(""))
	return e2etest.Run(t, env, e2etest.Sigstack(t), append(all, args...)...)
}

// attest has somebody attest an artifact, a file or an image with its prefix.
func (w *world) attest(t *testing.T, who, artifact, predicateType, predicate string, more ...string) {
	t.Helper()
	path := w.file(t, "predicate", predicate)
	args := append([]string{"--type", predicateType, "--predicate", path}, more...)
	r := w.run(t, w.env(t, who), "attest", append(args, artifact)...)
	if r.Code != 0 {
		t.Fatalf("attest %s: exit %d\n%s", artifact, r.Code, r.Stderr)
	}
}

// wantRefused fails the test unless r is a refusal whose output matches why.
func wantRefused(t *testing.T, r e2etest.Result, why string) {
	t.Helper()
	if r.Code != 1 || !regexp.MustCompile(why).MatchString(r.Stdout+r.Stderr) {
		t.Errorf("exit %d, want 1 and %q\n%s%s", r.Code, why, r.Stdout, r.Stderr)
	}
}

func wantPassed(t *testing.T, r e2etest.Result, says string) {
	t.Helper()
	if r.Code != 0 || !regexp.MustCompile(says).MatchString(r.Stdout) {
		t.Errorf("exit %d, want 0 and %q\n%s%s", r.Code, says, r.Stdout, r.Stderr)
	}
}

// storage is where an image's attestations are, and what it is called with.
type storage struct {
	style    string
	registry string
	kind     clients.Kind
}

// storages are both styles, one in a registry with the referrers API and one without.
func storages(t *testing.T) []storage {
	t.Helper()
	return []storage{
		{"referrer", e2etest.ReferrersRegistry(t), clients.ImageReferrerAttestation},
		{"tag", e2etest.PlainRegistry(t), clients.ImageTagAttestation},
		{"referrer", e2etest.PlainRegistry(t), clients.ImageReferrerAttestation},
	}
}

const commit = "aa63b5a3b4a9ab3d1e0e2d3c4b5a69788796a5b4"

// provenance is SLSA provenance v1 as the policy wants it.
const provenance = `{
 "buildDefinition": {
  "buildType": "https://ci.example/types/release/v1",
  "externalParameters": {"version": "v1.2.3", "options": {"fast": true}},
  "resolvedDependencies": [
   {"uri": "git+https://git.example/project@refs/tags/v1.2.3", "digest": {"gitCommit": "` + commit + `"}},
   {"uri": "pkg:golang/example.org/x@v1.0.0", "digest": {"sha256": "00"}}]
 },
 "runDetails": {
  "builder": {"id": "https://ci.example/builder"},
  "metadata": {"invocationId": "run-7", "startedOn": "2026-11-22T10:00:00Z", "finishedOn": "2026-11-22T10:20:00Z"}
 }
}`

// policy is the file of a policy that provenance passes.
func (w *world) policy(t *testing.T) string {
	t.Helper()
	return w.file(t, "policy.yaml", w.policyText())
}

func (w *world) policyText() string {
	return fmt.Sprintf(`
builders: [{id: https://ci.example/builder, identity: %s, issuer: %q, level: 3}]
build_types: [https://ci.example/types/release/v1]
source: {uri: git+https://git.example/project, ref: refs/tags/v1.2.3, commit: %s}
parameters: {version: v1.2.3, options: {fast: true}}
level: 3
`, builder, w.issuer.URL, commit)
}

func slug(name string) string {
	return strings.Trim(regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(name), "-"), "-")
}

// image pushes one, and returns what sigstack calls it.
func (w *world) image(t *testing.T, registry, name string) string {
	t.Helper()
	return "oci://" + e2etest.PushImage(t, registry, slug(filepath.Base(t.Name())+"-"+name))
}
