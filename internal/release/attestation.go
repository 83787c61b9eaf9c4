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

// checkAttestation verifies the attestation beside a file, if there is one: that
// it is about this file, and by somebody whom the trust root certified. Builders
// attest under their own names, so who may is for a policy to say; the report
// tells who did.
func (v *verification) checkAttestation(r *FileReport, d digests) {
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
	res, statement, err := signing.VerifyStatement(d.sha256[:], "sha256", b, v.Trusted, v.anybody, "")
	if err != nil {
		r.add(Refused, "attestation: "+err.Error())
		return
	}
	r.Attestation = &Attestation{statement.PredicateType, res}
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
