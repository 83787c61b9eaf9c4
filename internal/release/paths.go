// Package release builds, signs and verifies Kubernetes-style release trees:
// tarballs, binaries, SBOMs, checksum files and the sidecars beside them
// (contract release-artifacts §A). How one file is signed and verified is
// signing's; commands and progress bars are cmd's.
package release

import (
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"sigstack/internal/signing"
)

// Names of A1 that the checksum files do not list: the checksum files
// themselves, and what is copied into a tree after it was signed.
const (
	SHA256Sums   = "SHA256SUMS"
	SHA512Sums   = "SHA512SUMS"
	Provenance   = "provenance.json"
	ReleaseNotes = "release-notes.json"
	Announcement = "announcement.html"
)

// AttestationSuffix is appended to a file's name to name an attestation of it,
// apart from the bundle of its signature.
const AttestationSuffix = ".att" + signing.BundleSuffix

const (
	sha256Suffix = ".sha256"
	sha512Suffix = ".sha512"
)

// Signable reports whether the file at path, relative to its tree, is in the
// signed set of A2 or is a bundle-only file, which see.
func Signable(name string) bool { return inSignedSet(name) || bundleOnly(name) }

// inSignedSet is the rule of A2, with our own bundles, and files of attestations,
// excluded as well.
func inSignedSet(name string) bool {
	for _, suffix := range []string{
		sha256Suffix, sha512Suffix, ".docker_tag", ".pem",
		signing.SignatureSuffix, signing.CertificateSuffix, signing.BundleSuffix, signing.AttestationsSuffix,
	} {
		if strings.HasSuffix(name, suffix) {
			return false
		}
	}
	for _, part := range []string{SHA256Sums, SHA512Sums, "README", "Makefile"} {
		if strings.Contains(name, part) {
			return false
		}
	}
	return true
}

// bundleOnly reports whether name is one of the checksum files, which upstream
// leaves unsigned: ours get a bundle, but no .sig and .cert.
func bundleOnly(name string) bool { return name == SHA256Sums || name == SHA512Sums }

// mustBeSigned is Signable without the files that arrive after signing and that
// nothing protects; provenance is not among those.
func mustBeSigned(name string) bool {
	return Signable(name) && name != ReleaseNotes && name != Announcement
}

// unlistable reports whether name is a file of A1 that need not be in the
// checksum files.
func unlistable(name string) bool {
	switch name {
	case SHA256Sums, SHA512Sums, Provenance, ReleaseNotes, Announcement:
		return true
	}
	return false
}

// sidecarOf returns the files that name would be a sidecar of: none, one, or two
// for X.att.sigstore.json, an attestation of X or the signature of X.att.
func sidecarOf(name string) (bases []string) {
	for _, suffix := range []string{
		sha256Suffix, sha512Suffix,
		signing.SignatureSuffix, signing.CertificateSuffix, signing.BundleSuffix, AttestationSuffix,
		signing.AttestationsSuffix,
	} {
		if base, ok := strings.CutSuffix(name, suffix); ok && base != "" && !strings.HasSuffix(base, "/") {
			bases = append(bases, base)
		}
	}
	return bases
}

// checkPath refuses anything but a clean relative path inside the tree, in
// characters that the checksum files can hold.
func checkPath(name string) error {
	switch {
	case !filepath.IsLocal(name) || path.Clean(name) != name || name == ".":
		return fmt.Errorf("path %q is not a clean path inside the tree", name)
	case strings.ContainsAny(name, "\\\n\r\x00"):
		return fmt.Errorf("path %q holds a character that checksum files cannot", name)
	}
	return nil
}
