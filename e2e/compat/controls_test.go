package compat

import (
	"testing"

	"sigstack/e2e/clients"
	"sigstack/e2e/e2etest"
)

// controlsEach is how many signatures of a kind a verifier is asked about a
// second time, with something changed.
const controlsEach = 2

// control proves that a verifier looks: it demands another signer, or shows
// another file.
func (b *bench) control(t *testing.T, what string, verifier clients.Client, r clients.Request, n int) {
	t.Helper()
	switch {
	case n%2 == 1 && !r.Kind.Image():
		r.File = e2etest.WriteFile(t, t.TempDir(), "blob", "hellp\n")
		wantRefused(t, what+", another file", verifier.Verify(t, r), otherFile[verifier.Name()])
	case b.settings.keyed:
		r.PublicKey = b.other.public
		wantRefused(t, what+", another key", verifier.Verify(t, r), otherKey[verifier.Name()])
	case n%2 == 1:
		r.Issuer += "/other"
		wantRefused(t, what+", another issuer", verifier.Verify(t, r), otherIdentity[verifier.Name()])
	default:
		r.Identity = "mallory@example.com"
		wantRefused(t, what+", another identity", verifier.Verify(t, r), otherIdentity[verifier.Name()])
	}
}

// How each client words its refusals.
var (
	otherFile = map[string]string{
		"cosign-v3": otherFileCosign,
		"cosign-v2": otherFileCosign,
		"sigstore":  "signature verification failed|no subject has the digest",
		"sigstack":  "refused: (artifact digest|attestation)",
	}
	otherKey = map[string]string{
		"cosign-v3": otherKeyCosign,
		"cosign-v2": otherKeyCosign,
		"sigstore":  "signature verification failed|log entry .*mismatch",
		"sigstack":  "identity: the log entry is of another key",
	}
	otherIdentity = map[string]string{
		"cosign-v3": otherIdentityCosign,
		"cosign-v2": otherIdentityCosign,
		"sigstore":  "certificate identity error|invalid certificate extension",
		"sigstack":  "identity: failed to verify certificate identity",
	}
)

// Both versions of cosign call Sigstore bundles and their own by different code.
const (
	otherFileCosign = "provided artifact digests? do(es)? not match (any )?digests? in statement" +
		"|could not verify message: invalid signature|matching bundle to payload"
	otherKeyCosign      = "transparency log certificate does not match|comparing public key PEMs"
	otherIdentityCosign = "no matching CertificateIdentity found|none of the expected identities matched"
)
