// Package promote moves images from staging to production with the built program, in
// registries with and without the referrers API, and has clients of both styles apply
// the production policy before and after.
package promote

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"sigstack/e2e/clients"
	"sigstack/e2e/e2etest"
	"sigstack/e2e/testissuer"
)

func TestMain(m *testing.M) { os.Exit(e2etest.Main(m)) }

// Who signs in each place (contract release-artifacts A2, A3).
const (
	staging    = "krel-staging@k8s-releng-prod.iam.gserviceaccount.com"
	production = "krel-trust@k8s-releng-prod.iam.gserviceaccount.com"
)

// site is a stack, an issuer that it trusts, and the lists of one test.
type site struct {
	*e2etest.Stack
	issuer *testissuer.Issuer
	dir    string
}

func newSite(t *testing.T) *site {
	t.Helper()
	issuer := testissuer.Start(t)
	return &site{e2etest.Start(t, t.TempDir(), "--trust-issuer", issuer.URL+",type=email"), issuer, t.TempDir()}
}

// registries runs a test against each kind of registry.
func registries(t *testing.T, test func(t *testing.T, registry string)) {
	t.Helper()
	t.Run("referrers API", func(t *testing.T) { t.Parallel(); test(t, e2etest.ReferrersRegistry(t)) })
	t.Run("docker-registry", func(t *testing.T) { t.Parallel(); test(t, e2etest.PlainRegistry(t)) })
}

func (s *site) tokenEnv(t *testing.T, who string) string {
	t.Helper()
	return "SIGSTORE_ID_TOKEN=" + s.issuer.Mint(t, s.issuer.Claims(who))
}

func (s *site) by(who string) []string {
	return []string{"--certificate-identity", who, "--certificate-oidc-issuer", s.issuer.URL}
}

// sign signs images as somebody, in both styles, with all that they list.
func (s *site) sign(t *testing.T, who string, images ...string) {
	t.Helper()
	for _, style := range []string{"tag", "referrer"} {
		args := []string{"sign", "--client", s.Kit(""), "--recursive", "--storage", style}
		for _, image := range images {
			args = append(args, "oci://"+image)
		}
		e2etest.MustRun(t, []string{s.tokenEnv(t, who)}, e2etest.Sigstack(t), args...)
	}
}

// verify is sigstack's verdict.
func (s *site) verify(t *testing.T, who, image string, more ...string) e2etest.Result {
	t.Helper()
	args := append([]string{"verify", "--client", s.Kit("")}, s.by(who)...)
	return e2etest.Run(t, nil, e2etest.Sigstack(t), append(append(args, more...), "oci://"+image)...)
}

// verdicts are those of every client, by the kit's trusted root: cosign 2 wants that as
// soon as an image has referrers, and verifies those then.
func (s *site) verdicts(t *testing.T, who, image string) map[string]e2etest.Result {
	t.Helper()
	request := clients.Request{Image: image, Identity: who, Issuer: s.issuer.URL, Trust: clients.TrustOf(s.Stack, clients.Kit)}
	byTag, byReferrer := request, request
	byTag.Kind, byReferrer.Kind = clients.ImageTag, clients.ImageReferrer
	return map[string]e2etest.Result{
		"sigstack": s.verify(t, who, image),
		"cosign 2": clients.CosignV2().Verify(t, byTag),
		"cosign 3": clients.CosignV3().Verify(t, byReferrer),
	}
}

// wantAll demands one verdict of every client.
func (s *site) wantAll(t *testing.T, accepted bool, who, image string) {
	t.Helper()
	for client, got := range s.verdicts(t, who, image) {
		if (got.Code == 0) != accepted {
			t.Errorf("%s on %s by %s: exit %d, want accepted %v\n%s%s", client, image, who, got.Code, accepted, got.Stdout, got.Stderr)
		}
	}
}

// list writes a list of images, each by its reference and digest.
func (s *site) list(t *testing.T, images map[string]string) string {
	t.Helper()
	var b strings.Builder
	for ref, digest := range images {
		b.WriteString(ref + "@" + digest + "\n")
	}
	return e2etest.WriteFile(t, t.TempDir(), "v1.0.0.images", b.String())
}

// promoteArgs promote a list to a place.
func (s *site) promoteArgs(list, to string, more ...string) []string {
	args := append([]string{"release", "promote", "--images", list, "--to", to, "--client", s.Kit("")}, s.by(staging)...)
	return append(args, more...)
}

func (s *site) promote(t *testing.T, list, to string, more ...string) e2etest.Result {
	t.Helper()
	return e2etest.Run(t, []string{s.tokenEnv(t, production)}, e2etest.Sigstack(t), s.promoteArgs(list, to, more...)...)
}

// promoted is the list that a run wrote.
func promoted(list string) string {
	return filepath.Join(filepath.Dir(list), "v1.0.0.promoted.images")
}

// pushIndex puts an index of two images into a registry, under a tag, and returns its
// digest and theirs.
func pushIndex(t *testing.T, ref string) (digest string, children []string) {
	t.Helper()
	index, err := random.Index(256, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(tag, index, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, child := range manifest.Manifests {
		children = append(children, child.Digest.String())
	}
	hash, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return hash.String(), children
}

// digestOf is what follows the @ of a reference.
func digestOf(image string) string {
	_, digest, _ := strings.Cut(image, "@")
	return digest
}

// tagged tells whether a registry has a tag.
func tagged(t *testing.T, ref string) bool {
	t.Helper()
	r := e2etest.Run(t, nil, e2etest.Client(t, "crane"), "digest", ref)
	return r.Code == 0
}
