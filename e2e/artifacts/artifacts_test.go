package artifacts

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"

	"sigstack/e2e/clients"
	"sigstack/e2e/e2etest"
	"sigstack/internal/oci"
)

// TestArtifacts is one stack and two registries for all that is signed in them.
func TestArtifacts(t *testing.T) {
	s := newSite(t)
	s.signatures(t)
	s.attachedSBOMs(t)
	s.attestedSBOMs(t)
	s.withPassword(t)
	s.withFaults(t)
}

// signatures is the table: every kind in every registry, stored in both styles.
func (s *site) signatures(t *testing.T) {
	for _, r := range s.registries {
		for _, k := range kinds() {
			for _, storage := range []clients.Kind{clients.ImageReferrer, clients.ImageTag} {
				t.Run(r.name+" "+k.name+" "+string(storage), func(t *testing.T) {
					t.Parallel()
					c := &cell{site: s, registry: r, kind: k, storage: storage}
					c.run(t)
				})
			}
		}
	}
}

// site is a stack and the registries.
type site struct {
	stack      *e2etest.Stack
	token      string
	registries []registry // with the referrers API and without
}

// registry is one with a front that lies about some blobs.
type registry struct {
	name string
	host string
	liar *liar
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{stack: e2etest.Start(t, t.TempDir())}
	s.token = s.stack.Token(t)
	api, plain := e2etest.ReferrersRegistry(t), e2etest.PlainRegistry(t)
	s.registries = []registry{{"with referrers API", api, newLiar(t, api)}, {"docker-registry", plain, newLiar(t, plain)}}
	return s
}

// request is what every client is told.
func (s *site) request(kind clients.Kind, ref string) clients.Request {
	return clients.Request{
		Kind: kind, Trust: clients.TrustOf(s.stack, clients.Kit), Image: ref, Timestamp: true,
		Token: s.token, Identity: e2etest.DemoUser, Issuer: s.stack.Issuer(),
	}
}

// cell is one cell of the table.
type cell struct {
	*site
	registry
	kind    kind
	storage clients.Kind
}

func (c *cell) run(t *testing.T) {
	repo := c.repository(t, c.host, "")
	genuine := c.kind.make(t, "genuine")
	ref := c.place(t, repo)
	genuine.push(t, ref)
	c.refused(t, ref, "has no signature, neither by tag nor among its referrers")

	// Ours alone, for the others to verify.
	pinned := c.request(c.storage, repo.Digest(genuine.descriptor().Digest.String()).Name())
	c.sign(t, clients.Sigstack(), pinned)
	ours := readEvidence(t, c.storage, repo, genuine)
	c.accepted(t, ref, 1)
	c.verify(t, clients.CosignV3(), pinned)
	c.verify(t, clients.CosignV2(), pinned)
	// Theirs beside it.
	c.sign(t, clients.CosignV3(), pinned)
	c.sign(t, clients.CosignV2(), pinned)
	c.accepted(t, ref, 3)

	c.replaced(t, ref, ours)
	c.flipped(t, genuine, ours)
	c.swapped(t, ref, genuine)
}

// repository is one for this cell alone.
func (c *cell) repository(t *testing.T, host, suffix string) name.Repository {
	t.Helper()
	words := regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(c.kind.name+" "+string(c.storage)), "-")
	repo, err := name.NewRepository(host + "/artifacts/" + words + suffix)
	if err != nil {
		t.Fatal(err)
	}
	return repo
}

// place is the tag under which the artifact is found. An attached SBOM's is made
// of the digest of an image, which is pushed.
func (c *cell) place(t *testing.T, repo name.Repository) name.Tag {
	t.Helper()
	if !c.kind.attached {
		return repo.Tag("v1")
	}
	image := newImage(t, "amd64", "described")
	image.push(t, repo.Tag("v1"))
	return attachedTag(repo, image.descriptor().Digest, ".sbom")
}

func (c *cell) sign(t *testing.T, by clients.Client, r clients.Request) {
	t.Helper()
	e2etest.WantAccepted(t, by.Name()+" signs", by.Sign(t, r))
}

func (c *cell) verify(t *testing.T, by clients.Client, r clients.Request) {
	t.Helper()
	e2etest.WantAccepted(t, by.Name()+" verifies", by.Verify(t, r))
}

// accepted has sigstack verify what a tag points at: so many signatures, all in
// order, of what kind of artifact.
func (c *cell) accepted(t *testing.T, ref name.Reference, signatures int) {
	t.Helper()
	var got oci.Verified
	result := c.verdict(t, ref, "--output", "json")
	if result.Code != 0 || json.Unmarshal([]byte(result.Stdout), &got) != nil {
		t.Fatalf("sigstack refused %s: exit %d\n%s%s", ref, result.Code, result.Stdout, result.Stderr)
	}
	if got.Found != signatures || len(got.Passed) != signatures {
		t.Errorf("%s: %d of %d signatures passed, want all of %d\n%s", ref, len(got.Passed), got.Found, signatures, result.Stdout)
	}
	if got.Kind != c.kind.says || got.ArtifactType != c.kind.artifactType {
		t.Errorf("%s: got %s of type %q, want %s of type %q", ref, got.Kind, got.ArtifactType, c.kind.says, c.kind.artifactType)
	}
}

// refused has sigstack refuse what ref names, for a reason.
func (c *cell) refused(t *testing.T, ref name.Reference, reason string) {
	t.Helper()
	result := c.verdict(t, ref)
	if result.Code != 1 || !regexp.MustCompile(reason).MatchString(result.Stderr) {
		t.Errorf("%s: exit %d, want 1 for %q\n%s%s", ref, result.Code, reason, result.Stdout, result.Stderr)
	}
}

func (c *cell) verdict(t *testing.T, ref name.Reference, flags ...string) e2etest.Result {
	t.Helper()
	args := append([]string{"verify", "--client", c.stack.Kit(""), "--require-timestamp"}, c.stack.IdentityArgs()...)
	return e2etest.Run(t, nil, e2etest.Sigstack(t), append(append(args, flags...), "oci://"+ref.Name())...)
}

// withPassword has an artifact signed and verified in both styles in a registry that
// is not for everybody.
func (s *site) withPassword(t *testing.T) {
	const user, password = "alice", "s3cret-of-alice"
	host := e2etest.PasswordRegistry(t, s.registries[0].host, user, password)
	login := e2etest.DockerLogin(t, host, user, password)
	open := e2etest.PushImage(t, s.registries[0].host, "protected/app")
	ref := "oci://" + host + strings.TrimPrefix(open, s.registries[0].host)
	verify := append([]string{"verify", "--client", s.stack.Kit("")}, s.stack.IdentityArgs()...)
	for _, storage := range []string{"referrer", "tag"} {
		t.Run("with a password, by "+storage, func(t *testing.T) {
			sign := []string{"sign", "--client", s.stack.Kit(""), "--storage", storage, ref}
			token := "SIGSTORE_ID_TOKEN=" + s.token
			for who, env := range map[string][]string{
				"nobody": {token}, "another": {token, e2etest.DockerLogin(t, host, user, "guess")},
			} {
				r := e2etest.Run(t, env, e2etest.Sigstack(t), sign...)
				if r.Code == 0 || !strings.Contains(r.Stderr, "log in with docker login") || strings.Contains(r.Stderr, "guess") {
					t.Errorf("%s signs: exit %d, want to be told to log in\n%s", who, r.Code, r.Stderr)
				}
			}
			e2etest.MustRun(t, []string{token, login}, e2etest.Sigstack(t), sign...)
			e2etest.MustRun(t, []string{login}, e2etest.Sigstack(t), append(verify, ref)...)
			if r := e2etest.Run(t, nil, e2etest.Sigstack(t), append(verify, ref)...); r.Code == 0 {
				t.Errorf("nobody verifies: exit %d\n%s", r.Code, r.Stdout)
			}
		})
	}
}
