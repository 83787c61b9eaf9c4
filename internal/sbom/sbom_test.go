package sbom_test

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"strings"
	"testing"

	"sigstack/internal/sbom"
)

// files are what the documents describe.
var files = map[string]string{"bin/tool": "the program", "docs/a b.txt": "the manual"}

func sums(content string) map[string]string {
	a, b := sha256.Sum256([]byte(content)), sha512.Sum512([]byte(content))
	return map[string]string{"sha256": hex.EncodeToString(a[:]), "sha512": hex.EncodeToString(b[:])}
}

func digests(path string) (map[string]string, error) {
	content, ok := files[path]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return sums(content), nil
}

// documents describe files, in each format: a package without a file, and two files.
func documents() map[string]string {
	tool, manual := sums(files["bin/tool"]), sums(files["docs/a b.txt"])
	return map[string]string{
		"tags": `SPDXVersion: SPDX-2.3
DataLicense: CC0-1.0
DocumentName: example
# a comment
DocumentComment: <text>of several
FileChecksum: SHA256: lines</text>

PackageName: example
PackageVersion: v1.0.0
PackageDownloadLocation: https://example.com/x

FileName: ./bin/tool
SPDXID: SPDXRef-1
FileChecksum: SHA1: da39a3ee5e6b4b0d3255bfef95601890afd80709
FileChecksum: SHA256: ` + tool["sha256"] + `

PackageName: manual
PackageFileName: docs/a b.txt
PackageChecksum: SHA512: ` + manual["sha512"] + `
Relationship: SPDXRef-DOCUMENT DESCRIBES SPDXRef-1
`,
		"SPDX JSON": `{"spdxVersion": "SPDX-2.3", "name": "example", "creationInfo": {"created": "2026-11-22T00:00:00Z"},
 "packages": [{"name": "example", "versionInfo": "v1.0.0", "SPDXID": "SPDXRef-0"},
  {"name": "manual", "packageFileName": "./docs/a b.txt", "checksums": [{"algorithm": "SHA512", "checksumValue": "` + manual["sha512"] + `"}]}],
 "files": [{"fileName": "./bin/tool", "checksums": [{"algorithm": "SHA1", "checksumValue": "da39a3ee5e6b4b0d3255bfef95601890afd80709"},
  {"algorithm": "SHA256", "checksumValue": "` + tool["sha256"] + `"}]}]}`,
		"CycloneDX": `{"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
 "metadata": {"component": {"type": "application", "name": "example", "version": "v1.0.0"}},
 "components": [{"type": "file", "name": "bin/tool", "hashes": [{"alg": "MD5", "content": "d41d8cd98f00b204e9800998ecf8427e"}, {"alg": "SHA-256", "content": "` + strings.ToUpper(tool["sha256"]) + `"}],
  "components": [{"type": "file", "name": "docs/a b.txt", "hashes": [{"alg": "SHA-512", "content": "` + manual["sha512"] + `"}]}]}]}`,
	}
}

func parse(t *testing.T, text string) sbom.Document {
	t.Helper()
	d, err := sbom.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestParse(t *testing.T) {
	for name, text := range documents() {
		d := parse(t, text)
		if d.Name != "example" || len(d.Components) != 3 {
			t.Errorf("%s: got %+v, want three components of example", name, d)
		}
		if r := d.Check(digests); r.Err() != nil || r.Checked != 2 || r.Skipped != 1 {
			t.Errorf("%s: got %+v, want two files that are right and a package", name, r)
		}
	}
}

// TestCheckRefuses tampers with what each document describes, and with the document.
func TestCheckRefuses(t *testing.T) {
	tool := sums(files["bin/tool"])["sha256"]
	tests := []struct {
		name     string
		digests  sbom.Digests
		old, new string // in the document; in upper case too
		want     string
	}{
		{"changed file", func(path string) (map[string]string, error) {
			if path == "bin/tool" {
				return sums("another program"), nil
			}
			return digests(path)
		}, "", "", "bin/tool: it was changed"},
		{"missing file", func(path string) (map[string]string, error) {
			if path == "bin/tool" {
				return nil, fmt.Errorf("open: %w", fs.ErrNotExist)
			}
			return digests(path)
		}, "", "", "bin/tool: it is missing"},
		{"file that cannot be read", func(string) (map[string]string, error) { return nil, errors.New("broken disk") }, "", "", "broken disk"},
		{"checksum of something else", digests, tool, sums("x")["sha256"], "bin/tool: it was changed"},
		{"path that leaves", digests, "bin/tool", "../tool", "not one inside"},
		{"absolute path", digests, "bin/tool", "/bin/tool", "not one inside"},
	}
	for _, tt := range tests {
		for format, text := range documents() {
			changed := strings.ReplaceAll(strings.ReplaceAll(text, tt.old, tt.new), strings.ToUpper(tt.old), tt.new)
			if tt.old == "" {
				changed = text
			} else if changed == text {
				t.Fatalf("%s, %s: the test changes nothing", tt.name, format)
			}
			err := parse(t, changed).Check(tt.digests).Err()
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s, %s: got %v, want %q", tt.name, format, err, tt.want)
			}
		}
	}
}

// TestCheckProvesSomething: what has only weak checksums, or no files, is no proof.
func TestCheckProvesSomething(t *testing.T) {
	for name, text := range map[string]string{
		"weak":     "SPDXVersion: SPDX-2.3\nFileName: ./bin/tool\nFileChecksum: SHA1: da39a3ee5e6b4b0d3255bfef95601890afd80709\n",
		"none":     "SPDXVersion: SPDX-2.3\nFileName: ./bin/tool\n",
		"no files": "SPDXVersion: SPDX-2.3\nPackageName: a\nPackageChecksum: SHA256: " + sums("a")["sha256"] + "\n",
		"nothing":  `{"bomFormat":"CycloneDX","specVersion":"1.5"}`,
	} {
		if r := parse(t, text).Check(digests); r.Err() == nil {
			t.Errorf("%s: got %+v, want a problem", name, r)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	sum := sums("a")["sha256"]
	for name, text := range map[string]string{
		"empty":                       "",
		"text":                        "hello",
		"no version":                  "DocumentName: a\n",
		"another version":             "SPDXVersion: SPDX-3.0\n",
		"two versions":                "SPDXVersion: SPDX-2.3\nSPDXVersion: SPDX-2.2\n",
		"text without end":            "SPDXVersion: SPDX-2.3\nDocumentComment: <text>a\n",
		"text that goes on":           "SPDXVersion: SPDX-2.3\nDocumentComment: <text>a</text> b\n",
		"long text that goes on":      "SPDXVersion: SPDX-2.3\nDocumentComment: <text>a\nb</text> FileName: c\n",
		"checksum of nothing":         "SPDXVersion: SPDX-2.3\nFileChecksum: SHA256: " + sum + "\n",
		"checksum of a snippet":       "SPDXVersion: SPDX-2.3\nFileName: a\nSnippetSPDXID: b\nFileChecksum: SHA256: " + sum + "\n",
		"checksum without algorithm":  "SPDXVersion: SPDX-2.3\nFileName: a\nFileChecksum: " + sum + "\n",
		"short checksum":              "SPDXVersion: SPDX-2.3\nFileName: a\nFileChecksum: SHA256: 00\n",
		"checksum not in hex":         "SPDXVersion: SPDX-2.3\nFileName: a\nFileChecksum: SHA256: " + strings.Repeat("z", 64) + "\n",
		"two checksums":               "SPDXVersion: SPDX-2.3\nFileName: a\nFileChecksum: SHA256: " + sum + "\nFileChecksum: SHA-256: " + sums("b")["sha256"] + "\n",
		"file without name":           "SPDXVersion: SPDX-2.3\nFileName:\n",
		"object":                      "{}",
		"null":                        "null",
		"both formats":                `{"spdxVersion":"SPDX-2.3","bomFormat":"CycloneDX","specVersion":"1.5"}`,
		"SPDX 3":                      `{"spdxVersion":"SPDX-3.0"}`,
		"member twice":                `{"spdxVersion":"SPDX-2.3","files":[],"files":[]}`,
		"member in other case":        `{"spdxVersion":"SPDX-2.3","Files":[]}`,
		"member in other case inside": `{"spdxVersion":"SPDX-2.3","files":[{"FileName":"a"}]}`,
		"SPDX file without name":      `{"spdxVersion":"SPDX-2.3","files":[{"checksums":[]}]}`,
		"CycloneDX without version":   `{"bomFormat":"CycloneDX"}`,
		"component without name":      `{"bomFormat":"CycloneDX","specVersion":"1.5","components":[{"type":"file"}]}`,
		"component in other case":     `{"bomFormat":"CycloneDX","specVersion":"1.5","components":[{"name":"a","components":[{"Name":"b"}]}]}`,
		"nested too deeply":           `{"bomFormat":"CycloneDX","specVersion":"1.5","components":` + strings.Repeat(`[{"name":"a","components":`, 40) + "[]" + strings.Repeat("}]", 40) + "}",
	} {
		if d, err := sbom.Parse([]byte(text)); !errors.Is(err, sbom.ErrDocument) {
			t.Errorf("%s: got %+v, %v, want ErrDocument", name, d, err)
		}
	}
}

// FuzzParse: what is accepted passes with the files that it describes, and not if one
// of those is another.
func FuzzParse(f *testing.F) {
	for _, text := range documents() {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := sbom.Parse(data)
		if err != nil {
			return
		}
		told := map[string]map[string]string{}
		for _, c := range d.Components {
			if told[c.Path] == nil {
				told[c.Path] = map[string]string{}
			}
			maps.Copy(told[c.Path], c.Checksums)
		}
		r := d.Check(func(path string) (map[string]string, error) { return told[path], nil })
		if r.Checked+r.Skipped+len(r.Problems) < len(d.Components) {
			t.Errorf("got %+v for %d components", r, len(d.Components))
		}
		other := d.Check(func(string) (map[string]string, error) { return map[string]string{}, nil })
		if other.Err() == nil || other.Checked > 0 {
			t.Errorf("got %+v for files without digests, want problems", other)
		}
	})
}
