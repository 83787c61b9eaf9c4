package artifacts

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"sigstack/e2e/clients"
	"sigstack/e2e/e2etest"
	"sigstack/internal/oci"
)

// sbomDocument is an SBOM as a file, in one of the formats that are attached.
type sbomDocument struct {
	mediaType string
	cosign    []string // how cosign 2 is told the format
	content   func(t *testing.T, text string) []byte
}

func sbomDocuments() []sbomDocument {
	return []sbomDocument{
		{oci.SPDXText, []string{"--type", "spdx", "--input-format", "text"}, func(_ *testing.T, text string) []byte { return spdxText(text) }},
		{oci.SPDXJSON, []string{"--type", "spdx", "--input-format", "json"}, spdxJSON},
		{oci.CycloneDXJSON, []string{"--type", "cyclonedx", "--input-format", "json"}, cycloneDX},
	}
}

// attachedSBOMs: what sigstack attaches and signs cosign 2 finds and verifies, and
// the reverse.
func (s *site) attachedSBOMs(t *testing.T) {
	for _, r := range s.registries {
		for _, d := range sbomDocuments() {
			t.Run(r.name+" attached "+d.mediaType, func(t *testing.T) {
				t.Parallel()
				a := &attachment{site: s, registry: r, sbomDocument: d}
				a.run(t)
			})
		}
	}
}

// attachment is an SBOM in a registry.
type attachment struct {
	*site
	registry
	sbomDocument
}

func (a *attachment) run(t *testing.T) {
	content := a.content(t, "genuine")
	file := e2etest.WriteFile(t, t.TempDir(), "sbom", string(content))
	words := regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(a.mediaType, "-")

	ours := a.image(t, words+"/ours")
	tag := strings.TrimSpace(e2etest.MustRun(t, nil, e2etest.Sigstack(t), "attach", "sbom", file, "oci://"+ours.Name()))
	sigstack := clients.Sigstack().Sign(t, a.request(clients.ImageTag, tag))
	e2etest.WantAccepted(t, "sigstack signs", sigstack)
	theirs := a.image(t, words+"/theirs")
	args := append([]string{"attach", "sbom", "--sbom", file}, a.cosign...)
	e2etest.MustRun(t, nil, e2etest.Client(t, "cosign-v2"), append(args, theirs.Name())...)
	e2etest.MustRun(t, a.cosign2Trust(), e2etest.Client(t, "cosign-v2"), "sign", "--yes", "--attachment", "sbom",
		"--rekor-url", a.stack.URL, "--fulcio-url", a.stack.URL, "--oidc-issuer", a.stack.Issuer(),
		"--timestamp-server-url", a.stack.URL+"/api/v1/timestamp", "--identity-token", a.token, theirs.Name())

	for who, image := range map[string]name.Digest{"ours": ours, "theirs": theirs} {
		if got := e2etest.MustRun(t, nil, e2etest.Client(t, "cosign-v2"), "download", "sbom", image.Name()); strings.TrimSpace(got) != strings.TrimSpace(string(content)) {
			t.Errorf("%s: cosign 2 downloads %q, want %q", who, got, content)
		}
		verify := append([]string{"verify", "--attachment", "sbom", "--rekor-url", a.stack.URL}, a.stack.IdentityArgs()...)
		e2etest.WantAccepted(t, "cosign 2, "+who, e2etest.Run(t, a.cosign2Trust(), e2etest.Client(t, "cosign-v2"), append(verify, image.Name())...))
		a.saves(t, image, content)
	}
	a.borrowed(t, ours)
	a.tampered(t, ours)
}

// borrowed puts the signed SBOM of one image at the tag of another, which nothing
// about an attached SBOM forbids: sigstack says so each time.
func (a *attachment) borrowed(t *testing.T, from name.Digest) {
	t.Helper()
	other := newImage(t, "arm64", "other")
	repo := from.Context()
	other.push(t, repo.Tag("v2"))
	e2etest.MustRun(t, nil, e2etest.Client(t, "crane"), "copy",
		attachedTag(repo, hashOfDigest(t, from), ".sbom").Name(), attachedTag(repo, other.descriptor().Digest, ".sbom").Name())
	r, _ := a.verify(t, repo.Digest(other.descriptor().Digest.String()))
	if want := "only its tag says that it describes " + repo.Digest(other.descriptor().Digest.String()).Name(); r.Code != 0 || !strings.Contains(r.Stderr, want) {
		t.Errorf("another's SBOM: exit %d, want it passed with %q\n%s%s", r.Code, want, r.Stdout, r.Stderr)
	}
}

func hashOfDigest(t *testing.T, d name.Digest) v1.Hash {
	t.Helper()
	h, err := v1.NewHash(d.DigestStr())
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// image pushes an image to describe.
func (a *attachment) image(t *testing.T, repository string) name.Digest {
	t.Helper()
	repo, err := name.NewRepository(a.host + "/attached/" + repository)
	if err != nil {
		t.Fatal(err)
	}
	image := newImage(t, "amd64", repository)
	image.push(t, repo.Tag("v1"))
	return repo.Digest(image.descriptor().Digest.String())
}

// cosign2Trust is how cosign 2 is told whom to trust for what is stored by tag.
func (a *attachment) cosign2Trust() []string {
	return []string{
		"SIGSTORE_ROOT_FILE=" + a.stack.Kit("fulcio.crt.pem"),
		"SIGSTORE_REKOR_PUBLIC_KEY=" + a.stack.Kit("rekor.pub"),
		"SIGSTORE_CT_LOG_PUBLIC_KEY_FILE=" + a.stack.Kit("ctfe.pub"),
		"SIGSTORE_TSA_CERTIFICATE_FILE=" + a.stack.Kit("tsa.crt.pem"),
	}
}

// verify has sigstack verify the SBOM that is attached, and save it.
func (a *attachment) verify(t *testing.T, image name.Digest) (r e2etest.Result, saved string) {
	t.Helper()
	saved = filepath.Join(t.TempDir(), "saved")
	args := append([]string{"verify", "--client", a.stack.Kit(""), "--attachment", "sbom", "--save", saved}, a.stack.IdentityArgs()...)
	return e2etest.Run(t, nil, e2etest.Sigstack(t), append(args, "oci://"+image.Name())...), saved
}

func (a *attachment) saves(t *testing.T, image name.Digest, want []byte) {
	t.Helper()
	r, saved := a.verify(t, image)
	if r.Code != 0 || !strings.Contains(r.Stdout, "sbom        "+a.mediaType) {
		t.Errorf("%s: exit %d, want a %s verified\n%s%s", image, r.Code, a.mediaType, r.Stdout, r.Stderr)
		return
	}
	if got := e2etest.ReadFile(t, saved); got != string(want) {
		t.Errorf("%s: saved %q, want %q", image, got, want)
	}
}

// refused wants a reason, and nothing saved.
func (a *attachment) refused(t *testing.T, image name.Digest, reason string) {
	t.Helper()
	r, saved := a.verify(t, image)
	if r.Code != 1 || !regexp.MustCompile(reason).MatchString(r.Stderr) {
		t.Errorf("%s: exit %d, want 1 for %q\n%s%s", image, r.Code, reason, r.Stdout, r.Stderr)
	}
	if _, err := os.Stat(saved); err == nil {
		t.Errorf("%s: refused, and saved all the same", image)
	}
}

// tampered has the registry give another SBOM for the one that is signed, and then
// puts that under the tag.
func (a *attachment) tampered(t *testing.T, image name.Digest) {
	t.Helper()
	lied, err := name.NewDigest(a.liar.host + "/" + image.Context().RepositoryStr() + "@" + image.DigestStr())
	if err != nil {
		t.Fatal(err)
	}
	layer := hashOf(a.content(t, "genuine"))
	a.liar.swap(lied.Context().Digest(layer.String()), a.content(t, "swapped"))
	a.refused(t, lied, "sha256|digest")

	file := e2etest.WriteFile(t, t.TempDir(), "sbom", string(a.content(t, "tampered")))
	e2etest.MustRun(t, nil, e2etest.Sigstack(t), "attach", "sbom", "--replace", file, "oci://"+image.Name())
	a.refused(t, image, "has no signature")
}

// attestedSBOMs signs SBOMs as attestations on every kind of artifact: these
// say what they describe, so that one that is put beside another artifact is
// refused, which that of an attached SBOM is not.
func (s *site) attestedSBOMs(t *testing.T) {
	for _, r := range s.registries {
		for _, storage := range []clients.Kind{clients.ImageReferrerAttestation, clients.ImageTagAttestation} {
			for kind, d := range map[string]sbomDocument{"https://spdx.dev/Document": sbomDocuments()[1], "https://cyclonedx.org/bom": sbomDocuments()[2]} {
				for _, k := range kinds() {
					if k.attached || (k.name != "image" && k.name != "Helm chart" && k.name != "config file") {
						continue
					}
					t.Run(strings.Join([]string{r.name, string(storage), kind, k.name}, " "), func(t *testing.T) {
						t.Parallel()
						a := &attestation{site: s, registry: r, storage: storage, predicateType: kind, document: d, kind: k}
						a.run(t)
					})
				}
			}
		}
	}
}

// attestation is an SBOM that is attested of an artifact.
type attestation struct {
	*site
	registry
	storage       clients.Kind
	predicateType string
	document      sbomDocument
	kind          kind
}

func (a *attestation) run(t *testing.T) {
	words := regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(string(a.storage)+a.predicateType+a.kind.name), "-")
	repo, err := name.NewRepository(a.host + "/attested/" + words)
	if err != nil {
		t.Fatal(err)
	}
	genuine := a.kind.make(t, "genuine")
	genuine.push(t, repo.Tag("v1"))
	r := a.request(a.storage, repo.Digest(genuine.descriptor().Digest.String()).Name())
	r.PredicateType = a.predicateType
	r.Predicate = e2etest.WriteFile(t, t.TempDir(), "sbom.json", string(a.document.content(t, "genuine")))
	if a.storage == clients.ImageTagAttestation {
		r.Timestamp = false // cosign 3 refuses its own, and cosign 2 takes the log's word
	}
	e2etest.WantAccepted(t, "sigstack attests", clients.Sigstack().Sign(t, r))
	e2etest.WantAccepted(t, "sigstack", clients.Sigstack().Verify(t, r))
	for _, c := range []clients.Client{clients.CosignV3(), clients.CosignV2()} {
		if c.VerifyLimit(r) == nil {
			e2etest.WantAccepted(t, c.Name(), c.Verify(t, r))
		}
		e2etest.WantAccepted(t, c.Name()+" attests", c.Sign(t, r))
	}
	result := clients.Sigstack().Verify(t, r)
	if !strings.Contains(result.Stdout, "3 of 3 attestation(s) passed") {
		t.Errorf("exit %d, want 3 of 3\n%s%s", result.Code, result.Stdout, result.Stderr)
	}
	a.elsewhere(t, repo, genuine, r)
}

// elsewhere puts the attestations of the genuine artifact beside another one.
func (a *attestation) elsewhere(t *testing.T, repo name.Repository, genuine artifact, r clients.Request) {
	t.Helper()
	other := a.kind.make(t, "tampered")
	other.push(t, repo.Tag("v1"))
	r.Image = repo.Tag("v1").Name()
	wantRefusal(t, clients.Sigstack().Verify(t, r), "has no attestation of type "+a.predicateType)
	for _, e := range readAll(t, a.storage, repo, genuine) {
		e.store(t, a.storage, repo, other)
	}
	wantRefusal(t, clients.Sigstack().Verify(t, r), "attestation: none of its 1 subjects has ")
}

func wantRefusal(t *testing.T, r e2etest.Result, reason string) {
	t.Helper()
	if r.Code != 1 || !strings.Contains(r.Stderr, reason) {
		t.Errorf("exit %d, want 1 for %q\n%s%s", r.Code, reason, r.Stdout, r.Stderr)
	}
}
