package keys

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sigstack/cmd/sigstore-kms-hashivault/vaulttest"
	"sigstack/e2e/e2etest"
)

// plugin builds sigstore-kms-hashivault and returns the variables by which it is
// found and finds the server.
func plugin(t *testing.T, vault *vaulttest.Server) []string {
	t.Helper()
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "sigstore-kms-hashivault"), "sigstack/cmd/sigstore-kms-hashivault")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the plugin: %v\n%s", err, out)
	}
	// Under another scheme for cosign, which has hashivault:// built in.
	if err := os.Symlink("sigstore-kms-hashivault", filepath.Join(dir, "sigstore-kms-transit")); err != nil {
		t.Fatal(err)
	}
	e2etest.KeepSecret(vaulttest.Token)
	return append(vault.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
}

// TestVault: a stack whose CA and timestamp keys are in Vault issues what cosign
// verifies; while Vault is sealed signing stops, and goes on afterwards.
func TestVault(t *testing.T) {
	vault := vaulttest.New(t)
	env := plugin(t, vault)
	s := serve(t, e2etest.Sigstack(t), env, []string{"ca=hashivault://ca", "tsa=hashivault://tsa?version=1"})
	if vault.Public("ca", 1) == nil || vault.Public("tsa", 1) == nil {
		t.Fatal("the keys are not in Vault")
	}
	before := vault.Calls()
	s.wantSigned(t, "with Vault")
	if vault.Calls() == before {
		t.Error("Vault was not asked for the signature")
	}
	list := e2etest.MustRun(t, env, s.program, "keys", "list", "--dir", s.home("ca"))
	if !strings.Contains(list, "hashivault://tsa?version=1") {
		t.Errorf("keys list does not say where the key lives:\n%s", list)
	}

	vault.Seal()
	s.wantNoCertificate(t, "ca")
	s.wantStopped(t, "/api/v1/timestamp", "application/json", stampRequest, "tsa")
	s.awaitReadiness(t, http.StatusServiceUnavailable, "key ca is unavailable")
	vault.Unseal()
	s.awaitReadiness(t, http.StatusOK, "")
	s.wantSigned(t, "with Vault again")
}

// TestCosignUsesThePlugin: cosign finds the same program and, without it, the
// same keys, and this stack's log takes its entries.
func TestCosignUsesThePlugin(t *testing.T) {
	vault := vaulttest.New(t)
	env := plugin(t, vault)
	s := serve(t, e2etest.Sigstack(t), env, nil)
	dir := t.TempDir()
	blob := e2etest.WriteFile(t, dir, "blob", "signed in Vault")
	cosign := e2etest.Client(t, "cosign-v3")
	e2etest.MustRun(t, env, cosign, "generate-key-pair", "--kms", "transit://team", "--output-key-prefix", filepath.Join(dir, "team"))
	bundle := filepath.Join(dir, "bundle")
	e2etest.MustRun(t, env, cosign, "sign-blob", "--yes", "--key", "transit://team",
		"--signing-config", s.kit("signing_config.v0.2.json"), "--trusted-root", s.kit("trusted_root.json"), "--bundle", bundle, blob)
	// cosign's own client verifies TLS by the system's authorities.
	builtIn := append(env, "SSL_CERT_FILE="+vault.CACert)
	for key, e := range map[string][]string{filepath.Join(dir, "team.pub"): nil, "transit://team": env, "hashivault://team": builtIn} {
		r := e2etest.Run(t, e, cosign, "verify-blob", "--key", key, "--trusted-root", s.kit("trusted_root.json"), "--bundle", bundle, blob)
		e2etest.WantAccepted(t, "cosign with "+key, r)
	}
}

// stampRequest asks for a timestamp of 32 zero bytes.
const stampRequest = `{"artifactHash":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","hashAlgorithm":"sha256"}`
