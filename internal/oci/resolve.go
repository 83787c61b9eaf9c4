package oci

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// image is a manifest to sign or verify: of an image, an index of images, or any
// other artifact. Signatures are by its digest in every case.
type image struct {
	repo  name.Repository
	desc  v1.Descriptor // media type, digest and size only
	index bool          // it lists other manifests
}

// String names the image by digest.
func (i image) String() string { return i.repo.String() + "@" + i.desc.Digest.String() }

// digest returns the SHA-256 digest.
func (i image) digest() []byte {
	raw, err := hex.DecodeString(i.desc.Digest.Hex)
	if err != nil {
		panic("oci: resolve took a digest that is not one: " + err.Error())
	}
	return raw
}

// tag returns the tag that goes with the image: sha256-<hex> and a suffix.
func (i image) tag(suffix string) name.Tag {
	return i.repo.Tag(strings.Replace(i.desc.Digest.String(), ":", "-", 1) + suffix)
}

// resolve finds the manifest that ref names. Its digest is computed from its
// bytes, never taken from a header.
func (r *Registry) resolve(ctx context.Context, ref string) (image, error) {
	img, _, err := r.fetch(ctx, ref)
	return img, err
}

// fetch is resolve, with the manifest's bytes.
func (r *Registry) fetch(ctx context.Context, ref string) (image, []byte, error) {
	parsed, err := parseReference(ref, r.allowHTTP)
	if err != nil {
		return image{}, nil, err
	}
	pinned, byDigest := parsed.(name.Digest)
	if byDigest && !strings.HasPrefix(pinned.DigestStr(), "sha256:") {
		return image{}, nil, &ReferenceError{ref, errors.New("images are signed by their SHA-256 digest")}
	}
	got, err := r.get(ctx, parsed)
	registry := parsed.Context().RegistryStr()
	switch {
	case notFound(err):
		return image{}, nil, fmt.Errorf("registry %s has no %s: %w", registry, parsed.Name(), err)
	case err != nil:
		return image{}, nil, fmt.Errorf("read %s: %w", parsed.Name(), explain(registry, err))
	case got.mediaType.IsSchema1():
		return image{}, nil, fmt.Errorf("read %s: it is a schema 1 image, which has no stable digest; push it anew", parsed.Name())
	}
	desc := v1.Descriptor{MediaType: got.mediaType, Digest: hashOf(got.raw), Size: int64(len(got.raw))}
	if byDigest && desc.Digest.String() != pinned.DigestStr() {
		return image{}, nil, fmt.Errorf("read %s: the registry gave %s instead", parsed.Name(), desc.Digest)
	}
	_, index, _ := listed(desc, got.raw) // one that is broken is signed like any other
	return image{parsed.Context(), desc, index}, got.raw, nil
}

func hashOf(data []byte) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", sha256.Sum256(data))}
}

// manifest fetches and parses the manifest that ref names, with its digest and
// size. An index is refused: signatures are stored in image manifests only.
func (r *Registry) manifest(ctx context.Context, ref name.Reference) (*v1.Manifest, v1.Descriptor, error) {
	got, err := r.get(ctx, ref)
	if err != nil {
		return nil, v1.Descriptor{}, err
	}
	desc := v1.Descriptor{Digest: hashOf(got.raw), Size: int64(len(got.raw))}
	m, err := parseManifest(got.raw)
	if err != nil {
		return nil, desc, fmt.Errorf("parse manifest of %s: %w", ref, err)
	}
	return m, desc, nil
}

// parseManifest reads an image manifest that holds signatures.
func parseManifest(data []byte) (*v1.Manifest, error) {
	if len(data) > maxManifest {
		return nil, fmt.Errorf("%d bytes is more than %d", len(data), maxManifest)
	}
	var m v1.Manifest
	dec := json.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(&m); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is something after it")
	}
	if m.SchemaVersion != 2 || m.MediaType != "" && m.MediaType != types.OCIManifestSchema1 && m.MediaType != types.DockerManifestSchema2 {
		return nil, fmt.Errorf("it is a %q of version %d, not an image manifest", m.MediaType, m.SchemaVersion)
	}
	if err := checkDigests(append([]v1.Descriptor{m.Config}, m.Layers...)); err != nil {
		return nil, err
	}
	return &m, nil
}

// checkDigests: a digest that is there has been parsed with its descriptor, but
// one may be missing.
func checkDigests(descs []v1.Descriptor) error {
	for _, d := range descs {
		if d.Digest == (v1.Hash{}) {
			return fmt.Errorf("a descriptor of type %q has no digest", d.MediaType)
		}
	}
	return nil
}

// blob fetches a blob whose size and digest must be as described.
func (r *Registry) blob(ctx context.Context, repo name.Repository, desc v1.Descriptor) ([]byte, error) {
	if desc.Size < 0 || desc.Size > maxBlob {
		return nil, fmt.Errorf("its size of %d bytes is not between 0 and %d", desc.Size, maxBlob)
	}
	if data, ok := r.glance.blob(desc.Digest); ok && int64(len(data)) == desc.Size {
		return data, nil
	}
	layer, err := r.puller.Layer(ctx, repo.Digest(desc.Digest.String()))
	if err != nil {
		return nil, err
	}
	body, err := layer.Compressed()
	if err != nil {
		return nil, err
	}
	defer body.Close()
	data, err := io.ReadAll(io.LimitReader(body, desc.Size+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) != desc.Size || hashOf(data) != desc.Digest {
		return nil, fmt.Errorf("the registry gave %d bytes of digest %s for %s", len(data), hashOf(data), desc.Digest)
	}
	r.glance.keepBlob(desc.Digest, data)
	return data, nil
}
