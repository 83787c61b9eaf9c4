package oci

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sigstack/internal/signing"
)

// The checks that are made here, before or after those of signing.
const (
	CheckPayload     signing.Check = "signature payload" // it is for another manifest, or no payload
	CheckAnnotations signing.Check = "annotations"       // one that was asked for is missing or other
)

// Verified is an image of which at least one signature or attestation passed in
// full.
type Verified struct {
	Image        string  `json:"image"`                   // repository@digest
	Kind         Kind    `json:"kind"`                    // by its manifest, which was verified
	ArtifactType string  `json:"artifact_type,omitempty"` // a media type, or what the signer took for one
	Found        int     `json:"found"`                   // how many were judged
	Passed       []Proof `json:"signatures"`              // at least one; those by tag come first

	// ChildrenNotVerified: it is an index, and what it lists was not looked at.
	ChildrenNotVerified bool       `json:"children_not_verified,omitempty"`
	Children            []Verified `json:"children,omitempty"` // of VerifyRecursive: all below an index
}

// Proof is one signature or attestation that passed. Result.Digest is the image's.
type Proof struct {
	Style         Style             `json:"storage"`
	Stored        string            `json:"stored"`                     // reference to the manifest that holds it
	Layer         string            `json:"layer"`                      // digest of the layer in it that is the bundle, envelope or payload
	Reference     string            `json:"docker_reference,omitempty"` // by tag: the repository as the signer knew it; it may be copied elsewhere
	Annotations   map[string]string `json:"annotations,omitempty"`
	PredicateType string            `json:"predicate_type,omitempty"` // of an attestation
	Predicate     json.RawMessage   `json:"predicate,omitempty"`      // of an attestation
	signing.Result
}

// Verify looks for signatures of the manifest that ref names in both styles, and
// succeeds when at least one is by id, passes every check of signing.Verify by the
// trust root, and holds all the annotations. Otherwise the error is an
// *UnsignedError, a *RefusedError, or says why the registry could not be read.
func (r *Registry) Verify(ctx context.Context, ref string, trusted *signing.TrustRoot, id *signing.Identity, annotations map[string]string) (Verified, error) {
	img, raw, err := r.fetch(ctx, ref)
	if err != nil {
		return Verified{}, err
	}
	got, err := r.search(ctx, signatureSearch(judge{img: img, trusted: trusted, id: id, annotations: annotations, verdicts: r.verdicts}))
	return got.of(img, raw), err
}

// signatureSearch looks for signatures that j accepts.
func signatureSearch(j judge) *search {
	return &search{
		img: j.img, what: "signature", suffix: signatureSuffix, layerType: signatureType,
		wants: func(predicateType string) bool { return predicateType == SignaturePredicate },
		byTag: j.payload, byReferrer: j.signature,
	}
}

// VerifyAttestation looks for attestations of the manifest that ref names in both
// styles; at least one of the predicate types must pass in full, as by
// signing.VerifyStatement. Errors are those of Verify.
func (r *Registry) VerifyAttestation(ctx context.Context, ref string, trusted *signing.TrustRoot, id *signing.Identity, predicateTypes ...string) (Verified, error) {
	switch {
	case len(predicateTypes) == 0 || slices.Contains(predicateTypes, ""):
		return Verified{}, errors.New("verify attestation: say of which type")
	case slices.Contains(predicateTypes, SignaturePredicate):
		return Verified{}, fmt.Errorf("verify attestation: %s is the type of signatures, which are verified as such", SignaturePredicate)
	}
	img, raw, err := r.fetch(ctx, ref)
	if err != nil {
		return Verified{}, err
	}
	j := judge{img: img, trusted: trusted, id: id, predicateTypes: predicateTypes}
	got, err := r.search(ctx, &search{
		img: img, what: "attestation of type " + strings.Join(predicateTypes, " or "),
		suffix: attestationSuffix, layerType: attestationType,
		wants: func(predicateType string) bool { return slices.Contains(predicateTypes, predicateType) },
		byTag: j.attestation, byReferrer: j.attestation,
	})
	return got.of(img, raw), err
}

// of adds what the manifest says of itself, if it passed.
func (v Verified) of(img image, raw []byte) Verified {
	if len(v.Passed) > 0 {
		v.Kind, v.ArtifactType = kindOf(img, raw)
	}
	return v
}

// judge knows what a signature must be like.
type judge struct {
	img            image
	trusted        *signing.TrustRoot
	id             *signing.Identity
	annotations    map[string]string // of a signature
	predicateTypes []string          // of an attestation
	verdicts       *verdicts         // nil: none is remembered
}

func (j judge) refuse(check signing.Check, err error) error {
	return &signing.RefusedError{Check: check, TrustRoot: j.trusted.String(), Err: err}
}

// payload judges a signature stored by tag.
func (j judge) payload(f found) (Proof, error) {
	p, err := decodePayload(f.content)
	if err != nil {
		return Proof{}, j.refuse(CheckPayload, err)
	}
	if p.Digest != j.img.desc.Digest.String() {
		return Proof{}, j.refuse(CheckPayload, fmt.Errorf("it is for %s", p.Digest))
	}
	b, err := f.bundle()
	if err != nil {
		return Proof{}, err
	}
	digest := sha256.Sum256(f.content)
	res, err := signing.VerifyDigest(digest[:], b, j.trusted, j.id)
	if err != nil {
		return Proof{}, err
	}
	if err := lacking(j.annotations, p.Annotations); err != nil {
		return Proof{}, j.refuse(CheckAnnotations, err)
	}
	proof := j.proof(f, res, p.Annotations)
	proof.Reference = p.Reference
	return proof, nil
}

// signature judges a signature stored as a referrer.
func (j judge) signature(f found) (Proof, error) {
	key := judged{sha256.Sum256(f.content), j.img.desc.Digest, j.trusted, j.id}
	if known, ok := j.verdicts.proof(key); ok && len(j.annotations) == 0 {
		return j.proof(f, known.Result, known.Annotations), nil
	}
	proof, err := j.statement(f)
	if err == nil {
		j.verdicts.keep(key, proof)
	}
	return proof, err
}

func (j judge) statement(f found) (Proof, error) {
	b, err := f.bundle()
	if err != nil {
		return Proof{}, err
	}
	res, s, err := signing.VerifyStatement(j.img.digest(), "sha256", b, j.trusted, j.id, SignaturePredicate)
	if err != nil {
		return Proof{}, err
	}
	if len(s.Subjects) != 1 {
		return Proof{}, j.refuse(signing.CheckStatement, fmt.Errorf("it has %d subjects; a signature has one", len(s.Subjects)))
	}
	if err := lacking(j.annotations, s.Subjects[0].Annotations); err != nil {
		return Proof{}, j.refuse(CheckAnnotations, err)
	}
	return j.proof(f, res, s.Subjects[0].Annotations), nil
}

// attestation judges an attestation in either style.
func (j judge) attestation(f found) (Proof, error) {
	b, err := f.bundle()
	if err != nil {
		return Proof{}, err
	}
	res, s, err := signing.VerifyStatement(j.img.digest(), "sha256", b, j.trusted, j.id, "")
	if err != nil {
		return Proof{}, err
	}
	if !slices.Contains(j.predicateTypes, s.PredicateType) {
		return Proof{}, j.refuse(signing.CheckStatement, fmt.Errorf("its predicate type is %q", s.PredicateType))
	}
	p := j.proof(f, res, nil)
	p.PredicateType, p.Predicate = s.PredicateType, s.Predicate
	return p, nil
}

func (j judge) proof(f found, res signing.Result, annotations map[string]string) Proof {
	res.Digest = j.img.desc.Digest.String()
	return Proof{Style: f.style, Stored: f.stored, Layer: f.layer.Digest.String(), Annotations: annotations, Result: res}
}
