package release_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sigstack/internal/release"
	"sigstack/internal/signing/signingtest"
)

// victim is a binary of every sample of twelve files, other another.
const (
	victim = "bin/linux/amd64/kubectl"
	other  = "bin/linux/amd64/kubelet"
)

func TestSignAndVerify(t *testing.T) {
	l := newLab(t)
	tree := newSample(t, 40)
	var steps []release.Progress
	signReport, err := release.Sign(t.Context(), release.SignConfig{
		Now: time.Now,
		Dir: tree, Session: l.session(t, signingtest.Email), Workers: 5,
		Progress: func(p release.Progress) { steps = append(steps, p) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if signReport.Signed != 42 || signReport.Skipped != 0 {
		t.Errorf("got %d signed and %d skipped, want 40 files and two checksum files", signReport.Signed, signReport.Skipped)
	}
	last := steps[len(steps)-1]
	if len(steps) != 42 || last.Done != 42 || last.Total != 42 || last.Bytes != last.TotalBytes || last.Bytes != signReport.Bytes {
		t.Errorf("got %d steps ending in %+v, want 42 up to all of %d bytes", len(steps), last, signReport.Bytes)
	}
	r := l.verify(t, tree)
	wantProblems(t, r)
	if r.Signed != 42 {
		t.Errorf("got %d verified signatures, want 42", r.Signed)
	}
	count := map[string]int{}
	for _, name := range list(t, tree) {
		for _, suffix := range []string{".sig", ".cert", ".sigstore.json"} {
			if strings.HasSuffix(name, suffix) {
				count[suffix]++
			}
		}
	}
	if count[".sig"] != 40 || count[".cert"] != 40 || count[".sigstore.json"] != 42 {
		t.Errorf("got %v, want 40 .sig and .cert, and 42 bundles", count)
	}
}

func TestVerifyRefuses(t *testing.T) {
	l := newLab(t)
	tree := l.signed(t, 12)
	if !slices.Contains(list(t, tree), victim) || !slices.Contains(list(t, tree), other) {
		t.Fatalf("the sample lacks %s or %s: %v", victim, other, list(t, tree))
	}
	tests := []struct {
		name   string
		change func(t *testing.T, tree string)
		want   []string
	}{
		{
			"flipped byte", func(t *testing.T, tree string) { flip(t, tree, victim) },
			repeat(4, victim+": checksum", victim+": refused"),
		},
		// Signatures do not lean on checksums ...
		{"flipped byte, checksums redone", func(t *testing.T, tree string) {
			flip(t, tree, victim)
			redoSums(t, tree, victim)
		}, []string{victim + ": refused", "SHA256SUMS: refused", "SHA512SUMS: refused"}},
		// ... nor checksums on signatures.
		{"wrong checksum in SHA256SUMS", func(t *testing.T, tree string) {
			data := read(t, tree, "SHA256SUMS")
			data[0] = flipHex(data[0])
			write(t, tree, "SHA256SUMS", data)
			ownSums(t, tree, "SHA256SUMS")
		}, []string{firstListed(t, tree) + ": checksum", "SHA256SUMS: refused"}},
		{"wrong .sha512", func(t *testing.T, tree string) {
			data := read(t, tree, victim+".sha512")
			data[0] = flipHex(data[0])
			write(t, tree, victim+".sha512", data)
		}, []string{victim + ": checksum"}},
		{"newline after .sha256", func(t *testing.T, tree string) {
			write(t, tree, victim+".sha256", append(read(t, tree, victim+".sha256"), '\n'))
		}, []string{victim + ": checksum"}},
		{".sha256 missing", func(t *testing.T, tree string) { remove(t, tree, victim+".sha256") }, []string{victim + ": checksum"}},
		{"SHA512SUMS.sha256 missing", func(t *testing.T, tree string) { remove(t, tree, "SHA512SUMS.sha256") }, []string{"SHA512SUMS: checksum"}},
		{"bundle missing", func(t *testing.T, tree string) { remove(t, tree, victim+".sigstore.json") }, []string{victim + ": unsigned"}},
		{"bundle of a checksum file missing", func(t *testing.T, tree string) { remove(t, tree, "SHA256SUMS.sigstore.json") }, []string{"SHA256SUMS: unsigned"}},
		{"provenance unsigned", func(t *testing.T, tree string) {
			remove(t, tree, "provenance.json.sigstore.json", "provenance.json.sig", "provenance.json.cert")
		}, []string{"provenance.json: unsigned"}},
		{"provenance changed", func(t *testing.T, tree string) {
			flip(t, tree, "provenance.json")
			ownSums(t, tree, "provenance.json")
		}, []string{"provenance.json: refused"}},
		{".sig missing", func(t *testing.T, tree string) { remove(t, tree, victim+".sig") }, []string{victim + ": unsigned"}},
		{".cert missing", func(t *testing.T, tree string) { remove(t, tree, victim+".cert") }, []string{victim + ": unsigned"}},
		{"every sidecar missing", func(t *testing.T, tree string) {
			remove(t, tree, victim+".sig", victim+".cert", victim+".sigstore.json")
		}, []string{victim + ": unsigned"}},
		{".cert of another file", func(t *testing.T, tree string) {
			// The session's certificate is shared, so another signer's is needed.
			alien := labOf(t, l.stack).signed(t, 12)
			write(t, tree, victim+".cert", read(t, alien, victim+".cert"))
		}, []string{victim + ": refused"}},
		{".sig of another file", func(t *testing.T, tree string) { write(t, tree, victim+".sig", read(t, tree, other+".sig")) }, []string{victim + ": refused"}},
		{"empty .sig", func(t *testing.T, tree string) { write(t, tree, victim+".sig", nil) }, []string{victim + ": refused"}},
		{"bundle of another file", func(t *testing.T, tree string) {
			for _, suffix := range []string{".sig", ".cert", ".sigstore.json"} {
				write(t, tree, victim+suffix, read(t, tree, other+suffix))
			}
		}, []string{victim + ": refused"}},
		{"bundle is no bundle", func(t *testing.T, tree string) { write(t, tree, victim+".sigstore.json", []byte("{}")) }, []string{victim + ": refused"}},
		{"listed file missing", func(t *testing.T, tree string) { remove(t, tree, victim) }, []string{victim + ": missing", victim + ": missing"}},
		{"listed file missing with all its sidecars", func(t *testing.T, tree string) {
			for _, suffix := range []string{"", ".sha256", ".sha512", ".sig", ".cert", ".sigstore.json"} {
				remove(t, tree, victim+suffix)
			}
		}, []string{victim + ": missing", victim + ": missing"}},
		{
			"SHA256SUMS missing", func(t *testing.T, tree string) { remove(t, tree, "SHA256SUMS") },
			// its sidecars have nothing to go with
			[]string{"SHA256SUMS: missing", "SHA256SUMS.sha256: unlisted", "SHA256SUMS.sha512: unlisted", "SHA256SUMS.sigstore.json: unlisted"},
		},
		{"extra file", func(t *testing.T, tree string) { write(t, tree, "bin/linux/amd64/extra", []byte("x")) }, []string{"bin/linux/amd64/extra: unlisted"}},
		{"extra dot file", func(t *testing.T, tree string) { write(t, tree, ".hidden", []byte("x")) }, []string{".hidden: unlisted"}},
		{"extra README", func(t *testing.T, tree string) { write(t, tree, "README", []byte("x")) }, []string{"README: unlisted"}},
		{"extra sidecar", func(t *testing.T, tree string) { write(t, tree, "extra.sig", []byte("x")) }, []string{"extra.sig: unlisted"}},
		{"sidecar of a sidecar", func(t *testing.T, tree string) { write(t, tree, victim+".sig.sha256", []byte("x")) }, []string{victim + ".sig.sha256: unlisted"}},
		{"provenance elsewhere", func(t *testing.T, tree string) { write(t, tree, "bin/provenance.json", []byte("x")) }, []string{"bin/provenance.json: unlisted"}},
		{"checksum file elsewhere", func(t *testing.T, tree string) { write(t, tree, "bin/SHA256SUMS", []byte("x")) }, []string{"bin/SHA256SUMS: unlisted"}},
		{"symlink", func(t *testing.T, tree string) {
			remove(t, tree, victim)
			symlink(t, filepath.Base(other), filepath.Join(tree, victim))
		}, []string{victim + ": irregular", victim + ": missing", victim + ": missing"}},
		{"symlink out of the tree", func(t *testing.T, tree string) {
			symlink(t, "/etc/hostname", filepath.Join(tree, "hostname"))
		}, []string{"hostname: irregular"}},
		{"symlinked directory", func(t *testing.T, tree string) {
			symlink(t, "bin", filepath.Join(tree, "bin2"))
		}, []string{"bin2: irregular"}},
		{"sidecar is a symlink", func(t *testing.T, tree string) {
			remove(t, tree, victim+".sig")
			symlink(t, filepath.Base(other)+".sig", filepath.Join(tree, victim+".sig"))
		}, []string{victim + ".sig: irregular", victim + ": unsigned"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := copyTree(t, tree)
			tt.change(t, dir)
			wantProblems(t, l.verify(t, dir), tt.want...)
		})
	}
}

// TestVerifyRefusesSumsFile replaces SHA256SUMS by a malformed one, so that the
// other still lists everything.
func TestVerifyRefusesSumsFile(t *testing.T) {
	l := newLab(t)
	tree := l.signed(t, 8)
	good := string(read(t, tree, release.SHA256Sums))
	hash := strings.Repeat("0", 64)
	for name, text := range map[string]string{
		"path out of the tree": good + "\n" + hash + "  ../../etc/passwd",
		"absolute path":        good + "\n" + hash + "  /etc/passwd",
		"listed twice":         good + "\n" + strings.SplitN(good, "\n", 2)[0],
		"final newline":        good + "\n",
		"one space":            strings.Replace(good, "  ", " ", 1),
		"upper case":           strings.ToUpper(good[:64]) + good[64:],
	} {
		t.Run(name, func(t *testing.T) {
			dir := copyTree(t, tree)
			write(t, dir, release.SHA256Sums, []byte(text))
			ownSums(t, dir, release.SHA256Sums)
			wantProblems(t, l.verify(t, dir), "SHA256SUMS: checksum", "SHA256SUMS: refused")
		})
	}
	t.Run("it lists itself", func(t *testing.T) {
		dir := copyTree(t, tree)
		write(t, dir, release.SHA256Sums, []byte(good+"\n"+hash+"  SHA256SUMS"))
		ownSums(t, dir, release.SHA256Sums)
		wantProblems(t, l.verify(t, dir), "SHA256SUMS: checksum", "SHA256SUMS: refused")
	})
	t.Run("a line less", func(t *testing.T) {
		dir := copyTree(t, tree)
		line, rest, _ := strings.Cut(good, "\n")
		write(t, dir, release.SHA256Sums, []byte(rest))
		ownSums(t, dir, release.SHA256Sums)
		_, name, _ := strings.Cut(line, "  ")
		wantProblems(t, l.verify(t, dir), name+": checksum", "SHA256SUMS: refused")
	})
	t.Run("a line more", func(t *testing.T) {
		dir := copyTree(t, tree)
		write(t, dir, release.SHA256Sums, []byte(good+"\n"+hash+"  nowhere"))
		ownSums(t, dir, release.SHA256Sums)
		wantProblems(t, l.verify(t, dir), "nowhere: missing", "SHA256SUMS: refused")
	})
}

func TestVerifyRefusesIdentity(t *testing.T) {
	l := newLab(t)
	tree := l.signed(t, 8)
	other := labOf(t, signingtest.New(t, time.Now))
	for name, r := range map[string]*release.Report{
		"other subject":    l.verifyAs(t, tree, "mallory@fake.example", l.stack.Issuer()),
		"other issuer":     l.verifyAs(t, tree, signingtest.Email, "https://accounts.google.com"),
		"other trust root": other.verifyAs(t, tree, signingtest.Email, l.stack.Issuer()),
	} {
		if r.Signed != 0 || len(r.Problems) != 10 {
			t.Errorf("%s: got %d signatures and %d problems, want 0 and one for each of 10", name, r.Signed, len(r.Problems))
		}
		for _, p := range r.Problems {
			if p.Kind != release.Refused {
				t.Errorf("%s: got %s, want only refusals", name, p)
			}
		}
	}
}

// TestVerifyAcceptsLateFiles: what is copied in after signing is not listed, and
// need not be signed; if it is, it has to be right.
func TestVerifyAcceptsLateFiles(t *testing.T) {
	l := newLab(t)
	tree := l.signed(t, 8)
	write(t, tree, release.ReleaseNotes, []byte(`{"notes":[]}`))
	write(t, tree, release.Announcement, []byte(`<p>out now</p>`))
	wantProblems(t, l.verify(t, tree))
	ownSums(t, tree, release.ReleaseNotes)
	if _, err := l.sign(t, tree); err != nil {
		t.Fatal(err)
	}
	wantProblems(t, l.verify(t, tree))
	flip(t, tree, release.ReleaseNotes)
	wantProblems(t, l.verify(t, tree), "release-notes.json: checksum", "release-notes.json: checksum", "release-notes.json: refused")
}

func TestLocate(t *testing.T) {
	tree := newSample(t, 4)
	dir := filepath.Dir(filepath.Dir(tree))
	for _, start := range []string{dir, filepath.Join(dir, "release"), tree, tree + "/"} {
		if got, err := release.Locate(start); err != nil || got != tree {
			t.Errorf("from %s: got %q, %v, want %q", start, got, err, tree)
		}
	}
	remove(t, tree, "SHA256SUMS", "SHA512SUMS")
	if got, err := release.Locate(dir); err != nil || got != tree {
		t.Errorf("without checksum files: got %q, %v, want %q by its name", got, err, tree)
	}
	if err := os.Mkdir(filepath.Join(dir, "release", "v1.25.0"), 0o750); err != nil {
		t.Fatal(err)
	}
	if got, err := release.Locate(dir); err == nil || !strings.Contains(err.Error(), "v1.25.0") {
		t.Errorf("with two trees: got %q, %v, want an error that names both", got, err)
	}
	if got, err := release.Locate(t.TempDir()); !errors.Is(err, release.ErrNoTree) {
		t.Errorf("in an empty directory: got %q, %v, want ErrNoTree", got, err)
	}
	for _, start := range []string{filepath.Join(dir, "nowhere"), filepath.Join(tree, "kubernetes.tar.gz")} {
		if got, err := release.Locate(start); err == nil {
			t.Errorf("from %s: got %q, want an error", start, got)
		}
	}
}

func symlink(t *testing.T, target, name string) {
	t.Helper()
	if err := os.Symlink(target, name); err != nil {
		t.Fatal(err)
	}
}

func firstListed(t *testing.T, tree string) string {
	t.Helper()
	line, _, _ := strings.Cut(string(read(t, tree, release.SHA256Sums)), "\n")
	_, name, _ := strings.Cut(line, "  ")
	return name
}

func flipHex(c byte) byte {
	if c == '0' {
		return '1'
	}
	return '0'
}

// repeat returns n times first, then the rest.
func repeat(n int, first string, rest ...string) []string {
	out := rest
	for range n {
		out = append(out, first)
	}
	return out
}
