// Package conformance runs the command for the client conformance protocol
// against a stack, and compares it with cosign in both directions.
package conformance

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sigstack/e2e/e2etest"
)

func TestMain(m *testing.M) { os.Exit(e2etest.Main(m)) }

const (
	text          = "what is signed"
	predicateType = "https://example.com/predicate/v1"
)

// suite is a stack, and the command under test.
type suite struct {
	*e2etest.Stack
	command string
	dir     string
	blob    string
}

func start(t *testing.T) suite {
	t.Helper()
	dir := t.TempDir()
	s := suite{Stack: e2etest.Start(t, filepath.Join(dir, "stack")), command: filepath.Join(dir, "conformance"), dir: dir}
	build := exec.Command("go", "build", "-trimpath", "-o", s.command, "sigstack/tools/conformance")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the command: %v\n%s", err, out)
	}
	s.blob = e2etest.WriteFile(t, dir, "blob", text)
	return s
}

func (s suite) path(name string) string { return filepath.Join(s.dir, name) }

// statement writes an in-toto statement about the blob and returns its path.
func (s suite) statement(t *testing.T) string {
	t.Helper()
	return e2etest.WriteFile(t, s.dir, "statement.json", fmt.Sprintf(
		`{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"blob","digest":{"sha256":"%x"}}],"predicateType":%q,"predicate":{"tests":"passed"}}`,
		sha256.Sum256([]byte(text)), predicateType))
}

// sign runs sign-bundle in the order of the protocol.
func (s suite) sign(t *testing.T, bundle, artifact string, more ...string) {
	t.Helper()
	args := append([]string{"sign-bundle"}, more...)
	args = append(args, "--identity-token", s.Token(t), "--bundle", bundle,
		"--trusted-root", s.Kit("trusted_root.json"), "--signing-config", s.Kit("signing_config.v0.2.json"), artifact)
	e2etest.MustRun(t, nil, s.command, args...)
}

// verify runs verify-bundle in the order of the protocol.
func (s suite) verify(t *testing.T, bundle, identity, artifact string) e2etest.Result {
	t.Helper()
	return e2etest.Run(t, nil, s.command, "verify-bundle", "--bundle", bundle, "--certificate-identity", identity,
		"--certificate-oidc-issuer", s.Issuer(), "--trusted-root", s.Kit("trusted_root.json"), artifact)
}

func (s suite) cosign(t *testing.T, command, bundle, artifact string, more ...string) e2etest.Result {
	t.Helper()
	args := append([]string{command, "--bundle", bundle, "--trusted-root", s.Kit("trusted_root.json")}, s.IdentityArgs()...)
	return e2etest.Run(t, nil, e2etest.Client(t, "cosign-v3"), append(append(args, more...), artifact)...)
}

func wantRefused(t *testing.T, who string, r e2etest.Result, words string) {
	t.Helper()
	if r.Code == 0 || !strings.Contains(r.Stderr, words) {
		t.Errorf("%s: got exit %d and %q, want a refusal with %q", who, r.Code, r.Stderr, words)
	}
}

// TestConformance signs and verifies a blob and an attestation with the command
// and with cosign, each the other's too.
func TestConformance(t *testing.T) {
	s := start(t)
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(text)))
	other := e2etest.WriteFile(t, s.dir, "other", "otherwise")
	kinds := []struct {
		name, verify     string
		mismatch, cosign string   // how another artifact is refused, here and by cosign
		args             []string // of cosign's verification
		ours, theirs     func(bundle string)
	}{
		{
			"blob", "verify-blob", "artifact digest", "invalid signature", nil,
			func(bundle string) { s.sign(t, bundle, s.blob) },
			func(bundle string) { s.SignWithCosign(t, s.blob, bundle) },
		},
		{
			"attestation", "verify-blob-attestation", "attestation", "digest",
			[]string{"--type", predicateType},
			func(bundle string) { s.sign(t, bundle, s.statement(t), "--in-toto") },
			func(bundle string) { s.attestWithCosign(t, bundle) },
		},
	}
	for _, k := range kinds {
		for who, make := range map[string]func(string){"ours": k.ours, "cosign's": k.theirs} {
			t.Run(k.name+"/"+who, func(t *testing.T) {
				bundle := s.path(k.name + "-" + strings.TrimSuffix(who, "'s") + ".sigstore.json")
				make(bundle)
				e2etest.WantAccepted(t, "the command", s.verify(t, bundle, e2etest.DemoUser, s.blob))
				e2etest.WantAccepted(t, "the command, by digest", s.verify(t, bundle, e2etest.DemoUser, digest))
				e2etest.WantAccepted(t, "cosign", s.cosign(t, k.verify, bundle, s.blob, k.args...))

				wantRefused(t, "the command, of another artifact", s.verify(t, bundle, e2etest.DemoUser, other), "refused: "+k.mismatch)
				wantRefused(t, "the command, of another signer", s.verify(t, bundle, "other@sigstack.local", s.blob), "refused: identity")
				wantRefused(t, "cosign, of another artifact", s.cosign(t, k.verify, bundle, other, k.args...), k.cosign)
			})
		}
	}
}

// attestWithCosign attests the blob with cosign.
func (s suite) attestWithCosign(t *testing.T, bundle string) {
	t.Helper()
	e2etest.MustRun(t, []string{s.TokenEnv(t)}, e2etest.Client(t, "cosign-v3"), "attest-blob", "--yes",
		"--bundle", bundle, "--statement", s.statement(t),
		"--trusted-root", s.Kit("trusted_root.json"), "--signing-config", s.Kit("signing_config.v0.2.json"), s.blob)
}

// TestConformanceKey has cosign sign with a key pair.
func TestConformanceKey(t *testing.T) {
	s := start(t)
	cosign := e2etest.Client(t, "cosign-v3")
	for _, name := range []string{"mine", "other"} {
		e2etest.MustRun(t, nil, cosign, "generate-key-pair", "--output-key-prefix", s.path(name))
	}
	bundle := s.path("key.sigstore.json")
	e2etest.MustRun(t, nil, cosign, "sign-blob", "--yes", "--key", s.path("mine.key"), "--bundle", bundle,
		"--trusted-root", s.Kit("trusted_root.json"), "--signing-config", s.Kit("signing_config.v0.2.json"), s.blob)
	verify := func(key string) e2etest.Result {
		return e2etest.Run(t, nil, s.command, "verify-bundle", "--bundle", bundle, "--key", key,
			"--trusted-root", s.Kit("trusted_root.json"), s.blob)
	}
	e2etest.WantAccepted(t, "the command", verify(s.path("mine.pub")))
	wantRefused(t, "the command, by another key", verify(s.path("other.pub")), "refused: identity")
	wantRefused(t, "the command, by an identity", s.verify(t, bundle, e2etest.DemoUser, s.blob), "refused: bundle")
}
