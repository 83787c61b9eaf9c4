package oci

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"sigstack/internal/signing"
)

// SignaturePredicate is the predicate type of an image's signature in referrer
// style; a statement of this type is never an attestation.
const SignaturePredicate = "https://sigstore.dev/cosign/sign/v1"

// Signature is a signature or an attestation that was stored.
type Signature struct {
	Image  string `json:"image"`   // repository@digest that was signed
	Style  Style  `json:"storage"` // where it is
	Stored string `json:"stored"`  // reference to the manifest that holds it
	signing.Result
}

// Sign signs the manifest that ref names, an index without its children, and
// stores the signature beside it. Of style Tag it signs a simple signing payload,
// of style Referrer a statement; annotations are signed with it. Errors are those
// of Session.SignDigest, *ReferenceError and *UnreachableError.
func (r *Registry) Sign(ctx context.Context, s *signing.Session, ref string, style Style, annotations map[string]string) (Signature, error) {
	c, err := r.Prepare(ctx, ref, style, annotations)
	if err != nil {
		return Signature{}, err
	}
	d, err := c.Draft(ctx, s)
	if err != nil {
		return Signature{}, err
	}
	return r.Submit(ctx, s, c, d)
}

// Attest signs a statement with a predicate, a JSON value, about the manifest
// that ref names, and stores it beside that. Errors are those of Sign.
func (r *Registry) Attest(ctx context.Context, s *signing.Session, ref string, style Style, predicateType string, predicate json.RawMessage) (Signature, error) {
	if err := style.Check(); err != nil {
		return Signature{}, err
	}
	if predicateType == SignaturePredicate {
		return Signature{}, fmt.Errorf("%s is the type of signatures: sign the image instead", predicateType)
	}
	img, err := r.resolve(ctx, ref)
	if err != nil {
		return Signature{}, err
	}
	subject := signing.Subject{Name: img.repo.Name(), Digest: map[string]string{"sha256": img.desc.Digest.Hex}}
	return r.signStatement(ctx, s, img, style, subject, predicateType, predicate)
}

// Check returns an error unless s is one of the styles.
func (s Style) Check() error {
	if s != Referrer && s != Tag {
		return fmt.Errorf("storage style %q: want %s or %s", s, Referrer, Tag)
	}
	return nil
}

func (r *Registry) signStatement(ctx context.Context, s *signing.Session, img image, style Style, subject signing.Subject, predicateType string, predicate json.RawMessage) (Signature, error) {
	statement, err := signing.NewStatement([]signing.Subject{subject}, predicateType, predicate)
	if err != nil {
		return Signature{}, err
	}
	if style == Tag {
		signed, err := s.SignStatementByTag(ctx, statement)
		if err != nil {
			return Signature{}, err
		}
		return r.storeByTag(ctx, img, attestationSuffix, signed, nil, predicateType)
	}
	signed, err := s.SignStatement(ctx, statement)
	if err != nil {
		return Signature{}, err
	}
	return r.storeReferrer(ctx, img, signed, predicateType)
}

// storeByTag adds a finished signature to the tag of the given suffix. content is
// what was signed; of an attestation it is nil.
func (r *Registry) storeByTag(ctx context.Context, img image, suffix string, signed *signing.Signed, content []byte, predicateType string) (Signature, error) {
	t, err := signing.NewTagSignature(signed, content)
	if err != nil {
		return Signature{}, err
	}
	mediaTypes := map[string]types.MediaType{signatureSuffix: signatureType, attestationSuffix: attestationType}
	if err := r.appendLayer(ctx, img.tag(suffix), t.Payload, mediaTypes[suffix], layerAnnotations(t, predicateType)); err != nil {
		return Signature{}, err
	}
	return newSignature(img, Tag, img.tag(suffix).Name(), signed), nil
}

func newSignature(img image, style Style, stored string, signed *signing.Signed) Signature {
	s := Signature{Image: img.String(), Style: style, Stored: stored, Result: signed.Result}
	s.Digest = img.desc.Digest.String() // of the image, whatever was signed for it
	return s
}
