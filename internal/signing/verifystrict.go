package signing

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore-go/pkg/verify"

	"sigstack/internal/pki"
)

// oidSubjectAltName is that of RFC 5280 §4.2.1.6.
var oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

// strict makes the checks that one or another verifier in use makes and
// upstream's library does not. It runs on what has passed all others.
func (j verdict) strict(id *Identity, got *verify.VerificationResult) error {
	for _, e := range j.entries {
		log := j.material.RekorLogs()[hex.EncodeToString([]byte(e.LogKeyID()))]
		if err := checkWindow(e, log, got.VerifiedTimestamps); err != nil {
			return refuse(CheckLog, err)
		}
		if e.HasInclusionProof() {
			if err := checkProof(e, log); err != nil {
				return refuse(CheckInclusion, err)
			}
		}
		if err := checkBody(j.bundle, id, e); err != nil {
			return refuse(CheckEntry, err)
		}
	}
	if cert := j.bundle.cert; cert != nil {
		if err := checkLeaf(cert); err != nil {
			return refuse(CheckCertificate, err)
		}
		if err := j.checkIssuance(cert, id); err != nil {
			return err
		}
	}
	if err := checkEncoding(j.bundle, id); err != nil {
		return refuse(CheckSignature, err)
	}
	return nil
}

// checkIssuance checks what the trust root's authorities owe a certificate, the SCTs,
// or of an authority that is named in their place that the certificate is still valid.
func (j verdict) checkIssuance(cert *x509.Certificate, id *Identity) error {
	if id.authority == nil {
		if _, err := countSCTs(cert); err != nil {
			return refuse(CheckSCT, err)
		}
		return nil
	}
	now := id.now()
	if _, err := verifyLeaf(now, cert, j.material); err != nil {
		return refuse(CheckCertificate, fmt.Errorf("it was valid when it signed, and is not at %s: %w", now.UTC().Format(time.RFC3339), err))
	}
	return nil
}

// checkWindow checks a Rekor v2 log's key against the times of signing, since its
// entries have none; that of a v1 log was checked with the promise. Without a time,
// which a bare key does not need, only a key without an end serves.
func checkWindow(e *tlog.Entry, log *root.TransparencyLog, times []verify.TimestampVerificationResult) error {
	if !e.IsRekorV2() {
		return nil
	}
	if len(times) == 0 && !log.ValidityPeriodEnd.IsZero() {
		return fmt.Errorf("nothing says when it was signed, and the log's key is trusted until %s only", log.ValidityPeriodEnd.UTC())
	}
	for _, t := range times {
		if t.Timestamp.Before(log.ValidityPeriodStart) || (!log.ValidityPeriodEnd.IsZero() && t.Timestamp.After(log.ValidityPeriodEnd)) {
			return fmt.Errorf("signed at %s, when the log's key is not trusted", t.Timestamp.UTC())
		}
	}
	return nil
}

// checkLeaf checks that cert is one for signing code, as the CA's profile has it.
func checkLeaf(cert *x509.Certificate) error {
	coded := false
	for _, usage := range cert.ExtKeyUsage {
		coded = coded || usage == x509.ExtKeyUsageCodeSigning
	}
	switch {
	case cert.IsCA || cert.KeyUsage&x509.KeyUsageCertSign != 0:
		return errors.New("it is an authority's")
	case cert.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return errors.New("its key usage has no digital signature")
	case !coded:
		return errors.New("its extended key usage has no code signing")
	}
	return checkNames(cert)
}

// checkNames checks that cert has one subject and one issuer of it: of several,
// verifiers differ in which they compare.
func checkNames(cert *x509.Certificate) error {
	var old, current []byte
	for _, ext := range cert.Extensions {
		switch {
		case ext.Id.Equal(oidSubjectAltName):
			var names []asn1.RawValue
			if rest, err := asn1.Unmarshal(ext.Value, &names); err != nil || len(rest) > 0 {
				return errors.New("its subject names cannot be read")
			}
			if len(names) != 1 {
				return fmt.Errorf("it has %d subject names, want 1", len(names))
			}
		case ext.Id.Equal(pki.OIDIssuerV1):
			old = ext.Value
		case ext.Id.Equal(pki.OIDIssuer):
			var name asn1.RawValue
			if rest, err := asn1.Unmarshal(ext.Value, &name); err != nil || len(rest) > 0 {
				return errors.New("its OIDC issuer cannot be read")
			}
			current = name.Bytes
		}
	}
	if old != nil && current != nil && !bytes.Equal(old, current) {
		return fmt.Errorf("it names two OIDC issuers, %q and %q", old, current)
	}
	return nil
}

// countSCTs returns how many SCTs cert carries, at least one. Every one of them
// has to be of another trusted log.
func countSCTs(cert *x509.Certificate) (int, error) {
	for _, ext := range cert.Extensions {
		if !ext.Id.Equal(pki.OIDSCTList) {
			continue
		}
		scts, err := pki.ParseSCTList(ext.Value)
		if err != nil {
			return 0, fmt.Errorf("read SCTs: %w", err)
		}
		if len(scts) > 0 {
			return len(scts), nil
		}
	}
	return 0, errors.New("the certificate carries no SCT")
}

// checkEncoding checks that an ECDSA signature is in DER, the one form that all
// verifiers read; upstream's library takes the raw form, too.
func checkEncoding(b *Bundle, id *Identity) error {
	public := any(nil)
	if b.cert != nil {
		public = b.cert.PublicKey
	} else {
		public = id.key.public
	}
	if _, ok := public.(*ecdsa.PublicKey); !ok {
		return nil
	}
	var sig struct{ R, S *big.Int }
	if rest, err := asn1.Unmarshal(b.rawSignature(), &sig); err != nil || len(rest) > 0 {
		return errors.New("it is not in DER")
	}
	return nil
}
