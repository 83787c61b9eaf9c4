package attest

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"sigstack/e2e/clients"
	"sigstack/e2e/e2etest"
	"sigstack/internal/release"
)

// TestReleaseProvenance: one statement has every signed file of a release and its
// images as subjects; matching is by digest alone, whatever a file is called.
func TestReleaseProvenance(t *testing.T) {
	w := newWorld(t)
	out := filepath.Join(w.dir, "out")
	e2etest.MustRun(t, nil, e2etest.Sigstack(t), "release", "sample", out, "--version", "v1.2.3", "--files", "40")
	tree := filepath.Join(out, "release", "v1.2.3")
	var artifacts []string
	err := filepath.WalkDir(tree, func(path string, e fs.DirEntry, err error) error {
		if name, _ := filepath.Rel(tree, path); err == nil && e.Type().IsRegular() && release.Signable(name) {
			artifacts = append(artifacts, path)
		}
		return err
	})
	if err != nil || len(artifacts) < 40 {
		t.Fatalf("%d signable files, %v, want 40", len(artifacts), err)
	}
	registry := e2etest.ReferrersRegistry(t)
	for i := range 3 {
		artifacts = append(artifacts, w.image(t, registry, fmt.Sprint(i)))
	}
	bundle := filepath.Join(w.dir, "provenance.sigstore.json")
	w.attest(t, builder, artifacts[0], "slsaprovenance1", provenance, append([]string{"--bundle", bundle}, artifacts[1:]...)...)
	verify := func(artifact string) e2etest.Result {
		return w.run(t, nil, "verify", "--offline", "--policy", w.policy(t), "--bundle", bundle, artifact)
	}
	for i := 0; i < len(artifacts); i += 14 { // files, and the last image
		if r := verify(artifacts[i]); r.Code != 0 {
			t.Errorf("%s: exit %d\n%s", artifacts[i], r.Code, r.Stderr)
		}
	}
	renamed := w.file(t, "another name", e2etest.ReadFile(t, artifacts[0]))
	wantPassed(t, verify(renamed), "SLSA_BUILD_LEVEL_3")
	tampered := w.file(t, filepath.Base(artifacts[0]), e2etest.ReadFile(t, artifacts[0])+" ")
	wantRefused(t, verify(tampered), fmt.Sprintf("none of its %d subjects has sha256:", len(artifacts)))
	wantRefused(t, verify(artifacts[len(artifacts)-1][:len(artifacts[len(artifacts)-1])-8]+strings.Repeat("0", 8)), "none of its")

	for _, c := range []clients.Client{clients.CosignV3(), clients.CosignV2()} {
		r := clients.Request{
			Kind: clients.Attestation, Trust: clients.TrustOf(w.Stack, clients.Kit), File: renamed, Bundle: bundle,
			PredicateType: "slsaprovenance1", Identity: builder, Issuer: w.issuer.URL, Signer: "sigstack", Offline: true,
		}
		e2etest.WantAccepted(t, c.Name(), c.Verify(t, r))
		r.File = tampered
		if got := c.Verify(t, r); got.Code == 0 {
			t.Errorf("%s accepts another file", c.Name())
		}
	}
}
