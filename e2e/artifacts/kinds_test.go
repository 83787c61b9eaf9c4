package artifacts

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"sigstack/internal/oci"
)

// Media types of images and of contract release-artifacts B3.
const (
	imageConfig = "application/vnd.oci.image.config.v1+json"
	imageLayer  = "application/vnd.oci.image.layer.v1.tar+gzip"
	helmConfig  = "application/vnd.cncf.helm.config.v1+json"
	helmChart   = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
	wasmConfig  = "application/vnd.wasm.config.v1+json"
	wasmLayer   = "application/vnd.wasm.content.layer.v1+wasm"
	emptyConfig = "application/vnd.oci.empty.v1+json"
	settings    = "application/vnd.example.settings.v1+yaml"
)

// kind is a row of contract B3.
type kind struct {
	name         string
	says         oci.Kind // of itself, when it was verified
	artifactType string
	attached     bool // it is found by the digest of an image, at the tag .sbom
	make         func(t *testing.T, text string) artifact
}

func kinds() []kind {
	sbom := func(mediaType string, content func(*testing.T, string) []byte) kind {
		return kind{"SBOM " + mediaType, oci.SBOM, imageConfig, true, func(t *testing.T, text string) artifact {
			return newArtifact(t, "", blob{imageConfig, encode(t, map[string]any{"rootfs": object{"type": "layers"}})}, blob{mediaType, content(t, text)})
		}}
	}
	wasm := func(annotations object) func(*testing.T, string) artifact {
		return func(t *testing.T, text string) artifact {
			config := encode(t, object{"architecture": "wasm", "os": "wasip1", "annotations": annotations})
			return newArtifact(t, "", blob{wasmConfig, config}, blob{wasmLayer, module(text)})
		}
	}
	return []kind{
		{"image", oci.Image, imageConfig, false, func(t *testing.T, text string) artifact { return newImage(t, "amd64", text) }},
		{"index", oci.Index, "", false, func(t *testing.T, text string) artifact {
			return newIndex(t, newImage(t, "amd64", text), newImage(t, "arm64", text))
		}},
		{"Helm chart", oci.HelmChart, helmConfig, false, func(t *testing.T, text string) artifact {
			config := encode(t, object{"apiVersion": "v2", "name": "web", "version": "1.2.3", "type": "application", "description": text})
			return newArtifact(t, "", blob{helmConfig, config}, blob{helmChart, chart(t, text)})
		}},
		{"Wasm module", oci.Wasm, wasmConfig, false, wasm(nil)},
		{"Kubewarden policy", oci.Wasm, wasmConfig, false, wasm(object{"io.kubewarden.policy.title": "sample"})},
		{"policy bundle", oci.Image, imageConfig, false, func(t *testing.T, text string) artifact {
			return newArtifact(t, "", blob{imageConfig, encode(t, object{"rootfs": object{"type": "layers"}})}, blob{imageLayer, policyBundle(t, text)})
		}},
		{"config file", oci.Artifact, settings, false, func(t *testing.T, text string) artifact {
			return newArtifact(t, settings, blob{emptyConfig, []byte("{}")}, blob{settings, []byte("greeting: " + text + "\n")})
		}},
		sbom("text/spdx", func(_ *testing.T, text string) []byte { return spdxText(text) }),
		sbom("text/spdx+json", spdxJSON),
		sbom("application/vnd.cyclonedx+json", cycloneDX),
	}
}

// object is a JSON object.
type object = map[string]any

// blob is a config or a layer.
type blob struct {
	mediaType string
	content   []byte
}

func (b blob) descriptor() v1.Descriptor {
	return v1.Descriptor{MediaType: types.MediaType(b.mediaType), Digest: hashOf(b.content), Size: int64(len(b.content))}
}

// artifact is a manifest with all that it lists.
type artifact struct {
	mediaType types.MediaType
	manifest  []byte
	blobs     []blob
	children  []artifact
}

func (a artifact) descriptor() v1.Descriptor {
	return v1.Descriptor{MediaType: a.mediaType, Digest: hashOf(a.manifest), Size: int64(len(a.manifest))}
}

func newArtifact(t *testing.T, artifactType string, config blob, layers ...blob) artifact {
	t.Helper()
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: artifactType, Config: config.descriptor()}
	for _, l := range layers {
		m.Layers = append(m.Layers, l.descriptor())
	}
	return artifact{types.OCIManifestSchema1, encode(t, m), append(layers, config), nil}
}

func newImage(t *testing.T, architecture, text string) artifact {
	t.Helper()
	config := encode(t, object{
		"architecture": architecture, "os": "linux", "config": object{"Cmd": []string{"/hello"}},
		"rootfs": object{"type": "layers", "diff_ids": []string{}},
	})
	return newArtifact(t, "", blob{imageConfig, config}, blob{imageLayer, archive(t, file{"hello", "#!/bin/sh\necho " + text + " " + architecture + "\n"})})
}

func newIndex(t *testing.T, children ...artifact) artifact {
	t.Helper()
	m := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	for i, c := range children {
		d := c.descriptor()
		d.Platform = &v1.Platform{OS: "linux", Architecture: []string{"amd64", "arm64"}[i]}
		m.Manifests = append(m.Manifests, d)
	}
	return artifact{types.OCIImageIndex, encode(t, m), nil, children}
}

// push puts the artifact and all that it lists into a registry.
func (a artifact) push(t *testing.T, to name.Reference) {
	t.Helper()
	for _, c := range a.children {
		c.push(t, to.Context().Digest(c.descriptor().Digest.String()))
	}
	for _, b := range a.blobs {
		layer := static.NewLayer(b.content, types.MediaType(b.mediaType))
		if err := remote.WriteLayer(to.Context(), layer, remote.WithContext(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	if err := remote.Put(to, a, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
}

// RawManifest and MediaType make an artifact one that remote takes.
func (a artifact) RawManifest() ([]byte, error)        { return a.manifest, nil }
func (a artifact) MediaType() (types.MediaType, error) { return a.mediaType, nil }

// attachedTag is where something that goes with a manifest is found.
func attachedTag(repo name.Repository, digest v1.Hash, suffix string) name.Tag {
	return repo.Tag(strings.Replace(digest.String(), ":", "-", 1) + suffix)
}

func hashOf(data []byte) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", sha256.Sum256(data))}
}
