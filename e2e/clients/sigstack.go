package clients

import (
	"testing"

	"sigstack/e2e/e2etest"
)

// sigstack is the program under test.
type sigstack struct{}

// Sigstack is sigstack's own client.
func Sigstack() Client { return sigstack{} }

func (sigstack) Name() string { return "sigstack" }

func (sigstack) Version(t *testing.T) string {
	t.Helper()
	return "this tree"
}

// KeyPair is one that cosign made, as most people have them.
func (sigstack) KeyPair(t *testing.T) (private, public string) {
	t.Helper()
	return CosignV3().KeyPair(t)
}

func (c sigstack) Sign(t *testing.T, r Request) e2etest.Result {
	t.Helper()
	args := []string{"sign"}
	if r.Kind.Attests() {
		args = []string{"attest", "--type", r.PredicateType, "--predicate", r.Predicate}
	}
	if r.Kind == BlobLegacy {
		args = append(args, "--new-bundle-format=false")
	}
	if r.Trust.Source == Kit {
		args = append(args, "--trusted-root", r.Trust.File("trusted_root.json"), "--signing-config", signingConfig(t, r))
	}
	var env []string
	if r.PrivateKey != "" {
		args = append(args, "--key", r.PrivateKey)
	} else {
		env = append(env, "SIGSTORE_ID_TOKEN="+r.Token)
	}
	if r.Kind == ImageTag || r.Kind == ImageTagAttestation {
		args = append(args, "--storage", "tag")
	}
	return c.run(t, r, env, args)
}

func (c sigstack) Verify(t *testing.T, r Request) e2etest.Result {
	t.Helper()
	args := []string{"verify"}
	if r.Kind.Attests() {
		args = []string{"verify-attestation", "--type", r.PredicateType}
	}
	if r.Trust.Source == Kit {
		args = append(args, "--client", r.Trust.Dir)
	}
	if r.Timestamp {
		args = append(args, "--require-timestamp")
	}
	if r.Offline {
		args = append(args, "--offline")
	}
	if r.PublicKey != "" {
		args = append(args, "--key", r.PublicKey)
	} else {
		args = append(args, "--certificate-identity", r.Identity, "--certificate-oidc-issuer", r.Issuer)
	}
	return c.run(t, r, nil, args)
}

// run adds what signing and verifying have in common.
func (sigstack) run(t *testing.T, r Request, env, args []string) e2etest.Result {
	t.Helper()
	switch r.Trust.Source {
	case TUF:
		cache, _ := r.Trust.cache(t)
		env = append(env, "XDG_CACHE_HOME="+cache)
		args = append(args, "--tuf-url", r.Trust.Mirror, "--tuf-root", r.Trust.File("root.json"))
	case Env:
		env = append(env, pemVariables(r.Trust)...)
	}
	if r.Kind.Image() {
		args = append(args, "oci://"+r.Image)
	} else {
		args = append(args, "--bundle", r.Bundle, r.File)
	}
	return e2etest.Run(t, env, e2etest.Sigstack(t), args...)
}

func (sigstack) SignLimit(r Request) *Limit {
	switch {
	case r.Kind == BlobLegacy:
		return &Limit{Why: "sigstack writes Sigstore bundles only", Says: "unknown flag: --new-bundle-format"}
	case r.Trust.Source == Env:
		return noVariables()
	}
	return nil
}

func noVariables() *Limit {
	return &Limit{
		Why:  "sigstack takes trust from the kit, from files or from TUF: one named source, no variables that merge with it",
		Says: "no client kit",
	}
}

func (sigstack) VerifyLimit(r Request) *Limit {
	switch {
	case r.Trust.Source == Env:
		return noVariables()
	case r.Kind == ImageTagAttestation && r.Timestamp && r.Signer == "cosign-v3":
		return &Limit{
			Why:  "by tag, sigstack wants the timestamp of an attestation over the whole envelope, as both cosigns do; cosign 3 makes it of the signature inside",
			Says: "it is over the signature inside the envelope",
		}
	case r.Kind == BlobLegacy:
		return &Limit{Why: "sigstack reads Sigstore bundles only", Says: "refused: bundle: parse bundle"}
	}
	return nil
}
