package oci_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"

	"sigstack/internal/oci"
	"sigstack/internal/signing"
)

// load puts a folder of testdata/cosign into a repository.
func load(t *testing.T, folder, repository string) {
	t.Helper()
	repo, err := name.NewRepository(repository)
	must(t, err)
	for _, path := range files(t, filepath.Join(folder, "blobs", "*")) {
		data, err := os.ReadFile(path)
		must(t, err)
		must(t, remote.WriteLayer(repo, static.NewLayer(data, "application/octet-stream")))
	}
	for _, path := range files(t, filepath.Join(folder, "manifests", "*")) {
		data, err := os.ReadFile(path)
		must(t, err)
		var ref name.Reference = repo.Tag(filepath.Base(path))
		if digest, ok := strings.CutPrefix(filepath.Base(path), "sha256_"); ok {
			ref = repo.Digest("sha256:" + digest)
		}
		must(t, remote.Put(ref, rawManifest(data)))
	}
}

func files(t *testing.T, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	must(t, err)
	if len(found) == 0 {
		t.Fatalf("no files at %s", pattern)
	}
	return found
}

// TestCosign verifies what cosign 2 and 3 stored.
func TestCosign(t *testing.T) {
	t.Parallel()
	const slsa = "https://slsa.dev/provenance/v1"
	trusted, err := signing.LoadTrustRoot("testdata/cosign/trusted_root.json")
	must(t, err)
	id, err := signing.NewIdentity("demo@sigstack.local", "", "http://localhost:8977/dex", "")
	must(t, err)
	other, err := signing.NewIdentity("mallory@sigstack.local", "", "http://localhost:8977/dex", "")
	must(t, err)
	for folder, style := range map[string]oci.Style{"cosign2": oci.Tag, "cosign3": oci.Referrer} {
		for _, referrers := range []bool{true, false} {
			ref := serve(t, registryHandler(referrers)) + "/elsewhere"
			load(t, filepath.Join("testdata/cosign", folder), ref)
			r, ctx := oci.New(oci.Options{}), t.Context()
			got, err := r.Verify(ctx, ref+":v1", trusted, id, map[string]string{"env": "prod"})
			must(t, err)
			if len(got.Passed) != 1 || got.Passed[0].Style != style || got.Passed[0].Timestamp.IsZero() {
				t.Errorf("%s: got %+v, want one signature by %s with a timestamp", folder, got, style)
			}
			got, err = r.VerifyAttestation(ctx, ref+":v1", trusted, id, slsa)
			must(t, err)
			if len(got.Passed) != 1 || !strings.Contains(string(got.Passed[0].Predicate), "buildDefinition") {
				t.Errorf("%s: got %+v, want one attestation", folder, got)
			}
			_, err = r.Verify(ctx, ref+":v1", trusted, id, map[string]string{"env": "dev"})
			wantCheck(t, err, oci.CheckAnnotations, "want \"dev\"")
			_, err = r.Verify(ctx, ref+":v1", trusted, other, nil)
			wantCheck(t, err, signing.CheckIdentity, "found 1")
			_, err = r.VerifyAttestation(ctx, ref+":v1", trusted, other, slsa)
			wantCheck(t, err, signing.CheckIdentity, "found 1")
		}
	}
}

// TestDelayedLoss: a signature that somebody overwrites after the first look is
// made again.
func TestDelayedLoss(t *testing.T) {
	t.Parallel()
	s := demo(t)
	looks := 0
	inner := registryHandler(false)
	host := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, ".sig") {
			// Two looks before the first write and one after it; then it is gone.
			if looks++; looks == 4 {
				w.WriteHeader(http.StatusNotFound)
				return
			}
		}
		inner.ServeHTTP(w, r)
	}))
	ref := host + "/app:v1"
	pushImage(t, ref)
	_, err := oci.New(oci.Options{Now: time.Now}).Sign(t.Context(), s.session, ref, oci.Tag, nil)
	must(t, err)
	if looks < 8 {
		t.Errorf("got %d looks at the tag, want a second attempt of four", looks)
	}
}
