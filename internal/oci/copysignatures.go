package oci

import (
	"context"
	"fmt"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// signatures copies what vouches for an image, in both styles. The image must be in its
// new place already: what refers to it is listed there only then.
func (c *copier) signatures(ctx context.Context, img image) error {
	target := image{repo: c.to, desc: img.desc}
	for _, suffix := range []string{signatureSuffix, attestationSuffix, sbomSuffix} {
		if err := c.tag(ctx, img.tag(suffix), target.tag(suffix)); err != nil {
			return fmt.Errorf("tag %s: %w", img.tag(suffix).TagStr(), err)
		}
	}
	list, err := c.source.referrers(ctx, img)
	if err != nil {
		return err
	}
	there, err := c.registry.referrers(ctx, target)
	if err != nil {
		return err
	}
	for _, desc := range list.descs {
		if holdsDigest(there.descs, desc.Digest) {
			continue
		}
		if err := c.referrer(ctx, img, target, desc); err != nil {
			return fmt.Errorf("referrer %s: %w", desc.Digest, err)
		}
	}
	return nil
}

func holdsDigest(descs []v1.Descriptor, digest v1.Hash) bool {
	return slices.ContainsFunc(descs, func(d v1.Descriptor) bool { return d.Digest == digest })
}

// tag copies the image at a tag of signatures, byte for byte, or adds its layers to what
// is there already.
func (c *copier) tag(ctx context.Context, from, to name.Tag) error {
	m, raw, err := c.signatureManifest(ctx, from)
	if m == nil {
		return err
	}
	missing, err := c.missing(ctx, m, to)
	if err != nil {
		return explain(to.RegistryStr(), err)
	}
	if len(missing) == 0 {
		return nil
	}
	if err := c.uncounted(ctx, m); err != nil {
		return err
	}
	err = c.registry.untilKept(ctx, write{
		make: func(ctx context.Context) error { return c.writeTag(ctx, m, raw, to) },
		look: func(ctx context.Context) (bool, error) { return false, c.registry.look(ctx, to, m.Layers...) },
		told: func(err error) error { return fmt.Errorf("copy to %s: %w", to, explain(to.RegistryStr(), err)) },
	})
	if err != nil {
		return err
	}
	c.done.Signatures += len(missing)
	return nil
}

// missing are the layers of m that the image at the tag lacks.
func (c *copier) missing(ctx context.Context, m *v1.Manifest, at name.Tag) ([]v1.Descriptor, error) {
	there, _, err := c.registry.manifest(ctx, at)
	if notFound(err) {
		return m.Layers, nil
	}
	if err != nil {
		return nil, err
	}
	missing := slices.DeleteFunc(slices.Clone(m.Layers), func(d v1.Descriptor) bool { return holds(there, d) })
	for _, layer := range missing {
		if layer.MediaType != signatureType && layer.MediaType != attestationType {
			return nil, fmt.Errorf("%s holds something else already; remove one of them", at)
		}
	}
	return missing, nil
}

// writeTag writes m to a tag that is not there, and adds what is missing to one that is:
// others may have made it since.
func (c *copier) writeTag(ctx context.Context, m *v1.Manifest, raw []byte, to name.Tag) error {
	is, err := c.registry.digestAt(ctx, to)
	if err != nil {
		return err
	}
	if is == (v1.Hash{}) {
		return c.registry.pusher.Put(ctx, to, copied{raw, m.MediaType})
	}
	missing, err := c.missing(ctx, m, to)
	if err != nil {
		return err
	}
	for _, layer := range missing {
		content, err := c.source.blob(ctx, c.from, layer)
		if err != nil {
			return fmt.Errorf("read %s: %w", layer.Digest, err)
		}
		if err := c.registry.writeLayer(ctx, to, addendum(layer, content), false); err != nil {
			return err
		}
	}
	return nil
}

// signatureManifest reads the image at a tag of signatures; without one it is nil.
func (c *copier) signatureManifest(ctx context.Context, tag name.Tag) (*v1.Manifest, []byte, error) {
	got, err := c.source.get(ctx, tag)
	if notFound(err) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, explain(tag.RegistryStr(), err)
	}
	m, err := parseManifest(got.raw)
	if err != nil {
		return nil, nil, fmt.Errorf("parse manifest: %w", err)
	}
	m.MediaType = got.mediaType // as it is served, which is not always in it
	return m, got.raw, nil
}

// referrer copies a manifest that refers to the image and holds a bundle; others stay.
func (c *copier) referrer(ctx context.Context, img, target image, desc v1.Descriptor) error {
	if !mayHoldBundle(desc.ArtifactType) {
		c.done.Left++
		return nil
	}
	got, err := c.source.get(ctx, c.from.Digest(desc.Digest.String()))
	if notFound(err) { // an index at a fallback tag may name what is gone
		c.done.Left++
		return nil
	}
	if err != nil {
		return explain(c.from.RegistryStr(), err)
	}
	m, err := parseManifest(got.raw)
	if err != nil || m.Subject == nil || m.Subject.Digest != img.desc.Digest ||
		!slices.ContainsFunc(m.Layers, func(d v1.Descriptor) bool { return isBundle(string(d.MediaType)) }) {
		c.done.Left++ // nothing that verifying it would look at
		return nil
	}
	if err := c.uncounted(ctx, m); err != nil {
		return err
	}
	if err := c.registry.putReferrer(ctx, target, desc.Digest, copied{got.raw, got.mediaType}); err != nil {
		return err
	}
	c.done.Signatures++
	return nil
}

// uncounted copies the blobs of what is no part of the image itself.
func (c *copier) uncounted(ctx context.Context, m *v1.Manifest) error {
	before := c.done
	err := c.blobs(ctx, m)
	c.done = before
	return err
}
