package clients

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"sigstack/e2e/e2etest"
)

// cosign is either major version: they share most flags, but 3 writes Sigstore
// bundles and reads services from a signing config unless told otherwise, and 2
// only when told to.
type cosign struct {
	name string
	v3   bool
}

// CosignV3 is cosign 3.
func CosignV3() Client { return cosign{"cosign-v3", true} }

// CosignV2 is cosign 2.
func CosignV2() Client { return cosign{"cosign-v2", false} }

func (c cosign) Name() string { return c.name }

func (c cosign) Version(t *testing.T) string {
	t.Helper()
	return ModuleVersion(t, e2etest.Client(t, c.name))
}

func (c cosign) KeyPair(t *testing.T) (private, public string) {
	t.Helper()
	prefix := filepath.Join(t.TempDir(), "cosign")
	e2etest.MustRun(t, nil, e2etest.Client(t, c.name), "generate-key-pair", "--output-key-prefix", prefix)
	return prefix + ".key", prefix + ".pub"
}

func (c cosign) Sign(t *testing.T, r Request) e2etest.Result {
	t.Helper()
	env, failed := c.environment(t, r)
	if failed != nil {
		return *failed
	}
	if r.Token != "" {
		env = append(env, "SIGSTORE_ID_TOKEN="+r.Token)
	}
	args := []string{map[Kind]string{
		Blob: "sign-blob", BlobLegacy: "sign-blob", Attestation: "attest-blob",
		ImageTag: "sign", ImageReferrer: "sign", ImageTagAttestation: "attest", ImageReferrerAttestation: "attest",
	}[r.Kind], "--yes"}
	args = append(args, c.services(t, r)...)
	if r.Trust.Source == Kit {
		args = append(args, "--trusted-root", r.Trust.File("trusted_root.json"))
	}
	if r.PrivateKey != "" {
		args = append(args, "--key", r.PrivateKey)
	}
	if r.Kind.Attests() {
		args = append(args, "--type", r.PredicateType, "--predicate", r.Predicate)
	}
	return e2etest.Run(t, env, e2etest.Client(t, c.name), append(args, c.artifact(r)...)...)
}

func (c cosign) Verify(t *testing.T, r Request) e2etest.Result {
	t.Helper()
	env, failed := c.environment(t, r)
	if failed != nil {
		return *failed
	}
	args := []string{map[Kind]string{
		Blob: "verify-blob", BlobLegacy: "verify-blob", Attestation: "verify-blob-attestation",
		ImageTag: "verify", ImageReferrer: "verify",
		ImageTagAttestation: "verify-attestation", ImageReferrerAttestation: "verify-attestation",
	}[r.Kind]}
	if r.Trust.Source == Kit {
		args = append(args, "--trusted-root", r.Trust.File("trusted_root.json"))
	}
	if r.PublicKey != "" {
		args = append(args, "--key", r.PublicKey)
	} else {
		args = append(args, "--certificate-identity", r.Identity, "--certificate-oidc-issuer", r.Issuer)
	}
	if r.Kind.Attests() {
		args = append(args, "--type", r.PredicateType)
	}
	if r.Timestamp {
		args = append(args, "--use-signed-timestamps")
	}
	if r.Timestamp && r.Kind == BlobLegacy {
		args = append(args, "--rfc3161-timestamp", r.Bundle+".tsr")
	}
	args = append(args, c.verifyFormat(r)...)
	return e2etest.Run(t, env, e2etest.Client(t, c.name), append(args, c.artifact(r)...)...)
}

// verifyFormat is what only one version has to be told, or can be.
func (c cosign) verifyFormat(r Request) []string {
	switch {
	case c.v3:
		return nil
	case r.Offline && r.Kind.Bundle():
		return []string{"--offline", "--new-bundle-format"}
	case r.Kind.Bundle():
		return []string{"--new-bundle-format"}
	case r.Offline:
		return []string{"--offline"}
	}
	return []string{"--rekor-url", r.Trust.URL}
}

// artifact is what is signed, and the file with its signature.
func (c cosign) artifact(r Request) []string {
	if r.Kind.Image() {
		return []string{r.Image}
	}
	return []string{"--bundle", r.Bundle, r.File}
}

// environment is that of every run: where cosign finds its trust. Of TUF it
// makes a cache first; how that failed is returned.
func (c cosign) environment(t *testing.T, r Request) (env []string, failed *e2etest.Result) {
	t.Helper()
	switch r.Trust.Source {
	case Env:
		return pemVariables(r.Trust), nil
	case TUF:
		cache, filled := r.Trust.cache(t)
		mirror := r.Trust.Mirror
		if r.Offline {
			// The way upstream has for machines without a network.
			cache, filled, mirror = t.TempDir(), false, "file://"+r.Trust.MirrorCopy
		}
		env = []string{"TUF_ROOT=" + cache}
		if filled {
			return env, nil
		}
		result := e2etest.Run(t, env, e2etest.Client(t, c.name), "initialize",
			"--mirror", mirror, "--root", r.Trust.File("root.json"))
		if result.Code != 0 {
			return nil, &result
		}
		return env, nil
	}
	return nil, nil
}

// pemVariables are those that cosign 2 brought up, as the kit's env.sh sets them.
func pemVariables(trust Trust) []string {
	return []string{
		"SIGSTORE_ROOT_FILE=" + trust.File("fulcio.crt.pem"),
		"SIGSTORE_REKOR_PUBLIC_KEY=" + trust.File("rekor.pub"),
		"SIGSTORE_CT_LOG_PUBLIC_KEY_FILE=" + trust.File("ctfe.pub"),
		"SIGSTORE_TSA_CERTIFICATE_FILE=" + trust.File("tsa.crt.pem"),
	}
}

// services tells where to sign: by a signing config where the format of the
// signature allows one, else by a flag for each service.
func (c cosign) services(t *testing.T, r Request) []string {
	t.Helper()
	var args []string
	switch {
	case c.v3 && !r.Kind.Bundle():
		args = append(args, "--new-bundle-format=false")
	case !c.v3 && r.Kind.Bundle():
		args = append(args, "--new-bundle-format")
	}
	switch {
	case r.Kind.Bundle() && r.Trust.Source == Kit:
		return append(args, "--signing-config", signingConfig(t, r))
	case r.Kind.Bundle() && r.Trust.Source == TUF && r.Timestamp:
		if c.v3 {
			return args
		}
		return append(args, "--use-signing-config")
	}
	if c.v3 {
		args = append(args, "--use-signing-config=false")
	}
	args = append(args, "--rekor-url", r.Trust.URL)
	if r.PrivateKey == "" {
		args = append(args, "--fulcio-url", r.Trust.URL, "--oidc-issuer", r.Trust.Issuer())
	}
	if r.Timestamp {
		args = append(args, "--timestamp-server-url", r.Trust.URL+"/api/v1/timestamp")
	}
	if r.Timestamp && r.Kind == BlobLegacy {
		args = append(args, "--rfc3161-timestamp", r.Bundle+".tsr")
	}
	return args
}

// signingConfig is the kit's, without timestamp authorities if none are wanted.
func signingConfig(t *testing.T, r Request) string {
	t.Helper()
	path := r.Trust.File("signing_config.v0.2.json")
	if r.Timestamp {
		return path
	}
	var config map[string]json.RawMessage
	if err := json.Unmarshal([]byte(e2etest.ReadFile(t, path)), &config); err != nil {
		t.Fatal(err)
	}
	delete(config, "tsaUrls")
	delete(config, "tsaConfig")
	out, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	return e2etest.WriteFile(t, t.TempDir(), "signing_config.v0.2.json", string(out))
}

// SignLimit: both versions sign everything, whatever the source of trust.
func (c cosign) SignLimit(Request) *Limit { return nil }

func (c cosign) VerifyLimit(r Request) *Limit {
	switch {
	case r.Trust.Source == Env && r.Kind.Bundle():
		return &Limit{
			Why:  "cosign reads Sigstore bundles with a trusted root only; the SIGSTORE_* variables switch that off",
			Says: "trusted root is required when using new bundle format",
		}
	case r.Trust.Source == TUF && r.Offline && r.Kind.Bundle():
		return &Limit{
			Why:  "cosign reads a TUF repository on disk (initialize --mirror file://…) for signatures by tag and its own bundles only; for Sigstore bundles it asks over HTTP at each verification",
			Says: `tuf refresh failed: Get "file://.*unsupported protocol scheme`,
		}
	case r.Trust.Source == Kit && r.Kind == BlobLegacy:
		return &Limit{
			Why:  "cosign takes --trusted-root for Sigstore bundles only; its own bundles need TUF or the SIGSTORE_* variables",
			Says: "--trusted-root only supported with --new-bundle-format",
		}
	case r.Trust.Source == Kit && r.Kind == ImageTagAttestation && !c.v3 && r.PublicKey == "":
		return &Limit{
			Why:  "cosign 2 takes --trusted-root for keyless attestations in Sigstore bundles only; those by tag need TUF or the SIGSTORE_* variables",
			Says: "trusted root path currently only supported with --new-bundle-format",
		}
	case r.Kind == ImageTagAttestation && r.Signer == "cosign-v3" && r.Timestamp:
		return &Limit{
			Why:  "cosign 3 timestamps the signature inside the envelope, and looks for a timestamp of the whole envelope, as cosign 2 makes it",
			Says: "hashed messages don't match",
		}
	}
	return nil
}
