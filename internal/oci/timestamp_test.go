package oci_test

import (
	"encoding/json"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"sigstack/internal/oci"
	"sigstack/internal/signing"
	"sigstack/internal/signing/signingtest"
)

const timestampKey = "dev.sigstore.cosign/rfc3161timestamp"

// TestTimestampOfAttestation demands a timestamp of attestations, and changes the
// one that is stored by tag.
func TestTimestampOfAttestation(t *testing.T) {
	t.Parallel()
	s := demo(t)
	s.trusted.DemandTimestamp = true
	for _, style := range styles() {
		f := newFixture(t, s, true)
		f.attest(t, f.repo+":v1", style, spdx, `{}`)
		got, err := f.verifyAttestation(t.Context(), f.repo+":v1", spdx)
		must(t, err)
		if got.Passed[0].Timestamp.IsZero() {
			t.Errorf("by %s: got %+v, want a timestamp", style, got)
		}
	}
	var other string // the timestamp of another attestation
	for _, tt := range []struct {
		name   string
		change func(t *testing.T, timestamp string) string
		reason string
	}{
		{"none", func(*testing.T, string) string { return "" }, "one is demanded"},
		{"mutated", func(t *testing.T, timestamp string) string {
			var ts struct{ SignedRFC3161Timestamp []byte }
			must(t, json.Unmarshal([]byte(timestamp), &ts))
			ts.SignedRFC3161Timestamp[len(ts.SignedRFC3161Timestamp)-1] ^= 1
			text, err := json.Marshal(ts)
			must(t, err)
			other = timestamp
			return string(text)
		}, "unable to verify"},
		{"of another attestation", func(*testing.T, string) string { return other }, "hashed messages don't match"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, s, true)
			f.attest(t, f.repo+":v1", oci.Tag, spdx, `{}`)
			tag := f.tag(t, f.image, ".att")
			f.editTag(t, tag, tag, func(m *v1.Manifest) {
				a := m.Layers[0].Annotations
				a[timestampKey] = tt.change(t, a[timestampKey])
			})
			_, err := f.verifyAttestation(t.Context(), f.repo+":v1", spdx)
			wantCheck(t, err, signing.CheckTimestamp, tt.reason)
		})
	}
}

// TestTimestampOfStranger has an attestation by tag whose timestamp is of an
// authority that the verifier's trust root does not know.
func TestTimestampOfStranger(t *testing.T) {
	t.Parallel()
	keys := signingtest.NewKeys(t, time.Now().Add(-time.Hour))
	theirs := keys
	theirs.TSA = signingtest.NewTSA(t, time.Now().Add(-time.Hour))
	f := newFixture(t, newSigner(t, signingtest.NewWith(t, time.Now, theirs), signingtest.Email), true)
	f.attest(t, f.repo+":v1", oci.Tag, spdx, `{}`)
	_, err := f.verifyAttestation(t.Context(), f.repo+":v1", spdx)
	must(t, err)
	f.trusted = newSigner(t, signingtest.NewWith(t, time.Now, keys), signingtest.Email).trusted
	_, err = f.verifyAttestation(t.Context(), f.repo+":v1", spdx)
	wantCheck(t, err, signing.CheckTimestamp, "")
}
