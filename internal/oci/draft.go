package oci

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"sigstack/internal/signing"
)

// Content is what a signature of an image in one style is made of, before anybody has
// signed it. Equal images, styles and annotations make equal contents.
type Content struct {
	Image   string // repository@digest
	Style   Style
	Payload []byte // by tag: the simple signing payload; as a referrer: the statement
	img     image
}

// Digest is what the signature is over.
func (c Content) Digest() [sha256.Size]byte { return SignedDigest(c.Style, c.Payload) }

// SignedDigest is what an image's signature in the given style is over.
func SignedDigest(style Style, payload []byte) [sha256.Size]byte {
	if style == Referrer {
		return signing.StatementDigest(payload)
	}
	return sha256.Sum256(payload)
}

// Prepare returns what Sign would sign of the manifest that ref names.
func (r *Registry) Prepare(ctx context.Context, ref string, style Style, annotations map[string]string) (Content, error) {
	if err := style.Check(); err != nil {
		return Content{}, err
	}
	img, err := r.resolve(ctx, ref)
	if err != nil {
		return Content{}, err
	}
	return prepare(img, style, annotations)
}

func prepare(img image, style Style, annotations map[string]string) (Content, error) {
	c := Content{Image: img.String(), Style: style, img: img}
	var err error
	if style == Tag {
		c.Payload, err = payload{img.repo.Name(), img.desc.Digest.String(), annotations}.encode()
		return c, err
	}
	subject := signing.Subject{Digest: map[string]string{"sha256": img.desc.Digest.Hex}, Annotations: annotations}
	c.Payload, err = signing.NewStatement([]signing.Subject{subject}, SignaturePredicate, nil)
	return c, err
}

// Draft signs a content, and shows the signature to nobody.
func (c Content) Draft(ctx context.Context, s *signing.Session) (signing.Draft, error) {
	if c.Style == Tag {
		return s.DraftDigest(ctx, c.Digest())
	}
	return s.DraftStatement(ctx, c.Payload)
}

// Finished is a signature of an image that is witnessed and verified, and not stored yet.
type Finished struct {
	digest [sha256.Size]byte // what it is over
	signed *signing.Signed
}

// Submit is Finish and Store.
func (r *Registry) Submit(ctx context.Context, s *signing.Session, c Content, d signing.Draft) (Signature, error) {
	f, err := c.Finish(ctx, s, d)
	if err != nil {
		return Signature{}, err
	}
	return r.Store(ctx, c, f)
}

// Finish has a draft of a content witnessed, as signing's Submit does. Errors are those of
// Sign, and signing.ErrSpent and signing.ErrOtherSigner.
func (c Content) Finish(ctx context.Context, s *signing.Session, d signing.Draft) (Finished, error) {
	d.Statement = nil
	if c.Style == Referrer {
		d.Statement = c.Payload
	}
	if d.Digest != c.Digest() {
		return Finished{}, fmt.Errorf("submit draft: it is over something else than a signature of %s", c.Image)
	}
	signed, err := s.Submit(ctx, d)
	return Finished{d.Digest, signed}, err
}

// Store stores a finished signature beside the image. One that was finished for another
// image is refused unless its content is the same: a statement names a manifest by digest
// alone, in whatever repository that is, and a payload names the repository too.
func (r *Registry) Store(ctx context.Context, c Content, f Finished) (Signature, error) {
	if f.signed == nil || f.digest != c.Digest() {
		return Signature{}, fmt.Errorf("store signature: it is over something else than one of %s", c.Image)
	}
	if c.Style == Tag {
		return r.storeByTag(ctx, c.img, signatureSuffix, f.signed, c.Payload, "")
	}
	return r.storeReferrer(ctx, c.img, f.signed, SignaturePredicate)
}

// storeReferrer stores a finished statement as a referrer.
func (r *Registry) storeReferrer(ctx context.Context, img image, signed *signing.Signed, predicateType string) (Signature, error) {
	created := signed.Result.IntegratedTime
	if created.IsZero() {
		created = signed.Result.Timestamp
	}
	digest, err := r.pushReferrer(ctx, img, signed.JSON, predicateType, created.UTC().Format(time.RFC3339))
	if err != nil {
		return Signature{}, err
	}
	return newSignature(img, Referrer, img.repo.Name()+"@"+digest.String(), signed), nil
}

// Proofs are the signatures of the manifest that ref names that pass as by Verify, in both
// styles, the first of each. That there is none is no error; that the registry could not be
// read in full is, since nothing can then be said of what is not found.
func (r *Registry) Proofs(ctx context.Context, ref string, trusted *signing.TrustRoot, id *signing.Identity, annotations map[string]string) (map[Style]Proof, []error, error) {
	img, err := r.resolve(ctx, ref)
	if err != nil {
		return nil, nil, err
	}
	s := signatureSearch(judge{img: img, trusted: trusted, id: id, annotations: annotations, verdicts: r.verdicts})
	r.searchBoth(ctx, s)
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	for _, reason := range s.reasons {
		if s.at.unread || unanswered(reason) {
			return nil, nil, fmt.Errorf("look for signatures of %s: %w", img, reason)
		}
	}
	if s.cut != "" {
		s.reasons = append(s.reasons, errors.New(s.cut))
	}
	proofs := map[Style]Proof{}
	for _, p := range s.passed {
		if _, ok := proofs[p.Style]; !ok {
			proofs[p.Style] = p
		}
	}
	return proofs, s.reasons, nil
}

// unanswered reports whether err is that of a registry that gave no answer to a question,
// rather than one that says no.
func unanswered(err error) bool {
	var answered *transport.Error
	if errors.As(err, &answered) {
		return answered.StatusCode != http.StatusNotFound
	}
	return isNetwork(err)
}
