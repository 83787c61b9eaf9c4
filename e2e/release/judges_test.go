package release

import (
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"sigstack/e2e/clients"
	"sigstack/e2e/e2etest"
	"sigstack/internal/release"
	"sigstack/internal/signing"
)

// judgedByCosign has cosign 2 verify every image by tag, and every .sig and .cert online,
// and cosign 3 every image as a referrer, and every bundle offline.
func (s *site) judgedByCosign(t *testing.T, report release.SignReport) {
	t.Helper()
	var g errgroup.Group
	g.SetLimit(2)
	judge := func(who, what string, verify func() e2etest.Result) {
		g.Go(func() error {
			e2etest.WantAccepted(t, who+" on "+what, verify())
			return nil
		})
	}
	for _, image := range report.Images {
		request := func(kind clients.Kind) clients.Request {
			return clients.Request{
				Kind: kind, Trust: clients.TrustOf(s.stack, clients.Kit), Image: image.Image, Timestamp: true,
				Identity: e2etest.DemoUser, Issuer: s.stack.Issuer(),
			}
		}
		judge("cosign 2", image.Image, func() e2etest.Result { return clients.CosignV2().Verify(t, request(clients.ImageTag)) })
		judge("cosign 3", image.Image, func() e2etest.Result { return clients.CosignV3().Verify(t, request(clients.ImageReferrer)) })
	}
	sigs := s.each(t, signing.SignatureSuffix, func(path string) {
		judge("cosign 2", path, func() e2etest.Result { return s.cosign2(t, path) })
	})
	bundles := s.each(t, signing.BundleSuffix, func(path string) {
		judge("cosign 3", path, func() e2etest.Result { return s.cosign3(t, path) })
	})
	_ = g.Wait() // failures are the test's
	if sigs != files || bundles != files+2 {
		t.Errorf("got %d signatures and %d bundles, want %d and %d", sigs, bundles, files, files+2)
	}
}

// each calls do for every file that has a sidecar of the given suffix.
func (s *site) each(t *testing.T, suffix string, do func(path string)) (n int) {
	t.Helper()
	err := filepath.WalkDir(s.tree, func(path string, _ fs.DirEntry, err error) error {
		if base, ok := strings.CutSuffix(path, suffix); ok {
			do(base)
			n++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// cosign2 judges a file by signature and certificate, which it looks up in the log.
func (s *site) cosign2(t *testing.T, path string) e2etest.Result {
	t.Helper()
	env := []string{
		"SIGSTORE_ROOT_FILE=" + s.stack.Kit("fulcio.crt.pem"), "SIGSTORE_REKOR_PUBLIC_KEY=" + s.stack.Kit("rekor.pub"),
		"SIGSTORE_CT_LOG_PUBLIC_KEY_FILE=" + s.stack.Kit("ctfe.pub"),
	}
	args := []string{
		"verify-blob", "--rekor-url", s.stack.URL, "--signature", path + signing.SignatureSuffix, "--certificate", path + signing.CertificateSuffix, path,
	}
	return e2etest.Run(t, env, e2etest.Client(t, "cosign-v2"), append(args, s.stack.IdentityArgs()...)...)
}

// cosign3 judges a file by its bundle, and may not ask anybody.
func (s *site) cosign3(t *testing.T, path string) e2etest.Result {
	t.Helper()
	args := []string{
		"verify-blob", "--offline", "--trusted-root", s.stack.Kit("trusted_root.json"), "--bundle", path + signing.BundleSuffix, path,
	}
	return e2etest.Run(t, nil, e2etest.Client(t, "cosign-v3"), append(args, s.stack.IdentityArgs()...)...)
}
