package signing_test

import (
	"encoding/hex"
	"testing"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"github.com/sigstore/sigstore-go/pkg/testing/data"

	"sigstack/internal/signing"
)

// TestVectors verifies bundles that the clients of their days published, by the roots of
// the public Sigstore: npm's of sigstore 2.0.0 and of slsa-provenance 0.0.7. They come
// with sigstore-go. Of version 0.2, which differs from 0.1 in that it demands a proof,
// npm's is one too as soon as it says so.
func TestVectors(t *testing.T) {
	const js2, slsa, github = "sigstore.js@2.0.0-provenance.sigstore.json", "dsse.sigstore.json", "https://token.actions.githubusercontent.com"
	ofJS := identity(t, "https://github.com/sigstore/sigstore-js/.github/workflows/release.yml@refs/heads/main", "", github, "")
	ofSLSA := identity(t, "", ".+@.+", "https://github.com/login/oauth", "")
	asOld := func(version string) func(*protobundle.Bundle) {
		return func(b *protobundle.Bundle) { b.MediaType = oldMediaType + version }
	}
	withoutRoot := func(b *protobundle.Bundle) {
		asOld("0.2")(b)
		setChain(b, b.GetVerificationMaterial().GetX509CertificateChain().GetCertificates()[:2])
	}
	const jsDigest = "46d4e2f74c4877316640000a6fdf8a8b59f1e0847667973e9859f774dd31b8f1e0937813b777fb66a2ac67d50540fe34640966eee9fc2ccca387082b4c85cd3c"
	const slsaDigest = "bbfd372fc9beeb777fe35d05bb10c0c70a9733d366a75fed7dd18866c7391de3ee7e88ba74dd47abf3e15c845e547fcf0e5c3da80854c751554224d3a6d4e55f"
	for _, tt := range []struct {
		name   string
		file   string
		change func(*protobundle.Bundle)
		digest string
		id     *signing.Identity
		want   signing.Check // empty: accepted
	}{
		{"v0.1 with proof", js2, asOld("0.1"), jsDigest, ofJS, ""},
		{"v0.2", js2, asOld("0.2"), jsDigest, ofJS, ""},
		{"v0.2 whose proof is of another entry", js2, func(b *protobundle.Bundle) {
			asOld("0.2")(b)
			flip(entry(b).InclusionProof.Hashes[0])
		}, jsDigest, ofJS, signing.CheckInclusion},
		{"v0.1 called v0.3", js2, asOld("0.3"), jsDigest, ofJS, signing.CheckBundle},
		{"another identity", js2, asOld("0.1"), jsDigest, identity(t, "", ".*/sigstore-js/.*", "https://gitlab.com", ""), signing.CheckIdentity},
		{"another package", js2, asOld("0.1"), slsaDigest, ofJS, signing.CheckStatement},
		{"v0.1 without proof, with a root", slsa, asOld("0.1"), slsaDigest, ofSLSA, ""},
		{"v0.1 with a root, called v0.2", slsa, asOld("0.2"), slsaDigest, ofSLSA, signing.CheckBundle},
		{"v0.1 without proof, called v0.2", slsa, withoutRoot, slsaDigest, ofSLSA, signing.CheckInclusion},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text, err := data.Bundle(t, tt.file).MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			rootText, err := data.TrustedRoot(t, "public-good.json").MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			trusted, err := signing.NewTrustRoot("kit/trusted_root.json", rootText)
			if err != nil {
				t.Fatal(err)
			}
			digest, err := hex.DecodeString(tt.digest)
			if err != nil {
				t.Fatal(err)
			}
			b, err := signing.ParseBundle(edit(t, text, tt.change))
			if err == nil {
				_, _, err = signing.VerifyStatement(digest, "sha512", b, trusted, tt.id, "")
			}
			switch {
			case tt.want != "":
				wantRefused(t, err, tt.want)
			case err != nil:
				t.Error(err)
			}
		})
	}
}
