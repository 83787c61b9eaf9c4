package oci

import (
	"encoding/json"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Kind says what a manifest holds, by its media types alone (contract
// release-artifacts B3): it is for people and for scripts that expect one.
type Kind string

// The kinds there are. A policy bundle that is stored like an image is an Image.
const (
	Image     Kind = "image"
	Index     Kind = "index"
	HelmChart Kind = "helm-chart"
	Wasm      Kind = "wasm-module"
	SBOM      Kind = "sbom"
	Evidence  Kind = "signature" // or an attestation: what signing stores
	Artifact  Kind = "artifact"  // any other
)

// Config types of artifacts that are not images (B3).
const (
	helmConfigType = types.MediaType("application/vnd.cncf.helm.config.v1+json")
	wasmConfigType = types.MediaType("application/vnd.wasm.config.v1+json")
	wasmLayerType  = types.MediaType("application/vnd.wasm.content.layer.v1+wasm")
)

// kindOf tells what a manifest holds, and its artifact type as OCI 1.1 defines it:
// the one that it states, else its config's. It never fails: what cannot be read
// is an Artifact without a type.
func kindOf(img image, raw []byte) (Kind, string) {
	var m v1.Manifest
	err := json.Unmarshal(raw, &m)
	switch {
	case err != nil && img.index:
		return Index, ""
	case err != nil:
		return Artifact, ""
	case img.index:
		return Index, m.ArtifactType
	}
	artifactType := m.ArtifactType
	if artifactType == "" {
		artifactType = string(m.Config.MediaType)
	}
	if len(m.Layers) == 0 {
		return kindByConfig(artifactType), artifactType
	}
	switch layer := m.Layers[0].MediaType; {
	case isSBOM(layer):
		return SBOM, artifactType
	case layer == signatureType || layer == attestationType || isBundle(string(layer)):
		return Evidence, artifactType
	case layer == wasmLayerType:
		return Wasm, artifactType
	}
	return kindByConfig(artifactType), artifactType
}

func kindByConfig(artifactType string) Kind {
	switch types.MediaType(artifactType) {
	case types.OCIConfigJSON, types.DockerConfigJSON:
		return Image
	case helmConfigType:
		return HelmChart
	case wasmConfigType:
		return Wasm
	}
	return Artifact
}

// isSBOM reports whether a layer's type is one that cosign gives to SBOMs.
func isSBOM(t types.MediaType) bool {
	s := string(t)
	return strings.HasPrefix(s, "text/spdx") || strings.HasPrefix(s, "application/vnd.cyclonedx") ||
		strings.HasPrefix(s, "application/vnd.syft")
}
