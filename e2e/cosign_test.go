package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigstack/e2e/e2etest"
)

func TestCosignSignsAndVerifiesWithTheKit(t *testing.T) {
	s := e2etest.Start(t, t.TempDir())
	dir := t.TempDir()
	blob, bundle := e2etest.WriteFile(t, dir, "blob", "hello\n"), filepath.Join(dir, "bundle.json")
	s.SignWithCosign(t, blob, bundle)
	e2etest.WantAccepted(t, "cosign", s.VerifyWithCosign(t, blob, bundle))
	e2etest.WantAccepted(t, "sigstack", s.Verify(t, blob, bundle))
}

func TestCosignVerifiesWhatSigstackSigned(t *testing.T) {
	s := e2etest.Start(t, t.TempDir())
	dir := t.TempDir()
	e2etest.MustRun(t, nil, e2etest.Sigstack(t), "release", "sample", dir, "--version", "v0.1.0", "--files", "20")
	e2etest.MustRun(t, []string{s.TokenEnv(t)}, e2etest.Sigstack(t), "release", "sign", dir, "--client", s.Kit(""))
	args := append([]string{"release", "verify", dir, "--client", s.Kit("")}, s.IdentityArgs()...)
	e2etest.MustRun(t, nil, e2etest.Sigstack(t), args...)

	verified := 0
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if blob, ok := strings.CutSuffix(path, ".sigstore.json"); ok {
			e2etest.WantAccepted(t, "cosign on "+filepath.Base(blob), s.VerifyWithCosign(t, blob, path))
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
	s := e2etest.Start(t, t.TempDir())
	dir := t.TempDir()
	cache := []string{"TUF_ROOT=" + filepath.Join(dir, "tuf"), s.TokenEnv(t)}
	e2etest.MustRun(t, cache, e2etest.Client(t, "cosign-v3"), "initialize", "--mirror", s.URL+"/tuf", "--root", s.Kit("root.json"))

	blob, bundle := e2etest.WriteFile(t, dir, "blob", "hello\n"), filepath.Join(dir, "bundle.json")
	e2etest.MustRun(t, cache, e2etest.Client(t, "cosign-v3"), "sign-blob", "--yes", "--bundle", bundle, blob)
	args := append([]string{"verify-blob", "--bundle", bundle}, s.IdentityArgs()...)
	e2etest.MustRun(t, cache, e2etest.Client(t, "cosign-v3"), append(args, blob)...)
	e2etest.WantAccepted(t, "sigstack", s.Verify(t, blob, bundle))
}
