package release

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"sigstack/internal/oci"
)

// maxProvenance bounds provenance.json, in bytes.
const maxProvenance = 64 << 20

// ImageReport is the verdict on one image.
type ImageReport struct {
	Image      string      `json:"image"`                // registry/repository@sha256:<hex>
	Ref        string      `json:"ref"`                  // of the list: its own, or the index's that it is below
	Child      bool        `json:"child"`                // it is below the index that Ref names
	Signatures []oci.Proof `json:"signatures,omitempty"` // one of each style that passed
	Problems   []Problem   `json:"problems,omitempty"`
}

// findImages looks up what images there are to verify, and reports those that are not
// where they should be.
func (v *verification) findImages(ctx context.Context) error {
	list, images, err := v.Images.load(v.tree.dir)
	if err != nil {
		return err
	}
	targets, problems, err := findTargets(ctx, v.Images.Registry, images, v.Workers)
	v.problems = append(v.problems, problems...)
	v.checkComplete(list, images)
	v.list, v.targets, v.images = list, targets, make([]ImageReport, len(targets))
	return err
}

// checkComplete demands that a list has every image that the provenance, which is signed as
// every file, is about: a list that somebody cut short would pass otherwise. Images are
// known by their digests, since they may have been promoted to another place.
func (v *verification) checkComplete(list string, images []Image) {
	if list == "" || !v.present[Provenance] {
		return
	}
	var statement struct {
		Subject []subject `json:"subject"`
	}
	data, err := v.tree.read(Provenance, maxProvenance)
	if err == nil {
		err = json.Unmarshal(data, &statement)
	}
	if err != nil {
		v.problem(Provenance, Unreadable, fmt.Sprintf("which images it is about cannot be read: %v", err))
		return
	}
	digests := map[string]bool{}
	for _, image := range images {
		digests[image.Digest] = true
	}
	for _, s := range statement.Subject {
		image := Image{Ref: s.Name, Digest: "sha256:" + s.Digest["sha256"]}
		if image.check() == nil && !v.present[s.Name] && !digests[image.Digest] {
			v.problem(image.String(), Missing, Provenance+" is about it, and "+list+" does not list it")
		}
	}
}

// verifyImage judges one image in every style. Its error is the context's.
func (v *verification) verifyImage(ctx context.Context, i int, t target) error {
	r := &v.images[i]
	r.Image, r.Ref, r.Child = t.pinned, t.Ref, t.child
	v.targets[i].glance = nil
	proofs, reasons, err := t.glance.Proofs(ctx, t.pinned, v.Trusted, v.Identity, nil)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	switch {
	case isNotFound(err):
		r.add(Missing, err.Error())
		return nil
	case err != nil:
		r.add(Unreadable, err.Error())
		return nil
	}
	below := ""
	if t.child {
		below = " (below " + t.Ref + ")"
	}
	for _, style := range v.Images.Styles {
		p, ok := proofs[style]
		switch {
		case ok:
			r.Signatures = append(r.Signatures, p)
		case len(reasons) == 0:
			r.add(Unsigned, fmt.Sprintf("no signature in style %s%s", style, below))
		default:
			r.add(Refused, fmt.Sprintf("no signature in style %s passed%s: %v", style, below, firstOf(reasons)))
		}
	}
	return nil
}

func (r *ImageReport) add(kind Kind, detail string) {
	r.Problems = append(r.Problems, Problem{Path: r.Image, Kind: kind, Detail: detail})
}

// firstOf is the first few of many reasons.
func firstOf(reasons []error) error {
	const most = 3
	return errors.Join(reasons[:min(most, len(reasons))]...)
}
