package signing

import (
	"errors"
	"fmt"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/transparency-dev/merkle/proof"
)

// verdict is one verification.
type verdict struct {
	verifier *verify.Verifier
	material root.TrustedMaterial
	bundle   *Bundle
	entries  []*tlog.Entry
	artifact verify.ArtifactPolicyOption
}

// explain finds the first check that err, the verifier's refusal, is due to. It
// runs on failures only, and every branch refuses.
func (j verdict) explain(err error) error {
	if refused := explainLog(j.entries, j.material); refused != nil {
		return refused
	}
	entity := j.bundle.entity
	logTimes, entryErr := verify.VerifyTlogEntry(entity, j.material, len(j.entries), true)
	if entryErr != nil {
		var mismatch proof.RootMismatchError
		if errors.As(entryErr, &mismatch) { // of a Rekor v2 entry, which upstream rebuilds
			entryErr = errors.New("the entry is not of this signature, key and content")
		}
		return refuse(CheckEntry, entryErr)
	}
	times, tokenErrs, tokenErr := verify.VerifySignedTimestamp(entity, j.material)
	if tokenErr = errors.Join(append(tokenErrs, tokenErr)...); tokenErr != nil {
		return refuse(CheckTimestamp, tokenErr)
	}
	for _, t := range logTimes {
		times = append(times, &t)
	}
	policy := verify.WithKey()
	if j.bundle.cert != nil {
		policy = verify.WithoutIdentitiesUnsafe()
		if refused := j.explainCertificate(times); refused != nil {
			return refused
		}
	}
	if _, sigErr := j.verifier.Verify(entity, verify.NewPolicy(j.artifact, policy)); sigErr != nil {
		return refuse(CheckSignature, sigErr)
	}
	return refuse(CheckIdentity, err)
}

// explainCertificate judges the certificate at each time of signing.
func (j verdict) explainCertificate(times []*root.Timestamp) error {
	for _, t := range times {
		chains, err := verify.VerifyLeafCertificate(t.Time, j.bundle.cert, j.material)
		if err != nil {
			return refuse(CheckCertificate, fmt.Errorf("no trusted chain at %s: %w", t.Time.UTC().Format(time.RFC3339), err))
		}
		scts, err := countSCTs(j.bundle.cert)
		if err == nil {
			err = verify.VerifySignedCertificateTimestamp(chains, scts, j.material)
		}
		if err != nil {
			return refuse(CheckSCT, err)
		}
	}
	return nil
}
