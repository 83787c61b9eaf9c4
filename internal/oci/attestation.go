package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"sigstack/internal/signing"
)

// Attestation is what Attest signs of an image as a referrer, before anybody has signed it.
type Attestation struct {
	Image         string // repository@digest
	Statement     []byte // in-toto
	img           image
	predicateType string
}

// PrepareAttestation returns what Attest would sign of the manifest that ref names.
func (r *Registry) PrepareAttestation(ctx context.Context, ref, predicateType string, predicate json.RawMessage) (Attestation, error) {
	if predicateType == SignaturePredicate {
		return Attestation{}, fmt.Errorf("%s is the type of signatures: sign the image instead", predicateType)
	}
	img, err := r.resolve(ctx, ref)
	if err != nil {
		return Attestation{}, err
	}
	subject := signing.Subject{Name: img.repo.Name(), Digest: map[string]string{"sha256": img.desc.Digest.Hex}}
	statement, err := signing.NewStatement([]signing.Subject{subject}, predicateType, predicate)
	return Attestation{img.String(), statement, img, predicateType}, err
}

// SubmitAttestation has a draft of an attestation witnessed and stores it as a referrer of
// the image. Errors are those of Submit.
func (r *Registry) SubmitAttestation(ctx context.Context, s *signing.Session, a Attestation, d signing.Draft) (Signature, error) {
	if d.Digest != signing.StatementDigest(a.Statement) {
		return Signature{}, errors.New("submit draft: it is over another statement")
	}
	d.Statement = a.Statement
	signed, err := s.Submit(ctx, d)
	if err != nil {
		return Signature{}, err
	}
	return r.storeReferrer(ctx, a.img, signed, a.predicateType)
}
