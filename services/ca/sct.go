package ca

import (
	"context"
	"crypto/sha256"
	"crypto/x509/pkix"

	"sigstack/internal/pki"
	"sigstack/services/ca/sct"
)

// poison is the critical extension that makes a certificate unusable (RFC 6962
// §3.1); its value is NULL.
func poison() pkix.Extension {
	return pkix.Extension{Id: pki.OIDPoison, Critical: true, Value: []byte{0x05, 0x00}}
}

// sctList is the extension holding exactly one SCT: clients refuse any other count.
func sctList(sct []byte) (pkix.Extension, error) {
	value, err := pki.MarshalSCTList([][]byte{sct})
	return pkix.Extension{Id: pki.OIDSCTList, Value: value}, err
}

// submit logs a precertificate and returns the SCT, serialized as it is embedded,
// verified to be of tbs: that of the precertificate without the poison.
func (s *Service) submit(ctx context.Context, a *Approval, pre, tbs []byte) ([]byte, error) {
	start := s.cfg.Now()
	defer func() { s.metrics.log.Observe(s.cfg.Now().Sub(start).Seconds()) }()
	return s.scts.Get(ctx, sct.Precert{
		Chain:    append([][]byte{pre}, a.state.chainDER...),
		TBS:      tbs,
		Issuer:   sha256.Sum256(a.state.Chain[0].RawSubjectPublicKeyInfo),
		NotAfter: a.leaf.NotAfter,
	})
}
