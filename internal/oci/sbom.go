package oci

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// sbomSuffix is that of the tag of an attached SBOM (contract release-artifacts B1).
const sbomSuffix = ".sbom"

// MaxSBOM is the most bytes of an SBOM that is attached.
const MaxSBOM = maxBlob

// Media types of attached SBOMs (contract release-artifacts B3).
const (
	SPDXText      = "text/spdx"
	SPDXJSON      = "text/spdx+json"
	CycloneDXJSON = "application/vnd.cyclonedx+json"
)

// ErrAttached is matched when another SBOM is attached already.
var ErrAttached = errors.New("another SBOM is attached already")

// Attached is an SBOM at the tag sha256-<hex>.sbom of what it describes. It is an
// artifact of its own, which is signed by its own digest: only the name of the tag
// says what it describes, and whoever writes to the repository chooses that.
type Attached struct {
	To        string `json:"attached_to"` // repository@digest that it describes
	Tag       string `json:"tag"`         // repository:sha256-<hex>.sbom
	Image     string `json:"image"`       // repository@digest of the SBOM's own manifest
	MediaType string `json:"media_type"`  // of the SBOM

	repo  name.Repository
	layer v1.Descriptor
}

// AttachSBOM stores an SBOM beside the manifest that ref names, as cosign 2 does it.
// Another SBOM that is there is replaced if that is wanted, otherwise the error
// matches ErrAttached. The same SBOM can be attached again.
func (r *Registry) AttachSBOM(ctx context.Context, ref string, content []byte, mediaType string, replace bool) (Attached, error) {
	if !isSBOM(types.MediaType(mediaType)) || len(content) > MaxSBOM {
		return Attached{}, fmt.Errorf("attach SBOM: %d bytes of type %q: want at most %d of a type of SBOMs", len(content), mediaType, MaxSBOM)
	}
	img, err := r.resolve(ctx, ref)
	if err != nil {
		return Attached{}, err
	}
	tag := img.tag(sbomSuffix)
	layer := mutate.Addendum{Layer: static.NewLayer(content, types.MediaType(mediaType)), MediaType: types.MediaType(mediaType)}
	made, err := mutate.Append(emptyImage(), layer)
	if err != nil {
		return Attached{}, fmt.Errorf("attach SBOM: %w", err)
	}
	digest, err := made.Digest()
	if err != nil {
		return Attached{}, fmt.Errorf("attach SBOM: %w", err)
	}
	attached := Attached{To: img.String(), Tag: tag.Name(), Image: img.repo.Name() + "@" + digest.String(), MediaType: mediaType}
	was, err := r.anew().digestAt(ctx, tag)
	switch {
	case err != nil:
		return Attached{}, fmt.Errorf("attach SBOM: %w", explain(tag.RegistryStr(), err))
	case was == digest:
		return attached, nil
	case was != (v1.Hash{}) && !replace:
		return Attached{}, fmt.Errorf("%w: %s points at %s", ErrAttached, tag, was)
	}
	if err := r.pusher.Push(ctx, tag, made); err != nil {
		return Attached{}, fmt.Errorf("attach SBOM: write %s: %w", tag, explain(tag.RegistryStr(), err))
	}
	return attached, nil
}

// AttachedSBOM finds the SBOM that is attached to the manifest that ref names. What
// it says is verified by nobody yet: Verify does that for its Image.
func (r *Registry) AttachedSBOM(ctx context.Context, ref string) (Attached, error) {
	img, err := r.resolve(ctx, ref)
	if err != nil {
		return Attached{}, err
	}
	tag := img.tag(sbomSuffix)
	m, desc, err := r.manifest(ctx, tag)
	if notFound(err) {
		return Attached{}, fmt.Errorf("refused: %s has no attached SBOM: there is no tag %s; if it has an SBOM attestation, verify that", img, tag.TagStr())
	}
	if err != nil {
		return Attached{}, fmt.Errorf("read %s: %w", tag, explain(tag.RegistryStr(), err))
	}
	if len(m.Layers) != 1 || !isSBOM(m.Layers[0].MediaType) {
		return Attached{}, fmt.Errorf("read %s: it holds something else, not one SBOM", tag)
	}
	return Attached{
		To: img.String(), Tag: tag.Name(), Image: img.repo.Name() + "@" + desc.Digest.String(),
		MediaType: string(m.Layers[0].MediaType), repo: img.repo, layer: m.Layers[0],
	}, nil
}

// ReadSBOM returns the content of an SBOM that AttachedSBOM found, which has the
// digest that its manifest states.
func (r *Registry) ReadSBOM(ctx context.Context, a Attached) ([]byte, error) {
	content, err := r.blob(ctx, a.repo, a.layer)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", a.Image, explain(a.repo.RegistryStr(), err))
	}
	return content, nil
}
