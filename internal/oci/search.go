package oci

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"sigstack/internal/signing"
)

// Limits on what one verification looks at. An image that somebody filled with
// more fails to verify, and the error says so, unless one within them passes.
const (
	maxFound  = 256
	maxLooked = 1024      // manifests and layers
	maxBytes  = 256 << 20 // of those
)

// found is one signature or attestation as the registry holds it.
type found struct {
	style   Style
	stored  string // reference to its manifest
	layer   v1.Descriptor
	content []byte // of the layer
}

// bundle reads it in the form that signing judges.
func (f found) bundle() (*signing.Bundle, error) {
	if f.style == Referrer {
		return signing.ParseBundle(f.content)
	}
	t, err := tagSignature(f.layer, f.content)
	if err != nil {
		return nil, &signing.RefusedError{Check: signing.CheckBundle, Err: err}
	}
	return t.Bundle()
}

// search is one look for signatures or attestations of an image.
type search struct {
	img               image
	what              string // for people
	suffix            string // of the tag
	layerType         types.MediaType
	wants             func(predicateType string) bool // asked of what claims to have one
	byTag, byReferrer func(found) (Proof, error)

	found   int
	looked  int
	bytes   int64
	cut     string // why not everything was looked at
	passed  []Proof
	reasons []error
	other   []string // predicate types that were passed over
	at      Looked   // what was there
}

// searchBoth judges everything there is, in both styles.
func (r *Registry) searchBoth(ctx context.Context, s *search) {
	s.at.Tag, s.at.Fallback = s.img.tag(s.suffix).TagStr(), s.img.tag("").TagStr()
	r.searchTag(ctx, s)
	r.searchReferrers(ctx, s)
}

// search is searchBoth with its result, which is explained if nothing passed.
func (r *Registry) search(ctx context.Context, s *search) (Verified, error) {
	r.searchBoth(ctx, s)
	if len(s.passed) == 0 {
		r.beside(ctx, s)
	}
	if err := ctx.Err(); err != nil {
		return Verified{}, err
	}
	switch {
	case len(s.passed) > 0:
		return Verified{Image: s.img.String(), Found: s.found, Passed: s.passed, ChildrenNotVerified: s.img.index}, nil
	case s.found > 0 || s.cut != "":
		return Verified{}, &RefusedError{Image: s.img.String(), What: s.what, Found: s.found, Cut: s.cut, Reasons: s.reasons, At: s.at}
	case len(s.reasons) > 0:
		return Verified{}, fmt.Errorf("look for signatures of %s: %w", s.img, errors.Join(s.reasons...))
	}
	return Verified{}, &UnsignedError{Image: s.img.String(), What: s.what, Other: s.other, At: s.at}
}

// searchTag judges the layers of the image at the tag.
func (r *Registry) searchTag(ctx context.Context, s *search) {
	tag := s.img.tag(s.suffix)
	m, desc, err := r.manifest(ctx, tag)
	s.bytes += desc.Size
	if notFound(err) {
		return
	}
	if err != nil {
		s.at.unread = true
		s.fail(explain(tag.RegistryStr(), err))
		return
	}
	for _, layer := range m.Layers {
		if layer.MediaType != s.layerType {
			continue
		}
		s.at.ByTag++
		if !r.judge(ctx, s, found{style: Tag, stored: tag.Name(), layer: layer}, s.byTag) {
			return
		}
	}
}

// searchReferrers judges what refers to the image and holds a bundle.
func (r *Registry) searchReferrers(ctx context.Context, s *search) {
	list, err := r.referrers(ctx, s.img)
	if err != nil {
		s.at.unread = true
		s.fail(err)
		return
	}
	s.at.Referrers, s.at.API = len(list.descs), list.native
	// Those that say what they are come first, so that others cannot use up the
	// limits before them.
	slices.SortStableFunc(list.descs, func(a, b v1.Descriptor) int {
		return cmp.Compare(rank(a.ArtifactType), rank(b.ArtifactType))
	})
	for _, desc := range list.descs {
		if !mayHoldBundle(desc.ArtifactType) {
			continue
		}
		if !r.judgeReferrer(ctx, s, desc) {
			return
		}
	}
}

func rank(artifactType string) int {
	if isBundle(artifactType) {
		return 0
	}
	return 1
}

// mayHoldBundle tells by the type in a list. Some registries give the config's
// type there, so that only the manifest's layers tell (contract B2).
func mayHoldBundle(artifactType string) bool {
	switch types.MediaType(artifactType) {
	case "", emptyType, types.OCIConfigJSON:
		return true
	}
	return isBundle(artifactType)
}

// judgeReferrer judges the bundle of one referrer; false ends the search.
func (r *Registry) judgeReferrer(ctx context.Context, s *search, desc v1.Descriptor) bool {
	ref := s.img.repo.Digest(desc.Digest.String())
	if !s.more() {
		return false
	}
	m, got, err := r.manifest(ctx, ref)
	s.bytes += got.Size
	if err != nil {
		s.fail(explain(ref.RegistryStr(), err))
		return ctx.Err() == nil
	}
	layers := slices.DeleteFunc(m.Layers, func(d v1.Descriptor) bool { return !isBundle(string(d.MediaType)) })
	switch len(layers) {
	case 0:
		return true // something else that refers to the image
	case 1:
		return r.judge(ctx, s, found{style: Referrer, stored: ref.Name(), layer: layers[0]}, s.byReferrer)
	}
	s.found++
	s.fail(fmt.Errorf("%s has %d bundles in one manifest", ref, len(layers)))
	return true
}

// judge fetches one layer and judges it; false ends the search.
func (r *Registry) judge(ctx context.Context, s *search, f found, verdict func(found) (Proof, error)) bool {
	if !s.more() {
		return false
	}
	var err error
	f.content, err = r.blob(ctx, s.img.repo, f.layer)
	s.bytes += int64(len(f.content))
	if err != nil {
		s.found++
		s.fail(fmt.Errorf("read %s: %w", f.stored, explain(s.img.repo.RegistryStr(), err)))
		return ctx.Err() == nil
	}
	if t := claimedType(f); t != "" && !s.wants(t) {
		if !slices.Contains(s.other, t) {
			s.other = append(s.other, t)
		}
		return true
	}
	s.found++
	if f.style == Referrer {
		s.at.Bundles++
	}
	proof, err := verdict(f)
	if err != nil {
		s.fail(err)
		return true
	}
	s.passed = append(s.passed, proof)
	return true
}

// more books one more look; false means that a limit is reached. What counts is
// what was fetched: sizes in descriptors are anybody's claims.
func (s *search) more() bool {
	s.looked++
	if s.found >= maxFound || s.looked > maxLooked || s.bytes > maxBytes {
		s.cut = fmt.Sprintf("not all were looked at: the limit is %d, in %d manifests and layers of %d bytes", maxFound, maxLooked, maxBytes)
		return false
	}
	return true
}

func (s *search) fail(err error) { s.reasons = append(s.reasons, err) }

// claimedType returns the predicate type that something claims to have, to pass
// over what was not asked for. It is empty for a signature stored by tag and for
// whatever cannot be read, which is then judged and refused.
func claimedType(f found) string {
	if f.layer.MediaType == signatureType {
		return ""
	}
	var content struct {
		Envelope struct {
			Payload []byte `json:"payload"`
		} `json:"dsseEnvelope"`
		Payload []byte `json:"payload"`
	}
	var statement struct {
		PredicateType string `json:"predicateType"`
	}
	if json.Unmarshal(f.content, &content) != nil {
		return ""
	}
	text := content.Payload
	if f.style == Referrer {
		text = content.Envelope.Payload
	}
	if json.Unmarshal(text, &statement) != nil {
		return ""
	}
	return statement.PredicateType
}
