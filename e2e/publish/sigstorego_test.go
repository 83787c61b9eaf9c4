package publish

import (
	"bytes"
	"os"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"

	"sigstack/e2e/clients"
)

// verifyWithSigstoreGo demands what a careful program would: a log entry, an SCT and a
// timestamp.
func verifyWithSigstoreGo(r clients.Request) error {
	trusted, err := root.NewTrustedRootFromPath(r.Trust.File("trusted_root.json"))
	if err != nil {
		return err
	}
	b, err := bundle.LoadJSONFromPath(r.Bundle)
	if err != nil {
		return err
	}
	v, err := verify.NewVerifier(trusted, verify.WithTransparencyLog(1), verify.WithSignedCertificateTimestamps(1), verify.WithSignedTimestamps(1))
	if err != nil {
		return err
	}
	identity, err := verify.NewShortCertificateIdentity(r.Issuer, "", r.Identity, "")
	if err != nil {
		return err
	}
	content, err := os.ReadFile(r.File)
	if err != nil {
		return err
	}
	_, err = v.Verify(b, verify.NewPolicy(verify.WithArtifact(bytes.NewReader(content)), verify.WithCertificateIdentity(identity)))
	return err
}
