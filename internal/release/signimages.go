package release

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"sigstack/internal/oci"
	"sigstack/internal/signing"
)

// How a signature of an image came to be.
type How string

// The ways there are.
const (
	Signed  How = "signed"  // made by this run
	Resumed How = "resumed" // made by a run that was interrupted, and submitted by this one
	Skipped How = "skipped" // there before, and verified again
)

// ImageSignature is what a run did for one image in one style.
type ImageSignature struct {
	Storage  oci.Style `json:"storage"`
	Stored   string    `json:"stored"` // reference to the manifest that holds it
	How      How       `json:"how"`
	LogIndex int64     `json:"log_index"`
}

// SignedImage is what a run did for one image.
type SignedImage struct {
	Image      string           `json:"image"` // registry/repository@sha256:<hex>
	Ref        string           `json:"ref"`   // of the list: its own, or the index's that it is below
	Child      bool             `json:"child"` // it is below the index that Ref names
	Signatures []ImageSignature `json:"signatures"`
}

// signImage signs one image in every style, or verifies that it is signed. The last one to
// be signed has the registry looked at again for all of them, while files are signed.
func (r *run) signImage(ctx context.Context, i int, t target) error {
	r.targets[i].glance = nil
	defer r.statements.done(t.pinned)
	if err := r.signStyles(ctx, i, t); err != nil {
		return imageFailed(t.pinned, err)
	}
	if r.Images.done.Add(1) < int64(len(r.targets)) {
		return nil
	}
	if err := r.Images.Registry.Settle(ctx); err != nil {
		return imageFailed("look at what was stored", err)
	}
	return nil
}

func (r *run) signStyles(ctx context.Context, i int, t target) error {
	proofs, _, err := t.glance.Proofs(ctx, t.pinned, r.Session.Trusted(), r.identity, nil)
	if err != nil {
		return err
	}
	out := SignedImage{Image: t.pinned, Ref: t.Ref, Child: t.child, Signatures: make([]ImageSignature, len(r.Images.Styles))}
	// A style has its own place in the registry, and most of its time is spent waiting.
	g, ctx := errgroup.WithContext(ctx)
	for k, style := range r.Images.Styles {
		if p, ok := proofs[style]; ok {
			out.Signatures[k] = ImageSignature{Storage: style, Stored: p.Stored, How: Skipped, LogIndex: p.LogIndex}
			continue
		}
		g.Go(func() error {
			signed, resumed, err := r.signStyle(ctx, t, style)
			out.Signatures[k] = ImageSignature{Storage: style, Stored: signed.Stored, How: Signed, LogIndex: signed.LogIndex}
			if resumed {
				out.Signatures[k].How = Resumed
			}
			return err
		})
	}
	r.images[i] = out
	return g.Wait()
}

// signStyle signs an image in one style, or stores what was signed for the same manifest in
// another repository.
func (r *run) signStyle(ctx context.Context, t target, style oci.Style) (_ oci.Signature, resumed bool, err error) {
	content, err := t.glance.Prepare(ctx, t.pinned, style, nil)
	if err != nil {
		return oci.Signature{}, false, err
	}
	finished, resumed, err := r.statements.of(content, func(images []string) (oci.Finished, bool, error) {
		return r.journal.finishImage(ctx, r.Session, content, images, r.Now)
	})
	if err != nil {
		return oci.Signature{}, false, err
	}
	signed, err := t.glance.Store(ctx, content, finished)
	return signed, resumed, err
}

// imageFailed names the image, and what to do about a registry.
func imageFailed(image string, err error) error {
	if registryFailed(err) {
		return fmt.Errorf("%s: %w; see to the registry, then run the same command again: it goes on from here", image, err)
	}
	return fmt.Errorf("%s: %w", image, err)
}

// signImage signs the manifest that ref, by digest, names in one style, as finishImage does,
// and stores the signature.
func (j *journal) signImage(
	ctx context.Context, session *signing.Session, registry *oci.Registry, ref string, style oci.Style,
	annotations map[string]string, now func() time.Time,
) (_ oci.Signature, resumed bool, err error) {
	content, err := registry.Prepare(ctx, ref, style, annotations)
	if err != nil {
		return oci.Signature{}, false, err
	}
	finished, resumed, err := j.finishImage(ctx, session, content, []string{content.Image}, now)
	if err != nil {
		return oci.Signature{}, false, err
	}
	signed, err := registry.Store(ctx, content, finished)
	return signed, resumed && err == nil, err
}

// finishImage has a signature of content witnessed. The journal has it before any service.
// One that an interrupted run made of the same content, for one of images, is submitted
// instead, if it still can be, which resumed reports.
func (j *journal) finishImage(
	ctx context.Context, session *signing.Session, content oci.Content, images []string, now func() time.Time,
) (_ oci.Finished, resumed bool, err error) {
	for _, image := range images {
		draft, ok := j.last[imageKey(image, content.Style)]
		if !ok || draft.Digest != content.Digest() {
			continue
		}
		finished, err := content.Finish(ctx, session, draft)
		if !errors.Is(err, signing.ErrSpent) && !errors.Is(err, signing.ErrOtherSigner) {
			return finished, err == nil, err
		}
	}
	draft, err := content.Draft(ctx, session)
	if err != nil {
		return oci.Finished{}, false, err
	}
	line := JournalLine{
		At: now().UTC(), Image: content.Image, Storage: content.Style, Payload: content.Payload,
		SHA256: hex.EncodeToString(draft.Digest[:]), Signature: draft.Signature, Certificate: string(draft.Verifier),
	}
	if err := j.note(line); err != nil {
		return oci.Finished{}, false, err
	}
	finished, err := content.Finish(ctx, session, draft)
	return finished, false, err
}
