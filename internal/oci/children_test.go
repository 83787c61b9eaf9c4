package oci_test

import (
	"fmt"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"sigstack/internal/oci"
)

// nest returns an index that lists what is below it once more each, and itself an
// image that all of them share.
func nest(t *testing.T, depth int) (v1.ImageIndex, v1.Image) {
	t.Helper()
	shared, err := random.Image(64, 1)
	must(t, err)
	index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: shared})
	for range depth {
		index = mutate.AppendManifests(empty.Index,
			mutate.IndexAddendum{Add: shared, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}}},
			mutate.IndexAddendum{Add: index})
	}
	return index, shared
}

func pushNested(t *testing.T, ref string, depth int) (shared v1.Hash) {
	t.Helper()
	index, image := nest(t, depth)
	must(t, remote.WriteIndex(parse(t, ref), index))
	shared, err := image.Digest()
	must(t, err)
	return shared
}

// TestTree: each manifest once, after all that list it, to a depth that has an end.
func TestTree(t *testing.T) {
	t.Parallel()
	host := serve(t, registryHandler(true))
	shared := pushNested(t, host+"/app:v1", 3)
	tree, err := oci.New(oci.Options{}).Tree(t.Context(), host+"/app:v1")
	must(t, err)
	seen := map[string]bool{}
	for _, ref := range tree {
		seen[ref] = true
	}
	if len(tree) != 5 || len(seen) != 5 || tree[4] != host+"/app@"+shared.String() {
		t.Errorf("got %v, want 4 indexes and then the image that all of them list", tree)
	}
	pushNested(t, host+"/app:deep", 9)
	if _, err := oci.New(oci.Options{}).Tree(t.Context(), host+"/app:deep"); err == nil || !strings.Contains(err.Error(), "nested more than 8 deep") {
		t.Errorf("got %v, want the depth refused", err)
	}
	child := fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":%q,"size":1},`, shared)
	wide := manifest{`{"schemaVersion":2,"manifests":[` + strings.TrimSuffix(strings.Repeat(child, 1001), ",") + `]}`, types.OCIManifestSchema1}
	must(t, remote.Put(parse(t, host+"/app:wide"), wide))
	if _, err := oci.New(oci.Options{}).Tree(t.Context(), host+"/app:wide"); err == nil || !strings.Contains(err.Error(), "more than 1000 manifests") {
		t.Errorf("got %v, want the number refused", err)
	}
}

// TestVerifyRecursive: an index that is signed vouches for no child, and each that
// lacks a signature is named.
func TestVerifyRecursive(t *testing.T) {
	t.Parallel()
	s := demo(t)
	registries(t, func(t *testing.T, host string) {
		ref := host + "/app:v1"
		shared := pushNested(t, ref, 1)
		r := oci.New(oci.Options{})
		tree, err := r.Tree(t.Context(), ref)
		must(t, err)
		_, err = r.VerifyRecursive(t.Context(), ref, s.trusted, s.id, nil)
		wantError[*oci.UnsignedError](t, err, tree[0])
		s.sign(t, ref, oci.Tag, nil)
		got, err := s.verify(t.Context(), ref, nil)
		must(t, err)
		if !got.ChildrenNotVerified {
			t.Error("without recursion the answer does not say that children were not looked at")
		}
		_, err = r.VerifyRecursive(t.Context(), ref, s.trusted, s.id, nil)
		wantError[*oci.ChildrenError](t, err, "2 of 2 manifests below it did not", shared.String()+" (linux/arm64)")
		s.sign(t, tree[1], oci.Referrer, nil)
		_, err = r.VerifyRecursive(t.Context(), ref, s.trusted, s.id, nil)
		wantError[*oci.ChildrenError](t, err, "1 of 2 manifests below it did not", shared.String())
		s.sign(t, tree[2], oci.Referrer, nil)
		got, err = r.VerifyRecursive(t.Context(), ref, s.trusted, s.id, nil)
		must(t, err)
		if got.ChildrenNotVerified || len(got.Children) != 2 || got.Children[1].Image != tree[2] {
			t.Errorf("got %+v, want both children verified", got)
		}
		_, err = r.VerifyRecursive(t.Context(), ref, s.trusted, s.id, map[string]string{"env": "prod"})
		wantError[*oci.RefusedError](t, err, "annotation env")
	})
}

// TestOddIndexes: what lists something that cannot be signed is refused, and a registry
// that calls an index an image does not hide what it lists.
func TestOddIndexes(t *testing.T) {
	t.Parallel()
	host := serve(t, registryHandler(true))
	digest := pushImage(t, host+"/app:v1")
	for mediaType, test := range map[string]struct{ child, want string }{
		"application/vnd.oci.image.index.v1+json":    {"text/plain", "neither an image nor an index"},
		"application/vnd.oci.image.manifest.v1+json": {"application/vnd.oci.image.manifest.v1+json", ""},
	} {
		text := fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":%q,"digest":%q,"size":1}]}`, test.child, digest)
		must(t, remote.Put(parse(t, host+"/app:odd"), manifest{text, types.MediaType(mediaType)}))
		tree, err := oci.New(oci.Options{}).Tree(t.Context(), host+"/app:odd")
		switch {
		case test.want == "" && (err != nil || len(tree) != 2):
			t.Errorf("%s: got %v, %v, want the child found", mediaType, tree, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: got %v, want %q", mediaType, err, test.want)
		}
	}
}

// manifest is one as it is put, whatever it says.
type manifest struct {
	text      string
	mediaType types.MediaType
}

// RawManifest implements remote.Taggable.
func (m manifest) RawManifest() ([]byte, error) { return []byte(m.text), nil }

// MediaType is the Content-Type that it is put with.
func (m manifest) MediaType() (types.MediaType, error) { return m.mediaType, nil }
