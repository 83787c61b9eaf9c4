package release_test

import (
	"bytes"
	"crypto/sha256"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"sigstack/internal/release"
)

// TestSignable is the list of contract release-artifacts §A2, and INTERFACE's
// bundle suffix.
func TestSignable(t *testing.T) {
	for name, want := range map[string]bool{
		"kubernetes.tar.gz":                          true,
		"kubernetes-release.spdx":                    true,
		"bin/linux/amd64/kube-apiserver":             true,
		"bin/linux/amd64/kube-apiserver.tar":         true,
		"bin/windows/amd64/kubectl.exe":              true,
		"provenance.json":                            true,
		"SHA256SUMS":                                 true, // with a bundle only
		"SHA512SUMS":                                 true,
		"bin/SHA256SUMS":                             false,
		"SHA256SUMS.sha512":                          false,
		"SHA256SUMS.txt":                             false,
		"bin/linux/amd64/kube-apiserver.docker_tag":  false,
		"kubernetes.tar.gz.sha256":                   false,
		"kubernetes.tar.gz.sha512":                   false,
		"kubernetes.tar.gz.sig":                      false,
		"kubernetes.tar.gz.cert":                     false,
		"kubernetes.tar.gz.pem":                      false,
		"kubernetes.tar.gz.sigstore.json":            false,
		"README":                                     false,
		"docs/README.md":                             false,
		"README-of-things/kubectl":                   false,
		"Makefile":                                   false,
		"build/Makefile.common":                      false,
		"kubectl.signature":                          true,
		"sig":                                        true,
		"bin/linux/amd64/kubectl.sigstore.json.copy": true,
	} {
		if got := release.Signable(name); got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}

// FuzzSignable: no sidecar of anything is ever signed, whatever directory a file
// is in, and a directory can only take a file out of the set.
func FuzzSignable(f *testing.F) {
	for _, seed := range []string{"kubectl", "a/b", "README", "SHA256SUMS", "", ".sig", "x.sigstore.json"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		for _, suffix := range []string{".sha256", ".sha512", ".docker_tag", ".sig", ".cert", ".pem", ".sigstore.json"} {
			if release.Signable(name + suffix) {
				t.Errorf("%q is signed", name+suffix)
			}
		}
		if release.Signable("Makefile/" + name) {
			t.Errorf("%q is signed", "Makefile/"+name)
		}
		if !release.Signable(name) && release.Signable("bin/"+name) {
			t.Errorf("%q is signed in bin, but not by itself", name)
		}
	})
}

// FuzzParseSums: accepted input re-encodes identically, names no path twice and
// none outside the tree.
func FuzzParseSums(f *testing.F) {
	zero, one := strings.Repeat("0", 64), strings.Repeat("1f", 32)
	for _, seed := range []string{
		zero + "  a", zero + "  a\n" + one + "  b/c", "", "\n", zero + "  a\n", zero + "  ../a", zero + "  /a", zero + "  a b",
		zero + "   a", zero + "  a\n" + zero + "  a", strings.ToUpper(one) + "  a", zero + "  a/../b", zero + "  ./a", zero + "  a\\b", zero + "  ",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		sums, err := release.ParseSums(data, sha256.Size)
		if err != nil {
			return
		}
		if got := release.EncodeSums(sums); !bytes.Equal(got, data) {
			t.Errorf("got %q, want %q", got, data)
		}
		seen := map[string]bool{}
		for _, s := range sums {
			if seen[s.Path] || !filepath.IsLocal(s.Path) || path.Clean(s.Path) != s.Path {
				t.Errorf("accepted path %q", s.Path)
			}
			seen[s.Path] = true
		}
	})
}
