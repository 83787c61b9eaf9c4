package signing

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/transparency-dev/merkle/proof"
)

// verdict is one verification.
type verdict struct {
	verifier *verify.Verifier
	material root.TrustedMaterial
	bundle   *Bundle
	entries  []*tlog.Entry
	artifact verify.ArtifactPolicyOption

	authority *Authority // named in place of the trust root's; nil: none
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
		chains, err := verifyLeaf(t.Time, j.bundle.cert, j.material)
		if err != nil {
			return refuse(CheckCertificate, fmt.Errorf("no trusted chain at %s: %w", t.Time.UTC().Format(time.RFC3339), err))
		}
		if j.authority != nil {
			continue
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

// verifyLeaf returns the trusted chains of a certificate at some time.
func verifyLeaf(at time.Time, cert *x509.Certificate, material root.TrustedMaterial) ([][]*x509.Certificate, error) {
	return verify.VerifyLeafCertificate(at, withName(cert), material)
}

// withName returns cert as crypto/x509 would have read it, did it know the name that
// issuers of type username give (contract ca §6): a critical extension that it does
// not understand, where we do. Upstream's verifier does the same before it looks for
// a chain. Whatever else is critical and not understood stays so.
func withName(cert *x509.Certificate) *x509.Certificate {
	i := slices.IndexFunc(cert.UnhandledCriticalExtensions, oidSubjectAltName.Equal)
	if i < 0 {
		return cert
	}
	if _, err := cryptoutils.UnmarshalOtherNameSAN(cert.Extensions); err != nil {
		return cert
	}
	known := *cert
	known.UnhandledCriticalExtensions = slices.Delete(slices.Clone(cert.UnhandledCriticalExtensions), i, i+1)
	return &known
}
