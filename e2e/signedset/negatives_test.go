package signedset

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"sigstack/internal/release"
	"sigstack/internal/signing"
)

// A negative is one wrong fact about a file of a signed release.
type negative struct {
	name string
	// tamper makes the fact wrong in a copy of the tree; nil if the fact is whom the
	// signature has to be by, which identity then says.
	tamper   func(t *testing.T, l *lab, tree string, k kind)
	identity func(l *lab) []string
	not      func(kind) bool // the kinds that it cannot be about; nil: none

	// What each says in its refusal. Empty: it cannot be put that way to it, or it
	// accepts, which accepts then says why.
	file    string // sigstack verify
	problem problem
	cosign2 string
	cosign3 string
	accepts string // why both versions of cosign accept
}

// problem is one that sigstack release verify has to report of the file.
type problem struct {
	kind   release.Kind
	detail string
	suffix string // of the name that it is reported under
}

func negatives() []negative {
	return []negative{
		{
			name: "flipped byte", tamper: flip,
			file: refused(signing.CheckArtifact), problem: problem{release.Refused, refused(signing.CheckArtifact), ""},
			cosign2: notOverThis, cosign3: "invalid signature when validating ASN.1 encoded signature",
		},
		{
			name: "certificate file of another file", not: kind.bundleOnly,
			tamper: func(t *testing.T, l *lab, tree string, k kind) {
				write(t, tree, k.path+signing.CertificateSuffix, string(signing.EncodeCertificate(bundleOf(t, "", l.other).Certificate())))
			},
			problem: problem{release.Refused, refused(signing.CheckSidecar), ""},
			cosign2: notOverThis,
		},
		{
			name: "bundle with the certificate of another file",
			tamper: func(t *testing.T, l *lab, tree string, k kind) {
				edit(t, tree, k, func(material object) {
					material["certificate"] = object{"rawBytes": bundleOf(t, "", l.other).Certificate().Raw}
				})
			},
			file: refused(signing.CheckEntry), problem: problem{release.Refused, refused(signing.CheckEntry), ""},
			cosign3: "does not match",
		},
		{
			name: "wrong identity", identity: func(l *lab) []string {
				return []string{"--certificate-identity", "krel-trust@sigstack.local", "--certificate-oidc-issuer", l.stack.Issuer()}
			},
			file: refused(signing.CheckIdentity), problem: problem{release.Refused, refused(signing.CheckIdentity), ""},
			cosign2: "none of the expected identities matched", cosign3: "expected SAN value",
		},
		{
			name: "wrong issuer", identity: func(l *lab) []string {
				return append(l.stack.IdentityArgs()[:2:2], "--certificate-oidc-issuer", "https://accounts.google.com")
			},
			file: refused(signing.CheckIdentity), problem: problem{release.Refused, refused(signing.CheckIdentity), ""},
			cosign2: "none of the expected identities matched", cosign3: "expected issuer value",
		},
		{
			name: "expression that matches a part of the identity", identity: func(l *lab) []string {
				return []string{"--certificate-identity-regexp", "demo@sigstack|evil@example.com", "--certificate-oidc-issuer", l.stack.Issuer()}
			},
			file: refused(signing.CheckIdentity), problem: problem{release.Refused, refused(signing.CheckIdentity), ""},
			accepts: "cosign does not anchor expressions",
		},
		{
			name: "expression that matches a part of the issuer", identity: func(l *lab) []string {
				return append(l.stack.IdentityArgs()[:2:2], "--certificate-oidc-issuer-regexp", "dex$")
			},
			file: refused(signing.CheckIdentity), problem: problem{release.Refused, refused(signing.CheckIdentity), ""},
			accepts: "cosign does not anchor expressions",
		},
		{
			name: "certificate that had expired, and no time of the log",
			tamper: func(t *testing.T, l *lab, tree string, k kind) {
				l.ca.sign(t, tree, k.path, expired, true, func(entry object) {
					delete(entry, "inclusionPromise")
					delete(entry, "integratedTime")
				})
			},
			file: refused(signing.CheckPromise), problem: problem{release.Refused, refused(signing.CheckPromise), ""},
			cosign3: "threshold not met for verified signed timestamps: 0 < 1",
		},
		{
			name: "certificate that had expired when it was logged",
			tamper: func(t *testing.T, l *lab, tree string, k kind) {
				l.ca.sign(t, tree, k.path, expired, true, asItIs)
			},
			file: refused(signing.CheckEntry), problem: problem{release.Refused, refused(signing.CheckEntry), ""},
			cosign2: "certificate expired before signatures were entered in log", cosign3: "integrated time outside certificate validity",
		},
		{
			name: "entry absent from the log",
			tamper: func(t *testing.T, l *lab, tree string, k kind) {
				l.ca.sign(t, tree, k.path, living, false, asItIs)
			},
			file: refused(signing.CheckLog), problem: problem{release.Refused, refused(signing.CheckLog), ""},
			cosign2: "signature not found in transparency log", cosign3: "not enough verified log entries from transparency log: 0",
		},
		{
			name: "missing file that is listed", not: func(k kind) bool { return k.bundleOnly() || k.path == release.Provenance },
			tamper: func(t *testing.T, _ *lab, tree string, k kind) {
				for _, suffix := range append(sidecars(k), "") {
					remove(t, tree, k.path+suffix)
				}
			},
			problem: problem{release.Missing, "listed in " + release.SHA256Sums, ""},
		},
		{
			name: "missing sums file", not: func(k kind) bool { return !k.bundleOnly() },
			tamper: func(t *testing.T, _ *lab, tree string, k kind) {
				for _, suffix := range append(sidecars(k), "") {
					remove(t, tree, k.path+suffix)
				}
			},
			problem: problem{release.Missing, "the checksum file is missing", ""},
		},
		{
			// Provenance arrives after the sums were made: its signature tells that it was there.
			name: "missing provenance", not: func(k kind) bool { return k.path != release.Provenance },
			tamper:  func(t *testing.T, _ *lab, tree string, k kind) { remove(t, tree, k.path) },
			problem: problem{release.Unlisted, "in neither checksum file", signing.BundleSuffix},
		},
		{
			// Everything about it is right: signature, log entry, its own checksums.
			name: "extra file that is not listed",
			tamper: func(t *testing.T, _ *lab, tree string, k kind) {
				for _, suffix := range append(sidecars(k), "") {
					write(t, tree, k.path+".extra"+suffix, read(t, tree, k.path+suffix))
				}
			},
			problem: problem{release.Unlisted, "in neither checksum file", ".extra"},
		},
	}
}

// notOverThis is what cosign 2 hears of the log, which it asks for the entry that it
// proposes, and which verifies what is proposed.
const notOverThis = "signature does not verify with the public key and the hash"

// refused is how sigstack names the check that failed.
func refused(check signing.Check) string { return "refused: " + string(check) + ": " }

func asItIs(object) {}

// sidecars are the suffixes of what lies beside a file of the kind.
func sidecars(k kind) []string {
	suffixes := []string{signing.BundleSuffix}
	if k.path != release.Provenance {
		suffixes = append(suffixes, ".sha256", ".sha512")
	}
	if !k.bundleOnly() {
		suffixes = append(suffixes, signing.SignatureSuffix, signing.CertificateSuffix)
	}
	return suffixes
}

// flip changes the lowest bit of a byte in the middle of the file.
func flip(t *testing.T, _ *lab, tree string, k kind) {
	t.Helper()
	content := []byte(read(t, tree, k.path))
	content[len(content)/2] ^= 1
	write(t, tree, k.path, string(content))
}

// edit changes the verification material of a file's bundle.
func edit(t *testing.T, tree string, k kind, change func(material object)) {
	t.Helper()
	var bundle object
	if err := json.Unmarshal([]byte(read(t, tree, k.path+signing.BundleSuffix)), &bundle); err != nil {
		t.Fatal(err)
	}
	change(bundle["verificationMaterial"].(object))
	text, err := json.Marshal(bundle)
	if err != nil {
		t.Fatal(err)
	}
	write(t, tree, k.path+signing.BundleSuffix, string(text))
}

func bundleOf(t *testing.T, tree, name string) *signing.Bundle {
	t.Helper()
	b, err := signing.ParseBundle([]byte(read(t, tree, name+signing.BundleSuffix)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestSignedSet puts each kind of file before sigstack with each fact wrong, and
// before both versions of cosign with a byte flipped; one kind they judge in full.
func TestSignedSet(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	if bytes.Equal(bundleOf(t, l.tree, kinds()[0].path).Certificate().Raw, bundleOf(t, "", l.other).Certificate().Raw) {
		t.Fatal("the other file is signed with the same certificate, so that swapping them is no case")
	}
	t.Run("right", func(t *testing.T) { l.right(t) })
	for _, n := range negatives() {
		t.Run(n.name, func(t *testing.T) {
			var untouched []release.Problem // the same for all kinds
			if n.tamper == nil {
				untouched = l.release(t, l.tree, n.identity(l))
			}
			for _, k := range kinds() {
				if n.not != nil && n.not(k) {
					continue
				}
				t.Run(k.name, func(t *testing.T) {
					t.Parallel()
					l.judge(t, n, k, untouched)
				})
			}
		})
	}
}

// thorough is the kind that cosign judges in full.
const thorough = "bare binary"

// judge puts one wrong fact before everybody to whom it can be put.
// Problems are those of the release if it is not tampered with.
func (l *lab) judge(t *testing.T, n negative, k kind, problems []release.Problem) {
	t.Helper()
	tree, identity := l.tree, l.stack.IdentityArgs()
	if n.identity != nil {
		identity = n.identity(l)
	}
	if n.tamper != nil {
		tree = l.copied(t)
		n.tamper(t, l, tree, k)
		problems = l.release(t, tree, identity)
	}
	wantProblem(t, problems, k.path, n.problem)
	if n.file != "" {
		l.sigstack(t, tree, k.path, identity).want(t, "sigstack", n.file)
	}
	if n.name != "flipped byte" && k.name != thorough {
		return
	}
	if !k.bundleOnly() && (n.cosign2 != "" || n.accepts != "") {
		l.cosign2(t, tree, k.path, identity).want(t, "cosign 2", n.cosign2)
	}
	if n.cosign3 != "" || n.accepts != "" {
		l.cosign3(t, tree, k.path, identity).want(t, "cosign 3", n.cosign3)
	}
}

func wantProblem(t *testing.T, problems []release.Problem, path string, want problem) {
	t.Helper()
	for _, p := range problems {
		if p.Path == path+want.suffix && p.Kind == want.kind && strings.Contains(p.Detail, want.detail) {
			return
		}
	}
	t.Errorf("release verify reports %v, want %s: %s: %s", problems, path+want.suffix, want.kind, want.detail)
}
