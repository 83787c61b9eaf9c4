package oci_test

import (
	"fmt"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"sigstack/internal/oci"
)

// TestKinds signs one manifest of each kind, and is told what was verified.
func TestKinds(t *testing.T) {
	t.Parallel()
	const imageConfig = "application/vnd.oci.image.config.v1+json"
	s := demo(t)
	repo := serve(t, registryHandler(true)) + "/kinds"
	for i, tt := range []struct {
		config, layer, artifactType string
		kind                        oci.Kind
		want                        string // artifact type
	}{
		{imageConfig, "application/vnd.oci.image.layer.v1.tar+gzip", "", oci.Image, imageConfig},
		{"application/vnd.docker.container.image.v1+json", "application/vnd.docker.image.rootfs.diff.tar.gzip", "", oci.Image, "application/vnd.docker.container.image.v1+json"},
		{"application/vnd.cncf.helm.config.v1+json", "application/vnd.cncf.helm.chart.content.v1.tar+gzip", "", oci.HelmChart, "application/vnd.cncf.helm.config.v1+json"},
		{"application/vnd.wasm.config.v1+json", "application/vnd.wasm.content.layer.v1+wasm", "", oci.Wasm, "application/vnd.wasm.config.v1+json"},
		{"application/vnd.oci.empty.v1+json", "application/yaml", "application/vnd.example+yaml", oci.Artifact, "application/vnd.example+yaml"},
		{"application/vnd.oci.empty.v1+json", "application/wasm", "application/vnd.wasm.config.v1+json", oci.Wasm, "application/vnd.wasm.config.v1+json"},
		{imageConfig, "text/spdx", "", oci.SBOM, imageConfig},
		{imageConfig, "text/spdx+json", "", oci.SBOM, imageConfig},
		{imageConfig, "application/vnd.cyclonedx+json", "", oci.SBOM, imageConfig},
		{imageConfig, "application/vnd.dev.cosign.simplesigning.v1+json", "", oci.Evidence, imageConfig},
		{"application/vnd.oci.empty.v1+json", "application/vnd.dev.sigstore.bundle.v0.3+json", "application/vnd.dev.sigstore.bundle.v0.3+json", oci.Evidence, "application/vnd.dev.sigstore.bundle.v0.3+json"},
	} {
		ref := fmt.Sprintf("%s:v%d", repo, i)
		pushManifest(t, ref, tt.config, tt.layer, tt.artifactType)
		wantKind(t, s, ref, tt.kind, tt.want)
	}
	pushIndex(t, repo+":index")
	wantKind(t, s, repo+":index", oci.Index, "")
}

func wantKind(t *testing.T, s signer, ref string, kind oci.Kind, artifactType string) {
	t.Helper()
	s.sign(t, ref, oci.Referrer, nil)
	got, err := s.verify(t.Context(), ref, nil)
	must(t, err)
	if got.Kind != kind || got.ArtifactType != artifactType {
		t.Errorf("%s: got %s of type %q, want %s of type %q", ref, got.Kind, got.ArtifactType, kind, artifactType)
	}
}

// pushManifest pushes a manifest of one layer with these media types.
func pushManifest(t *testing.T, ref, config, layer, artifactType string) {
	t.Helper()
	tag, err := name.NewTag(ref)
	must(t, err)
	descriptor := func(content, mediaType string) string {
		blob := static.NewLayer([]byte(content), types.MediaType(mediaType))
		must(t, remote.WriteLayer(tag.Context(), blob))
		var h v1.Hash
		h, err = blob.Digest()
		must(t, err)
		return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, mediaType, h, len(content))
	}
	stated := ""
	if artifactType != "" {
		stated = fmt.Sprintf(`"artifactType":%q,`, artifactType)
	}
	must(t, remote.Put(tag, rawManifest(fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",%s"config":%s,"layers":[%s]}`,
		stated, descriptor("{}", config), descriptor("content of "+layer, layer)))))
}
