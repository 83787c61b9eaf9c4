package signing

import (
	"errors"

	"github.com/sigstore/sigstore-go/pkg/root"
)

// envelopeMaterial is a trust root whose authorities timestamp envelopes. By tag,
// the token of an attestation is over the layer, as cosign 2 makes it and all of
// cosign reads it, while upstream's library knows tokens over signatures only. All
// its other rules for tokens, and what rests on their times, hold unchanged.
type envelopeMaterial struct {
	root.TrustedMaterial
	envelope []byte
}

// TimestampingAuthorities returns the trust root's, to be asked about the envelope.
func (m envelopeMaterial) TimestampingAuthorities() []root.TimestampingAuthority {
	authorities := m.TrustedMaterial.TimestampingAuthorities()
	wrapped := make([]root.TimestampingAuthority, len(authorities))
	for i, a := range authorities {
		wrapped[i] = envelopeAuthority{a, m.envelope}
	}
	return wrapped
}

// envelopeAuthority judges tokens over an envelope, in the place of the signature
// inside, which a verifier asks about.
type envelopeAuthority struct {
	authority root.TimestampingAuthority
	envelope  []byte
}

// Verify implements root.TimestampingAuthority.
func (a envelopeAuthority) Verify(token, signature []byte) (*root.Timestamp, error) {
	got, err := a.authority.Verify(token, a.envelope)
	if err == nil {
		return got, nil
	}
	if _, inner := a.authority.Verify(token, signature); inner == nil {
		return nil, errors.New("it is over the signature inside the envelope, as cosign 3 makes it; stored by tag it must be over the whole envelope")
	}
	return nil, err
}
