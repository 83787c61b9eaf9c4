package oci

import (
	"context"
	"fmt"
	"io"
	"maps"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Suffixes of the tags that go with an image (contract release-artifacts B1).
const (
	signatureSuffix   = ".sig"
	attestationSuffix = ".att"
)

// appendLayer adds a layer to the image at tag, which is made if there is none.
func (r *Registry) appendLayer(ctx context.Context, tag name.Tag, content []byte, mediaType types.MediaType, annotations map[string]string) error {
	want := v1.Descriptor{MediaType: mediaType, Digest: hashOf(content), Annotations: annotations}
	absent := r.glance.absent(tag)
	r.glance.forget(tag)
	r = r.anew()
	return r.untilKept(ctx, write{
		make: func(ctx context.Context) error {
			first := absent
			absent = false // from now on it may be there
			return r.writeLayer(ctx, tag, addendum(want, content), first)
		},
		look: func(ctx context.Context) (bool, error) { return false, r.look(ctx, tag, want) },
		told: func(err error) error { return fmt.Errorf("write %s: %w", tag, explain(tag.RegistryStr(), err)) },
	})
}

// addendum is a layer to add that is described already.
func addendum(desc v1.Descriptor, content []byte) mutate.Addendum {
	return mutate.Addendum{
		Layer: static.NewLayer(content, desc.MediaType), Annotations: desc.Annotations, MediaType: desc.MediaType,
	}
}

// writeLayer reads the image at tag, adds the layer and writes it back, unless
// the tag has moved meanwhile. One that was absent a moment ago is not read first.
func (r *Registry) writeLayer(ctx context.Context, tag name.Tag, layer mutate.Addendum, absent bool) error {
	base, was := emptyImage(), v1.Hash{}
	if !absent {
		var err error
		if base, was, err = r.base(ctx, tag); err != nil {
			return err
		}
	}
	img, err := mutate.Append(base, layer)
	if err != nil {
		return fmt.Errorf("add layer: %w", err)
	}
	raw, err := img.RawManifest()
	if err != nil {
		return fmt.Errorf("add layer: %w", err)
	}
	if len(raw) > maxManifest {
		return fmt.Errorf("its manifest would have %d bytes, more than %d: it holds too many signatures; store this one as a referrer", len(raw), maxManifest)
	}
	config, err := partial.ConfigLayer(img)
	if err != nil {
		return fmt.Errorf("add layer: %w", err)
	}
	for _, blob := range []v1.Layer{layer.Layer, config} {
		if err := r.uploadLayer(ctx, tag.Context(), blob); err != nil {
			return err
		}
	}
	// The time between this look and the write is what is left to chance.
	now, err := r.digestAt(ctx, tag)
	if err != nil {
		return err
	}
	if now != was {
		return errChanged
	}
	return r.pusher.Put(ctx, tag, img)
}

// uploadLayer stores a blob that is in memory.
func (r *Registry) uploadLayer(ctx context.Context, repo name.Repository, layer v1.Layer) error {
	body, err := layer.Compressed()
	if err != nil {
		return err
	}
	defer body.Close()
	content, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	return r.upload(ctx, repo, content)
}

// base returns the image at tag with its digest, or an empty one and none.
func (r *Registry) base(ctx context.Context, tag name.Tag) (v1.Image, v1.Hash, error) {
	got, err := r.puller.Get(ctx, tag)
	if notFound(err) {
		return emptyImage(), v1.Hash{}, nil
	}
	if err != nil {
		return nil, v1.Hash{}, err
	}
	if _, err := parseManifest(got.Manifest); err != nil {
		return nil, v1.Hash{}, fmt.Errorf("it is there already and holds something else: %w", err)
	}
	img, err := got.Image()
	return img, hashOf(got.Manifest), err
}

// emptyImage has no layers yet.
func emptyImage() v1.Image {
	return mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
}

// digestAt returns the digest that tag points at, the zero value if nowhere.
func (r *Registry) digestAt(ctx context.Context, tag name.Tag) (v1.Hash, error) {
	got, err := r.get(ctx, tag)
	if notFound(err) {
		return v1.Hash{}, nil
	}
	if err != nil {
		return v1.Hash{}, err
	}
	return hashOf(got.raw), nil
}

// look returns errChanged unless what tag points at holds the layers.
func (r *Registry) look(ctx context.Context, tag name.Tag, want ...v1.Descriptor) error {
	m, _, err := r.manifest(ctx, tag)
	if notFound(err) {
		return errChanged
	}
	if err != nil {
		return err
	}
	for _, layer := range want {
		if !holds(m, layer) {
			return errChanged
		}
	}
	return nil
}

func holds(m *v1.Manifest, want v1.Descriptor) bool {
	for _, l := range m.Layers {
		if l.MediaType == want.MediaType && l.Digest == want.Digest && maps.Equal(l.Annotations, want.Annotations) {
			return true
		}
	}
	return false
}
