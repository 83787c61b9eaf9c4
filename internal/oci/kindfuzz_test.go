package oci

import (
	"encoding/json"
	"slices"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// FuzzKind reads any manifest without panicking. What it says is one of the kinds; an
// index is never taken for anything else, nor anything else for one; and the type is
// the one that the manifest states, if it does.
func FuzzKind(f *testing.F) {
	const digest = `"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0`
	f.Add([]byte(`{"schemaVersion":2,"config":{"mediaType":"application/vnd.cncf.helm.config.v1+json",`+digest+`},"layers":[]}`), false)
	f.Add([]byte(`{"artifactType":"x/y","config":{"mediaType":"a/b",`+digest+`},"layers":[{"mediaType":"text/spdx",`+digest+`}]}`), false)
	f.Add([]byte(`{"artifactType":"x/y","manifests":[{"mediaType":"a/b",`+digest+`}]}`), true)
	f.Add([]byte(`{"layers":[{}]}`), false)
	f.Add([]byte(`[]`), true)
	f.Fuzz(func(t *testing.T, raw []byte, index bool) {
		kind, artifactType := kindOf(image{index: index}, raw)
		all := []Kind{Image, Index, HelmChart, Wasm, SBOM, Evidence, Artifact}
		if !slices.Contains(all, kind) {
			t.Errorf("got kind %q", kind)
		}
		var m v1.Manifest
		readable := json.Unmarshal(raw, &m) == nil
		if (kind == Index) != index {
			t.Errorf("got %s of an index: %v", kind, index)
		}
		if readable && m.ArtifactType != "" && artifactType != m.ArtifactType {
			t.Errorf("got type %q, want the one that is stated, %q", artifactType, m.ArtifactType)
		}
		if !readable && (kind != Artifact && kind != Index || artifactType != "") {
			t.Errorf("got %s of type %q of what cannot be read", kind, artifactType)
		}
	})
}
