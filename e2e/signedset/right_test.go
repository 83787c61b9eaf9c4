package signedset

import (
	"os"
	"path/filepath"
	"testing"

	"sigstack/e2e/e2etest"
	"sigstack/internal/release"
	"sigstack/internal/signing"
)

// right: everybody accepts every file of the tree, and every kind is among them. What
// the negatives forge is accepted, too, as long as nothing in it is wrong.
func (l *lab) right(t *testing.T) {
	id := l.stack.IdentityArgs()
	if problems := l.release(t, l.tree, id); len(problems) > 0 {
		t.Fatalf("release verify reports %v of a good tree", problems)
	}
	there := map[string]bool{}
	for _, name := range l.signed(t) {
		there[name] = true
	}
	for _, k := range kinds() {
		if !there[k.path] {
			t.Errorf("%s %s is not signed", k.name, k.path)
		}
	}
	for name := range there {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l.sigstack(t, l.tree, name, id).want(t, "sigstack", "")
			l.cosign3(t, l.tree, name, id).want(t, "cosign 3", "")
			if !(kind{path: name}).bundleOnly() {
				l.cosign2(t, l.tree, name, id).want(t, "cosign 2", "")
			}
		})
	}
	t.Run("forged", func(t *testing.T) {
		t.Parallel()
		tree, name := l.copied(t), kinds()[0].path
		l.ca.sign(t, tree, name, living, true, asItIs)
		if problems := l.release(t, tree, id); len(problems) > 0 {
			t.Errorf("release verify reports %v", problems)
		}
		l.cosign3(t, tree, name, id).want(t, "cosign 3", "")
		l.cosign2(t, tree, name, id).want(t, "cosign 2", "")
	})
	// cosign 2 does look up the log, and where it does not, the certificate's end counts.
	t.Run("cosign 2 without the log", func(t *testing.T) {
		t.Parallel()
		l.cosign2(t, l.tree, kinds()[0].path, id, "--offline").want(t, "cosign 2", "offline verification failed")
		tree, name := l.copied(t), kinds()[0].path
		l.ca.sign(t, tree, name, expired, false, asItIs)
		l.cosign2(t, tree, name, id, "--insecure-ignore-tlog").want(t, "cosign 2", "expired")
		l.ca.sign(t, tree, name, living, false, asItIs)
		l.cosign2(t, tree, name, id, "--insecure-ignore-tlog").want(t, "cosign 2", "")
	})
}

// TestSignedByCosign: what both versions of cosign signed, sigstack verifies, and it
// refuses it with a byte flipped.
func TestSignedByCosign(t *testing.T) {
	t.Parallel()
	s := e2etest.Start(t, t.TempDir())
	token := []string{s.TokenEnv(t)}
	for _, client := range []struct {
		name string
		args []string
	}{
		{"cosign-v3", []string{"--signing-config", s.Kit("signing_config.v0.2.json")}},
		{"cosign-v2", []string{"--new-bundle-format", "--signing-config", s.Kit("signing_config.v0.2.json")}},
		{"cosign-v2", []string{"--new-bundle-format", "--fulcio-url", s.URL, "--rekor-url", s.URL}},
	} {
		for _, k := range []kind{{"tarball", "kubernetes-src.tar.gz"}, {"binary for Windows", "kubectl.exe"}, {"sums file", release.SHA256Sums}} {
			dir := t.TempDir()
			blob := e2etest.WriteFile(t, dir, k.path, "content of "+k.path)
			args := append([]string{"sign-blob", "--yes", "--trusted-root", s.Kit("trusted_root.json"), "--bundle", blob + signing.BundleSuffix}, client.args...)
			e2etest.MustRun(t, token, e2etest.Client(t, client.name), append(args, blob)...)
			l := &lab{stack: s}
			l.sigstack(t, dir, k.path, s.IdentityArgs()).want(t, "sigstack, of what "+client.name+" signed", "")
			flip(t, l, dir, k)
			l.sigstack(t, dir, k.path, s.IdentityArgs()).want(t, "sigstack, of what "+client.name+" signed", refused(signing.CheckArtifact))
			if _, err := os.Stat(filepath.Join(dir, k.path+signing.SignatureSuffix)); err == nil {
				t.Errorf("%s wrote more than a bundle", client.name)
			}
		}
	}
}
