package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"sigstack/internal/signing"
)

// Limits on what hangs below one index.
const (
	maxDepth      = 8
	maxManifests  = 1000
	verifyAtATime = 4
)

// node is a manifest with its place in a tree of indexes.
type node struct {
	image
	platform string // "linux/arm64"; "" if the index that lists it does not say
}

// String names the manifest, and the platform if it has one.
func (n node) String() string {
	if n.platform == "" {
		return n.image.String()
	}
	return n.image.String() + " (" + signing.Printable(n.platform, maxType) + ")"
}

// Tree returns the manifest that ref names, as repository@digest, and if that is an
// index every manifest below it, each once and after all that list it.
func (r *Registry) Tree(ctx context.Context, ref string) ([]string, error) {
	nodes, err := r.tree(ctx, ref)
	if err != nil {
		return nil, err
	}
	refs := make([]string, len(nodes))
	for i, n := range nodes {
		refs[i] = n.image.String()
	}
	return refs, nil
}

func (r *Registry) tree(ctx context.Context, ref string) ([]node, error) {
	img, raw, err := r.fetch(ctx, ref)
	if err != nil {
		return nil, err
	}
	w := walk{registry: r, platforms: map[v1.Hash]string{}}
	if err := w.visit(ctx, img, raw, 0); err != nil {
		return nil, fmt.Errorf("read what %s lists: %w", img, err)
	}
	slices.Reverse(w.nodes)
	for i, n := range w.nodes {
		w.nodes[i].platform = w.platforms[n.desc.Digest]
	}
	return w.nodes, nil
}

// walk collects a tree, children before their parents.
type walk struct {
	registry  *Registry
	platforms map[v1.Hash]string // of every manifest that was seen
	nodes     []node
}

func (w *walk) visit(ctx context.Context, img image, raw []byte, depth int) error {
	w.see(v1.Descriptor{Digest: img.desc.Digest})
	children, _, err := listed(img.desc, raw)
	if err != nil {
		return fmt.Errorf("%s: %w", img, err)
	}
	if len(children) > maxManifests { // more than one index may have, before any is fetched
		return fmt.Errorf("%s: it lists more than %d manifests", img, maxManifests)
	}
	if depth == maxDepth && len(children) > 0 {
		return fmt.Errorf("%s: indexes are nested more than %d deep", img, maxDepth)
	}
	// From the last to the first, since the order of all is reversed in the end.
	for _, child := range slices.Backward(children) {
		if again := w.see(child); again {
			continue
		}
		if len(w.platforms) > maxManifests {
			return fmt.Errorf("there are more than %d manifests", maxManifests)
		}
		below, raw, err := w.registry.fetch(ctx, img.repo.Digest(child.Digest.String()).Name())
		if err != nil {
			return err
		}
		if err := w.visit(ctx, below, raw, depth+1); err != nil {
			return err
		}
	}
	w.nodes = append(w.nodes, node{image: img})
	return nil
}

// see books a manifest, and reports whether it was booked before. Of several indexes
// one that names the platform counts.
func (w *walk) see(d v1.Descriptor) (again bool) {
	platform, again := w.platforms[d.Digest]
	if platform == "" && d.Platform != nil {
		platform = d.Platform.String()
	}
	w.platforms[d.Digest] = platform
	return again
}

// listed returns the manifests that an index lists; index is false for any other
// manifest. A registry's word for what it is counts as much as its content: neither
// can hide the children.
func listed(desc v1.Descriptor, raw []byte) (children []v1.Descriptor, index bool, err error) {
	var m v1.IndexManifest
	if err := json.Unmarshal(raw, &m); err != nil {
		if desc.MediaType.IsIndex() {
			return nil, true, fmt.Errorf("parse index: %w", err)
		}
		return nil, false, nil // some other artifact's, which lists nothing
	}
	if !desc.MediaType.IsIndex() && !m.MediaType.IsIndex() && m.Manifests == nil {
		return nil, false, nil
	}
	if err := checkDigests(m.Manifests); err != nil {
		return nil, true, err
	}
	for _, child := range m.Manifests {
		switch {
		case !child.MediaType.IsIndex() && !child.MediaType.IsImage():
			return nil, true, fmt.Errorf("it lists %s of type %q, which is neither an image nor an index", child.Digest, child.MediaType)
		case child.Digest.Algorithm != "sha256":
			return nil, true, fmt.Errorf("it lists %s; images are signed by their SHA-256 digest", child.Digest)
		}
	}
	return m.Manifests, true, nil
}

// ChildrenError says that an index passed, and some of what it lists did not.
type ChildrenError struct {
	Index  string // repository@digest
	Total  int    // manifests below it
	Failed []ChildError
}

// ChildError says why a manifest that an index lists was refused.
type ChildError struct {
	Child string // repository@digest, and the platform
	Err   error
}

// Error names the index, and each child with its reason.
func (e *ChildrenError) Error() string {
	s := fmt.Sprintf("refused: %s passed, but %d of %d manifests below it did not", e.Index, len(e.Failed), e.Total)
	for i, f := range e.Failed {
		if i == maxReasons {
			return s + fmt.Sprintf("; and %d more", len(e.Failed)-i)
		}
		s += map[bool]string{true: ": ", false: "; "}[i == 0] + f.Child + ": " + f.Err.Error()
	}
	return s
}

// Unwrap returns the reasons.
func (e *ChildrenError) Unwrap() []error {
	reasons := make([]error, len(e.Failed))
	for i, f := range e.Failed {
		reasons[i] = f.Err
	}
	return reasons
}

// VerifyRecursive is Verify for the manifest that ref names and, if that is an index,
// for every manifest below it. Errors are those of Verify for the index itself, and a
// *ChildrenError.
func (r *Registry) VerifyRecursive(ctx context.Context, ref string, trusted *signing.TrustRoot, id *signing.Identity, annotations map[string]string) (Verified, error) {
	nodes, err := r.tree(ctx, ref)
	if err != nil {
		return Verified{}, err
	}
	verified := make([]Verified, len(nodes))
	failed := make([]error, len(nodes))
	var g errgroup.Group
	g.SetLimit(verifyAtATime)
	for i, n := range nodes {
		g.Go(func() error {
			verified[i], failed[i] = r.Verify(ctx, n.image.String(), trusted, id, annotations)
			return nil // every child that fails is told
		})
	}
	_ = g.Wait()
	if err := errors.Join(ctx.Err(), failed[0]); err != nil {
		return Verified{}, err
	}
	if err := childrenError(nodes, failed); err != nil {
		return Verified{}, err
	}
	for i := range verified {
		verified[i].ChildrenNotVerified = false
	}
	verified[0].Children = verified[1:]
	return verified[0], nil
}

func childrenError(nodes []node, failed []error) error {
	e := &ChildrenError{Index: nodes[0].image.String(), Total: len(nodes) - 1}
	for i, err := range failed {
		if err != nil {
			e.Failed = append(e.Failed, ChildError{nodes[i].String(), err})
		}
	}
	if len(e.Failed) == 0 {
		return nil
	}
	return e
}
