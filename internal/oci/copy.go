package oci

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"
)

// blobsAtATime is how many blobs of one image are copied at the same time; none of them
// is ever held in memory.
const blobsAtATime = 3

// Copied says what Copy did. What was in its place already is not counted.
type Copied struct {
	Image      string `json:"image"`      // repository@digest of the copy
	Manifests  int    `json:"manifests"`  // copied: of the image and its children
	Blobs      int    `json:"blobs"`      // copied or mounted, those of signatures not counted
	Bytes      int64  `json:"bytes"`      // of those
	Signatures int    `json:"signatures"` // and attestations copied, of both styles
	Left       int    `json:"left"`       // referrers that hold no bundle, which stay where they are
}

// Copy copies the manifest that from names into the repository to, by digest, with all
// that it needs: the manifests below an index, every blob, and of each of these manifests
// the signatures and attestations of both styles. It sets no tag but those of signatures;
// Tag does. What is there already is left as it is, so that a copy that was interrupted
// is finished by the next.
func (r *Registry) Copy(ctx context.Context, from, to string) (Copied, error) {
	target, err := parseReference(to, r.allowHTTP)
	if err != nil {
		return Copied{}, err
	}
	source := r.Glance()
	nodes, err := source.tree(ctx, from)
	if err != nil {
		return Copied{}, err
	}
	c := copier{registry: r.anew(), source: source, from: nodes[0].repo, to: target.Context()}
	c.done.Image = c.to.Name() + "@" + nodes[0].desc.Digest.String()
	// An index comes after what it lists: registries want it so, and so nobody finds a
	// part of it.
	for _, n := range slices.Backward(nodes) {
		if err := c.manifest(ctx, n.desc.Digest); err != nil {
			return c.done, fmt.Errorf("copy %s to %s: %w", n.image, c.to, err)
		}
	}
	for _, n := range nodes {
		if err := c.signatures(ctx, n.image); err != nil {
			return c.done, fmt.Errorf("copy signatures of %s to %s: %w", n.image, c.to, err)
		}
	}
	return c.done, nil
}

// TagMovedError says that a tag is there already and names another manifest.
type TagMovedError struct {
	Tag, Is, Want string // REGISTRY/NAME:TAG, and two digests
}

// Error names the tag and both digests.
func (e *TagMovedError) Error() string {
	return fmt.Sprintf("tag %s is there already and names %s, not %s; a tag that others rely on is never moved: choose another, or remove it", e.Tag, e.Is, e.Want)
}

// SetTag makes the tag that ref names point at the manifest with the digest, which is in
// its repository. A tag that is there is never moved: the error is a *TagMovedError. It
// reports whether the tag was set now.
func (r *Registry) SetTag(ctx context.Context, ref, digest string) (bool, error) {
	parsed, err := parseReference(ref, r.allowHTTP)
	if err != nil {
		return false, err
	}
	tag, ok := parsed.(name.Tag)
	if !ok {
		return false, &ReferenceError{ref, errors.New("it names no tag")}
	}
	r = r.anew()
	if there, err := r.CheckTag(ctx, ref, digest); err != nil || there {
		return false, err
	}
	img, raw, err := r.fetch(ctx, tag.Context().Digest(digest).Name())
	if err != nil {
		return false, err
	}
	if err := r.pusher.Put(ctx, tag, copied{raw, img.desc.MediaType}); err != nil {
		return false, fmt.Errorf("set tag %s: %w", tag, explain(tag.RegistryStr(), err))
	}
	return true, nil
}

// CheckTag reports whether the tag that ref names points at digest. One that points
// elsewhere is a *TagMovedError.
func (r *Registry) CheckTag(ctx context.Context, ref, digest string) (there bool, err error) {
	parsed, err := parseReference(ref, r.allowHTTP)
	if err != nil {
		return false, err
	}
	tag := parsed.Context().Tag(parsed.Identifier())
	is, err := r.digestAt(ctx, tag)
	switch {
	case err != nil:
		return false, fmt.Errorf("read tag %s: %w", tag, explain(tag.RegistryStr(), err))
	case is == v1.Hash{}:
		return false, nil
	case is.String() != digest:
		return false, &TagMovedError{tag.Name(), is.String(), digest}
	}
	return true, nil
}

// copied is a manifest as it was read, to be put elsewhere.
type copied struct {
	raw       []byte
	mediaType types.MediaType
}

// RawManifest implements remote.Taggable.
func (c copied) RawManifest() ([]byte, error) { return c.raw, nil }

// MediaType says what RawManifest is.
func (c copied) MediaType() (types.MediaType, error) { return c.mediaType, nil }

// copier copies from one repository to another.
type copier struct {
	registry *Registry
	source   *Registry // a glance at what is copied
	from, to name.Repository
	done     Copied
}

// manifest copies one manifest, after its blobs.
func (c *copier) manifest(ctx context.Context, digest v1.Hash) error {
	img, raw, err := c.source.fetch(ctx, c.from.Digest(digest.String()).Name())
	if err != nil {
		return err
	}
	if !img.index {
		m, err := parseManifest(raw)
		if err != nil {
			return fmt.Errorf("parse manifest: %w", err)
		}
		if err := c.blobs(ctx, m); err != nil {
			return err
		}
	}
	target := c.to.Digest(digest.String())
	if _, err := c.registry.puller.Head(ctx, target); err == nil {
		return nil
	} else if !notFound(err) {
		return fmt.Errorf("look for %s: %w", target, explain(target.RegistryStr(), err))
	}
	if err := c.registry.pusher.Put(ctx, target, copied{raw, img.desc.MediaType}); err != nil {
		return fmt.Errorf("write manifest: %w", explain(target.RegistryStr(), err))
	}
	c.done.Manifests++
	return nil
}

// blobs copies those of an image that are not there.
func (c *copier) blobs(ctx context.Context, m *v1.Manifest) error {
	descs := append([]v1.Descriptor{m.Config}, m.Layers...)
	moved := make([]int64, len(descs))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(blobsAtATime)
	seen := map[v1.Hash]bool{}
	for i, desc := range descs {
		// The bytes of a layer that is not distributable are at URLs of their own.
		if seen[desc.Digest] || !desc.MediaType.IsDistributable() && desc.MediaType.IsLayer() {
			continue
		}
		seen[desc.Digest] = true
		g.Go(func() (err error) {
			moved[i], err = c.registry.copyBlob(ctx, c.from, c.to, desc)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, n := range moved {
		if n > 0 {
			c.done.Blobs, c.done.Bytes = c.done.Blobs+1, c.done.Bytes+n
		}
	}
	return nil
}

// copyBlob has the registry mount a blob, where both repositories are its own, or streams
// it. It returns how many bytes came by that, 0 if the blob was there.
func (r *Registry) copyBlob(ctx context.Context, from, to name.Repository, desc v1.Descriptor) (int64, error) {
	there, err := r.bulk.puller.Layer(ctx, to.Digest(desc.Digest.String()))
	if err == nil {
		_, err = there.Size() // asks the registry
	}
	if err == nil {
		return 0, nil
	}
	if !notFound(err) {
		return 0, fmt.Errorf("look for blob %s: %w", desc.Digest, explain(to.RegistryStr(), err))
	}
	if from.RegistryStr() == to.RegistryStr() && r.mount(ctx, from, to, desc.Digest) {
		return max(desc.Size, 1), nil
	}
	layer, err := r.bulk.puller.Layer(ctx, from.Digest(desc.Digest.String()))
	if err != nil {
		return 0, fmt.Errorf("read blob %s: %w", desc.Digest, explain(from.RegistryStr(), err))
	}
	if err := r.bulk.pusher.Upload(ctx, to, layer); err != nil {
		return 0, fmt.Errorf("copy blob %s: %w", desc.Digest, explain(to.RegistryStr(), err))
	}
	return max(desc.Size, 1), nil
}
