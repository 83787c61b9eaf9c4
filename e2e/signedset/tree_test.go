package signedset

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigstack/e2e/e2etest"
	"sigstack/internal/release"
	"sigstack/internal/signing"
)

// A kind is a kind of file of a release, and the file that stands for it.
type kind struct{ name, path string }

// bundleOnly reports whether the file has a bundle, and no .sig and .cert.
func (k kind) bundleOnly() bool { return k.path == release.SHA256Sums || k.path == release.SHA512Sums }

func kinds() []kind {
	return []kind{
		{"launcher tarball", "kubernetes.tar.gz"},
		{"source bundle", "kubernetes-src.tar.gz"},
		{"client tarball", "kubernetes-client-linux-amd64.tar.gz"},
		{"node tarball", "kubernetes-node-linux-amd64.tar.gz"},
		{"server tarball", "kubernetes-server-linux-amd64.tar.gz"},
		{"test tarball", "kubernetes-test-linux-amd64.tar.gz"},
		{"manifests tarball", "kubernetes-manifests.tar.gz"},
		{"bare binary", "bin/linux/amd64/kubectl"},
		{"binary for Windows", windowsBinary},
		{"image tar", "bin/linux/amd64/kube-apiserver.tar"},
		{"source SBOM", "kubernetes-source.spdx"},
		{"release SBOM", "kubernetes-release.spdx"},
		{"sums file, SHA-256", release.SHA256Sums},
		{"sums file, SHA-512", release.SHA512Sums},
		{"provenance", release.Provenance},
	}
}

// windowsBinary is what only much larger samples have.
const windowsBinary = "bin/windows/amd64/kubectl.exe"

// lab is a stack, and a small release that its demo user has signed.
type lab struct {
	stack *e2etest.Stack
	tree  string
	other string // a file that the same user signed with another certificate
	ca    *mint
}

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{stack: e2etest.Start(t, t.TempDir())}
	dir := t.TempDir()
	e2etest.MustRun(t, nil, e2etest.Sigstack(t), "release", "sample", dir, "--version", "v1.24.0", "--files", "30")
	l.tree = filepath.Join(dir, "release", "v1.24.0")
	addToRelease(t, l.tree, windowsBinary, "MZ, and what a program has\n")
	token := []string{l.stack.TokenEnv(t)}
	e2etest.MustRun(t, token, e2etest.Sigstack(t), "release", "sign", dir, "--client", l.stack.Kit(""))
	l.other = e2etest.WriteFile(t, t.TempDir(), "other", "another file\n")
	e2etest.MustRun(t, token, e2etest.Sigstack(t), "sign", "--client", l.stack.Kit(""), l.other)
	l.ca = newMint(t, l.stack)
	return l
}

// addToRelease puts a file into a tree that is not signed yet, with its checksums.
func addToRelease(t *testing.T, tree, name, content string) {
	t.Helper()
	write(t, tree, name, content)
	sum256, sum512 := sha256.Sum256([]byte(content)), sha512.Sum512([]byte(content))
	for _, s := range []struct {
		file, suffix string
		digest       []byte
	}{{release.SHA256Sums, ".sha256", sum256[:]}, {release.SHA512Sums, ".sha512", sum512[:]}} {
		write(t, tree, name+s.suffix, hex.EncodeToString(s.digest))
		sums, err := release.ParseSums([]byte(read(t, tree, s.file)), len(s.digest))
		if err != nil {
			t.Fatal(err)
		}
		sums = append(sums, release.Sum{Path: name, Digest: s.digest})
		slices.SortFunc(sums, func(a, b release.Sum) int { return strings.Compare(a.Path, b.Path) })
		write(t, tree, s.file, string(release.EncodeSums(sums)))
		redoOwnSums(t, tree, s.file)
	}
}

// redoOwnSums writes the checksums beside a file anew.
func redoOwnSums(t *testing.T, tree, name string) {
	t.Helper()
	content := []byte(read(t, tree, name))
	sum256, sum512 := sha256.Sum256(content), sha512.Sum512(content)
	write(t, tree, name+".sha256", hex.EncodeToString(sum256[:]))
	write(t, tree, name+".sha512", hex.EncodeToString(sum512[:]))
}

// signed lists the files of the tree that have a bundle.
func (l *lab) signed(t *testing.T) []string {
	t.Helper()
	var found []string
	err := fs.WalkDir(os.DirFS(l.tree), ".", func(name string, d fs.DirEntry, err error) error {
		if base, ok := strings.CutSuffix(name, signing.BundleSuffix); ok && !d.IsDir() {
			found = append(found, base)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// copied returns a copy of the tree to tamper with. Its files are those of the tree
// until write replaces one.
func (l *lab) copied(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "v1.24.0")
	err := fs.WalkDir(os.DirFS(l.tree), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return os.Mkdir(filepath.Join(dir, name), 0o700)
		}
		return os.Link(filepath.Join(l.tree, name), filepath.Join(dir, name))
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func read(t *testing.T, tree, name string) string {
	t.Helper()
	return e2etest.ReadFile(t, filepath.Join(tree, filepath.FromSlash(name)))
}

// write makes a file, or another in its place.
func write(t *testing.T, tree, name, content string) {
	t.Helper()
	path := filepath.Join(tree, filepath.FromSlash(name))
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o750), os.RemoveAll(path)); err != nil {
		t.Fatal(err)
	}
	e2etest.WriteFile(t, filepath.Dir(path), filepath.Base(path), content)
}

func remove(t *testing.T, tree, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(tree, filepath.FromSlash(name))); err != nil {
		t.Fatal(err)
	}
}
