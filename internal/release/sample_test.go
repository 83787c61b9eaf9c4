package release_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sigstack/internal/release"
)

// testdata/sample.txt lists the files of a sample of 60:
// go test ./internal/release -run TestSampleNames -update.
var update = flag.Bool("update", false, "rewrite testdata")

func nowUTC() time.Time { return time.Now().UTC() }

func TestSampleNames(t *testing.T) {
	got := strings.Join(list(t, newSample(t, 60)), "\n") + "\n"
	path := filepath.Join("testdata", "sample.txt")
	if *update {
		write(t, ".", path, []byte(got))
	}
	if want := string(read(t, ".", path)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestSampleCounts(t *testing.T) {
	for _, n := range []int{3, 4, 5, 7, 24, 61, 150, 400} {
		r, err := release.Sample(t.Context(), release.SampleConfig{Dir: t.TempDir(), Version: version, Files: n})
		if err != nil {
			t.Fatal(err)
		}
		signable := 0
		for _, name := range list(t, r.Tree) {
			if release.Signable(name) {
				signable++
			}
		}
		if r.Signable != n || signable != n+2 {
			t.Errorf("for %d files: got %d, and %d with checksum files", n, r.Signable, signable)
		}
	}
	r, err := release.Sample(t.Context(), release.SampleConfig{Dir: t.TempDir(), Version: version})
	if err != nil || r.Signable != 24 {
		t.Errorf("by default: got %+v, %v, want 24 files", r, err)
	}
}

func TestSampleDependsOnSeed(t *testing.T) {
	content := func(seed uint64) map[string]string {
		r, err := release.Sample(t.Context(), release.SampleConfig{Dir: t.TempDir(), Version: version, Files: 30, Seed: seed})
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]string{}
		for _, name := range list(t, r.Tree) {
			out[name] = string(read(t, r.Tree, name))
		}
		return out
	}
	one, again, two := content(1), content(1), content(2)
	for name, data := range one {
		if again[name] != data {
			t.Errorf("%s differs for the same seed", name)
		}
		if strings.HasPrefix(name, "bin/") && !strings.HasSuffix(name, ".docker_tag") && !strings.Contains(name, ".docker_tag.") && two[name] == data {
			t.Errorf("%s is the same for another seed", name)
		}
	}
}

// TestSampleFollowsA1 checks the form of every file against the contract, with
// other code than made it.
func TestSampleFollowsA1(t *testing.T) {
	tree := newSample(t, 60)
	names := list(t, tree)
	for _, file := range []string{"SHA256SUMS", "SHA512SUMS"} {
		text := string(read(t, tree, file))
		if strings.HasSuffix(text, "\n") || strings.Contains(text, file) {
			t.Errorf("%s ends in a newline or lists itself", file)
		}
		var listed, want []string
		for _, line := range strings.Split(text, "\n") {
			listed = append(listed, strings.SplitN(line, "  ", 2)[1])
		}
		for _, name := range names {
			if !strings.HasSuffix(name, ".sha256") && !strings.HasSuffix(name, ".sha512") && !strings.HasPrefix(name, "SHA") && name != "provenance.json" {
				want = append(want, name)
			}
		}
		if !slices.Equal(listed, want) {
			t.Errorf("%s: got %v, want in lexical walk %v", file, listed, want)
		}
	}
	for _, name := range names {
		if strings.HasSuffix(name, ".sha256") || strings.HasSuffix(name, ".sha512") {
			continue
		}
		sum256, sum512 := sums(read(t, tree, name))
		if got := string(read(t, tree, name+".sha256")); got != sum256 {
			t.Errorf("%s.sha256: got %q, want bare %q", name, got, sum256)
		}
		if got := string(read(t, tree, name+".sha512")); got != sum512 {
			t.Errorf("%s.sha512: got %q, want bare %q", name, got, sum512)
		}
		switch {
		case strings.HasSuffix(name, ".tar.gz"):
			if len(untar(t, gunzip(t, read(t, tree, name)))) == 0 {
				t.Errorf("%s is empty", name)
			}
		case strings.HasSuffix(name, ".tar"):
			if files := untar(t, read(t, tree, name)); files["manifest.json"] == nil || files["layer.tar"] == nil {
				t.Errorf("%s is no image", name)
			}
			if got := string(read(t, tree, strings.TrimSuffix(name, ".tar")+".docker_tag")); got != version {
				t.Errorf("%s: got docker tag %q, want %q", name, got, version)
			}
		}
	}
	server := untar(t, gunzip(t, read(t, tree, "kubernetes-server-linux-amd64.tar.gz")))
	if got := server["kubernetes/server/bin/kube-apiserver"]; !bytes.Equal(got, read(t, tree, "bin/linux/amd64/kube-apiserver")) {
		t.Errorf("the server tarball has another kube-apiserver (%d bytes) than the tree", len(got))
	}
}

func TestSampleSBOMs(t *testing.T) {
	tree := newSample(t, 12)
	source, whole := string(read(t, tree, "kubernetes-source.spdx")), string(read(t, tree, "kubernetes-release.spdx"))
	for text, want := range map[string][]string{
		source: {"DocumentNamespace: https://sigstack.invalid/spdx/v1.24.0/source\n", "FileName: ./kubernetes/go.mod\n"},
		whole: {
			"DocumentNamespace: https://sigstack.invalid/spdx/v1.24.0/release\n",
			"ExternalDocumentRef: DocumentRef-kubernetes-source https://sigstack.invalid/spdx/v1.24.0/source SHA1: ",
			"GENERATED_FROM DocumentRef-kubernetes-source:SPDXRef-DOCUMENT\n",
			"FileName: ./" + victim + "\n", "FileName: ./kubernetes-src.tar.gz\n",
		},
	} {
		for _, line := range want {
			if !strings.Contains(text, line) {
				t.Errorf("got %.2000s\nwant %q in it", text, line)
			}
		}
	}
	sum, _ := sums(read(t, tree, victim))
	if !strings.Contains(whole, "FileChecksum: SHA256: "+sum+"\n") {
		t.Errorf("the release SBOM lacks the SHA-256 of %s", victim)
	}
}

func TestSampleProvenance(t *testing.T) {
	tree := newSample(t, 12)
	var p struct {
		Type          string `json:"_type"`
		PredicateType string `json:"predicateType"`
		Subject       []struct {
			Name   string            `json:"name"`
			Digest map[string]string `json:"digest"`
		} `json:"subject"`
		Predicate struct {
			BuildDefinition struct {
				ResolvedDependencies []struct {
					URI    string            `json:"uri"`
					Digest map[string]string `json:"digest"`
				} `json:"resolvedDependencies"`
			} `json:"buildDefinition"`
		} `json:"predicate"`
	}
	if err := json.Unmarshal(read(t, tree, "provenance.json"), &p); err != nil {
		t.Fatal(err)
	}
	if p.Type != "https://in-toto.io/Statement/v1" || p.PredicateType != "https://slsa.dev/provenance/v1" {
		t.Errorf("got %s of %s, want SLSA v1", p.Type, p.PredicateType)
	}
	var want []string
	for _, name := range list(t, tree) {
		if release.Signable(name) && !strings.HasPrefix(name, "SHA") && name != "provenance.json" {
			want = append(want, name)
		}
	}
	var got []string
	for _, s := range p.Subject {
		got = append(got, s.Name)
		if sum, _ := sums(read(t, tree, s.Name)); s.Digest["sha256"] != sum {
			t.Errorf("%s: got %v, want %s", s.Name, s.Digest, sum)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got subjects %v, want %v", got, want)
	}
	if d := p.Predicate.BuildDefinition.ResolvedDependencies; len(d) != 1 || len(d[0].Digest["gitCommit"]) != 40 {
		t.Errorf("got dependencies %v, want one source with a commit", d)
	}
}

// TestSampleFromBin uses real input: a git archive of a repository made here, and
// an SBOM under another namespace.
func TestSampleFromBin(t *testing.T) {
	from := t.TempDir()
	for _, name := range []string{"bin/linux/amd64/sigstack", "bin/darwin/arm64/sigstack", "bin/windows/amd64/sigstack.exe"} {
		write(t, from, name, []byte("binary of "+name))
	}
	commit := gitArchive(t, filepath.Join(from, "kubernetes-src.tar.gz"))
	write(t, from, "kubernetes-source.spdx", []byte("SPDXVersion: SPDX-2.3\nDocumentNamespace: https://example.com/sigstack\nCreated: x\n"))
	r, err := release.Sample(t.Context(), release.SampleConfig{Dir: t.TempDir(), Version: version, FromBin: from})
	if err != nil {
		t.Fatal(err)
	}
	if r.Signable != 11 { // 3 binaries and their tarballs, source, two SBOMs, kubernetes.tar.gz, provenance
		t.Errorf("got %d signed files of %v, want 11", r.Signable, list(t, r.Tree))
	}
	for _, name := range []string{"bin/windows/amd64/sigstack.exe", "kubernetes-src.tar.gz"} {
		if !bytes.Equal(read(t, r.Tree, name), read(t, from, name)) {
			t.Errorf("%s is not what was given", name)
		}
	}
	if got := untar(t, gunzip(t, read(t, r.Tree, "kubernetes-client-windows-amd64.tar.gz"))); string(got["kubernetes/client/bin/sigstack.exe"]) != "binary of bin/windows/amd64/sigstack.exe" {
		t.Errorf("got tarball %v, want the binary in it", got)
	}
	if got, want := string(read(t, r.Tree, "kubernetes-source.spdx")), "SPDXVersion: SPDX-2.3\nDocumentNamespace: https://example.com/sigstack/v1.24.0/source\nCreated: x\n"; got != want {
		t.Errorf("got SBOM %q, want %q", got, want)
	}
	if got := string(read(t, r.Tree, "kubernetes-release.spdx")); !strings.Contains(got, "DocumentRef-kubernetes-source https://example.com/sigstack/v1.24.0/source SHA1: ") {
		t.Errorf("got %.600s, want the given SBOM linked", got)
	}
	if got := string(read(t, r.Tree, "provenance.json")); !strings.Contains(got, commit) {
		t.Errorf("got %s, want the archive's commit %s", got, commit)
	}
	l := newLab(t)
	if _, err := l.sign(t, r.Tree); err != nil {
		t.Fatal(err)
	}
	wantProblems(t, l.verify(t, r.Tree))

	more, err := release.Sample(t.Context(), release.SampleConfig{Dir: t.TempDir(), Version: version, FromBin: from, Files: 20})
	if err != nil || more.Signable != 20 {
		t.Errorf("filled up: got %+v, %v, want 20 signed files", more, err)
	}
}

func TestSampleRefuses(t *testing.T) {
	full := t.TempDir()
	write(t, full, "bin/linux/amd64/a", []byte("a"))
	odd := t.TempDir()
	write(t, odd, "bin/a", []byte("a"))
	taken := t.TempDir()
	write(t, taken, "release/v1.24.0/x", []byte("x"))
	tests := map[string]release.SampleConfig{
		"too few files":       {Version: version, Files: 2},
		"negative":            {Version: version, Files: -1},
		"version without v":   {Version: "1.24.0", Files: 5},
		"version with a path": {Version: "v1.24.0/../..", Files: 5},
		"no version":          {Files: 5},
		"tree exists":         {Dir: taken, Version: version, Files: 5},
		"no such input":       {Version: version, FromBin: filepath.Join(full, "nowhere")},
		"other layout":        {Version: version, FromBin: odd},
		"more than asked for": {Version: version, FromBin: full, Files: 3},
	}
	for name, c := range tests {
		if c.Dir == "" {
			c.Dir = t.TempDir()
		}
		if r, err := release.Sample(t.Context(), c); err == nil {
			t.Errorf("%s: got %+v, want an error", name, r)
		}
		if name != "tree exists" {
			if left := list(t, c.Dir); len(left) > 0 {
				t.Errorf("%s: left %v behind", name, left)
			}
		}
	}
}

func gunzip(tb testing.TB, data []byte) []byte {
	tb.Helper()
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		tb.Fatal(err)
	}
	out, err := io.ReadAll(z)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

func untar(tb testing.TB, data []byte) map[string][]byte {
	tb.Helper()
	out := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			tb.Fatal(err)
		}
		if out[h.Name], err = io.ReadAll(r); err != nil {
			tb.Fatal(err)
		}
	}
}

// gitArchive writes an archive of a one-commit repository and returns the commit.
func gitArchive(t *testing.T, out string) string {
	t.Helper()
	dir := t.TempDir()
	git := func(args ...string) string {
		cmd := exec.Command("git", append([]string{
			"-C", dir, "-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false",
		}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
		text, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v: %s", args, err, text)
		}
		return strings.TrimSpace(string(text))
	}
	git("init", "-q")
	write(t, dir, "main.go", []byte("package main\n"))
	git("add", ".")
	git("commit", "-q", "-m", "first")
	git("archive", "--format=tar.gz", "--prefix=sigstack/", "--output="+out, "HEAD")
	return git("rev-parse", "HEAD")
}

func ExampleSignable() {
	fmt.Println(release.Signable("bin/linux/amd64/kubectl"), release.Signable("bin/linux/amd64/kubectl.sha256"))
	// Output: true false
}
