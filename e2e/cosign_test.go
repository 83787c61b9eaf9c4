package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// identityArgs demand the demo user's signature, for cosign and for sigstack.
func (s *testStack) identityArgs() []string {
	return []string{"--certificate-identity", demoUser, "--certificate-oidc-issuer", s.issuer()}
}

// cosignSign signs blob with nothing but the kit's two files.
func (s *testStack) cosignSign(blob, bundle string) {
	s.t.Helper()
	mustRun(s.t, []string{s.token()}, cosignBin, "sign-blob", "--yes",
		"--signing-config", s.kit("signing_config.v0.2.json"), "--trusted-root", s.kit("trusted_root.json"),
		"--bundle", bundle, blob)
}

// cosignVerify verifies blob with nothing but the kit's trusted root.
func (s *testStack) cosignVerify(blob, bundle string, identity ...string) result {
	s.t.Helper()
	if len(identity) == 0 {
		identity = s.identityArgs()
	}
	args := append([]string{"verify-blob", "--trusted-root", s.kit("trusted_root.json"), "--bundle", bundle}, identity...)
	return run(s.t, nil, cosignBin, append(args, blob)...)
}

// verify is sigstack's own verdict.
func (s *testStack) verify(blob, bundle string, identity ...string) result {
	s.t.Helper()
	if len(identity) == 0 {
		identity = s.identityArgs()
	}
	args := append([]string{"verify", "--client", s.kit(""), "--bundle", bundle}, identity...)
	return run(s.t, nil, sigstackBin, append(args, blob)...)
}

func wantAccepted(t *testing.T, who string, r result) {
	t.Helper()
	if r.code != 0 {
		t.Errorf("%s refused: exit %d\n%s%s", who, r.code, r.stdout, r.stderr)
	}
}

func TestCosignSignsAndVerifiesWithTheKit(t *testing.T) {
	s := startUp(t, t.TempDir())
	dir := t.TempDir()
	blob, bundle := writeFile(t, dir, "blob", "hello\n"), filepath.Join(dir, "bundle.json")
	s.cosignSign(blob, bundle)
	wantAccepted(t, "cosign", s.cosignVerify(blob, bundle))
	wantAccepted(t, "sigstack", s.verify(blob, bundle))
}

func TestCosignVerifiesWhatSigstackSigned(t *testing.T) {
	s := startUp(t, t.TempDir())
	dir := t.TempDir()
	mustRun(t, nil, sigstackBin, "release", "sample", dir, "--version", "v0.1.0", "--files", "20")
	mustRun(t, []string{s.token()}, sigstackBin, "release", "sign", dir, "--client", s.kit(""))
	args := append([]string{"release", "verify", dir, "--client", s.kit("")}, s.identityArgs()...)
	mustRun(t, nil, sigstackBin, args...)

	verified := 0
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if blob, ok := strings.CutSuffix(path, ".sigstore.json"); ok {
			wantAccepted(t, "cosign on "+filepath.Base(blob), s.cosignVerify(blob, path))
			verified++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	// 20 files of the signed set, and the bundles of both sums files.
	if verified < 22 {
		t.Errorf("cosign verified %d files, want at least 22", verified)
	}
}

func TestCosignFromTheTUFCacheAlone(t *testing.T) {
	s := startUp(t, t.TempDir())
	dir := t.TempDir()
	cache := []string{"TUF_ROOT=" + filepath.Join(dir, "tuf"), s.token()}
	mustRun(t, cache, cosignBin, "initialize", "--mirror", s.url+"/tuf", "--root", s.kit("root.json"))

	blob, bundle := writeFile(t, dir, "blob", "hello\n"), filepath.Join(dir, "bundle.json")
	mustRun(t, cache, cosignBin, "sign-blob", "--yes", "--bundle", bundle, blob)
	args := append([]string{"verify-blob", "--bundle", bundle}, s.identityArgs()...)
	mustRun(t, cache, cosignBin, append(args, blob)...)
	wantAccepted(t, "sigstack", s.verify(blob, bundle))
}
