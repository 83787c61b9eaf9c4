package oci

import (
	"fmt"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// FuzzListed: only an index lists children, each can be signed, and what a registry calls
// an index is one whatever it says.
func FuzzListed(f *testing.F) {
	for _, mediaType := range []types.MediaType{types.OCIManifestSchema1, types.OCIImageIndex, "text/plain"} {
		for _, child := range []types.MediaType{types.DockerManifestSchema2, types.DockerManifestList, types.OCILayer} {
			text := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":"sha256:%s","size":1}]}`, mediaType, child, strings.Repeat("a", 64))
			f.Add(string(mediaType), []byte(text))
		}
	}
	f.Add(string(types.OCIImageIndex), []byte(`{"manifests":null}`))
	f.Fuzz(func(t *testing.T, mediaType string, raw []byte) {
		children, index, err := listed(v1.Descriptor{MediaType: types.MediaType(mediaType)}, raw)
		if types.MediaType(mediaType).IsIndex() && !index {
			t.Error("what the registry calls an index is none")
		}
		if (err != nil || !index) && len(children) > 0 {
			t.Errorf("got %d children with index %v and error %v", len(children), index, err)
		}
		for _, c := range children {
			if c.Digest.Algorithm != "sha256" || len(c.Digest.Hex) != 64 || !c.MediaType.IsIndex() && !c.MediaType.IsImage() {
				t.Errorf("got child %+v, which cannot be signed", c)
			}
		}
	})
}
