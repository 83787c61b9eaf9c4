package release

import (
	"fmt"
	"strings"

	"sigstack/internal/signing"
)

// Attestation says what an attestation beside a file is, and whose.
type Attestation struct {
	PredicateType string `json:"predicate_type"`
	signing.Result
}

// checkAttestation verifies the attestations beside a file, if there are any: that
// each is about this file, and by somebody whom the trust root certified. Builders
// attest under their own names, so who may is for a policy to say; the report
// tells who did.
func (v *verification) checkAttestation(r *FileReport, d digests) {
	v.checkLines(r, d)
	if v.isBase(strings.TrimSuffix(r.Path+AttestationSuffix, signing.BundleSuffix)) {
		return // it is the signature of that file
	}
	data, err := v.sidecar(r, AttestationSuffix)
	if err != nil || data == nil {
		return // reported by sidecar, or not there
	}
	b, err := signing.ParseBundle(data)
	if err != nil {
		r.add(Refused, "attestation: "+err.Error())
		return
	}
	if r.Attestation, err = v.attestation(b, d); err != nil {
		r.add(Refused, "attestation: "+err.Error())
	}
}

// checkLines verifies the attestations that are in one file, one a line.
func (v *verification) checkLines(r *FileReport, d digests) {
	data, err := v.sidecar(r, signing.AttestationsSuffix)
	if err != nil || data == nil {
		return // as above
	}
	lines, err := signing.ParseAttestations(data)
	if err != nil {
		r.add(Refused, "attestations: "+err.Error())
		return
	}
	for _, line := range lines {
		var got *Attestation
		if err = line.Err; err == nil {
			got, err = v.attestation(line.Bundle, d)
		}
		if err != nil {
			r.add(Refused, fmt.Sprintf("attestation in line %d: %v", line.Number, err))
			continue
		}
		r.Attestations = append(r.Attestations, *got)
	}
}

func (v *verification) attestation(b *signing.Bundle, d digests) (*Attestation, error) {
	res, statement, err := signing.VerifyStatement(d.sha256[:], "sha256", b, v.Trusted, v.anybody, "")
	if err != nil {
		return nil, err
	}
	return &Attestation{statement.PredicateType, res}, nil
}

// newAnybody returns the identity that everybody has whom the trust root
// certified.
func newAnybody() *signing.Identity {
	id, err := signing.NewIdentity("", "(?s).*", "", "(?s).*")
	if err != nil {
		panic(fmt.Sprintf("release: these expressions are never refused: %v", err))
	}
	return id
}
