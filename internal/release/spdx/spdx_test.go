package spdx_test

import (
	"strings"
	"testing"
	"time"

	"sigstack/internal/release/spdx"
)

func sample() spdx.Document {
	return spdx.Document{
		Name: "demo", Namespace: "https://example.com/demo/v1/release", Creator: "tests", Created: time.Unix(0, 0),
		External: []spdx.ExternalDocument{{ID: "source", Namespace: "https://example.com/demo/v1/source", SHA1: strings.Repeat("0", 40)}},
		Packages: []spdx.Package{{
			ID: "Package", Name: "demo", Version: "v1", License: "Apache-2.0",
			Files: []spdx.File{
				{ID: "File-0", Name: "b", Checksums: []spdx.Checksum{{Algorithm: "SHA1", Hex: "e9d71f5ee7c92d6dc9e92ffdad17b8bd49418f98"}}},
				{ID: "File-1", Name: "a", Checksums: []spdx.Checksum{{Algorithm: "SHA1", Hex: "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8"}}},
			},
		}},
		Relations: []spdx.Relation{{From: "SPDXRef-DOCUMENT", Kind: "DESCRIBES", To: "SPDXRef-Package"}},
	}
}

// want is written by hand from SPDX 2.3 §6-§8 and §11; the verification code is
// that of printf '86f7...e9d7...' | sha1sum.
const want = `SPDXVersion: SPDX-2.3
DataLicense: CC0-1.0
SPDXID: SPDXRef-DOCUMENT
DocumentName: demo
DocumentNamespace: https://example.com/demo/v1/release
ExternalDocumentRef: DocumentRef-source https://example.com/demo/v1/source SHA1: 0000000000000000000000000000000000000000
Creator: Tool: tests
Created: 1970-01-01T00:00:00Z

PackageName: demo
SPDXID: SPDXRef-Package
PackageVersion: v1
PackageDownloadLocation: NOASSERTION
FilesAnalyzed: true
PackageVerificationCode: 5463504435e4dbf2b93a3a8a00ca78e36ea40e24
PackageLicenseConcluded: Apache-2.0
PackageLicenseDeclared: Apache-2.0
PackageCopyrightText: NOASSERTION

FileName: ./b
SPDXID: SPDXRef-File-0
FileChecksum: SHA1: e9d71f5ee7c92d6dc9e92ffdad17b8bd49418f98
LicenseConcluded: NOASSERTION
LicenseInfoInFile: NOASSERTION
FileCopyrightText: NOASSERTION

FileName: ./a
SPDXID: SPDXRef-File-1
FileChecksum: SHA1: 86f7e437faa5a7fce15d1ddcb9eaeaea377667b8
LicenseConcluded: NOASSERTION
LicenseInfoInFile: NOASSERTION
FileCopyrightText: NOASSERTION

Relationship: SPDXRef-DOCUMENT DESCRIBES SPDXRef-Package
`

func TestEncode(t *testing.T) {
	got, err := sample().Encode()
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if ns, err := spdx.Namespace(got); err != nil || ns != "https://example.com/demo/v1/release" {
		t.Errorf("got namespace %q, %v, want the document's", ns, err)
	}
}

func TestEncodeRefuses(t *testing.T) {
	tests := map[string]func(*spdx.Document){
		"line break in a name":  func(d *spdx.Document) { d.Packages[0].Name = "demo\nSPDXID: SPDXRef-Other" },
		"no name":               func(d *spdx.Document) { d.Name = "" },
		"no namespace":          func(d *spdx.Document) { d.Namespace = "" },
		"ID used twice":         func(d *spdx.Document) { d.Packages[0].Files[1].ID = "File-0" },
		"ID with a space":       func(d *spdx.Document) { d.Packages[0].ID = "a b" },
		"file without checksum": func(d *spdx.Document) { d.Packages[0].Files[0].Checksums = nil },
	}
	for name, change := range tests {
		d := sample()
		change(&d)
		if got, err := d.Encode(); err == nil {
			t.Errorf("%s: got %s, want an error", name, got)
		}
	}
}

func TestNamespaceRefuses(t *testing.T) {
	for _, text := range []string{"", "DocumentNamespace: \n", "DocumentNamespace: a\nDocumentNamespace: b\n", " DocumentNamespace: a\n"} {
		if got, err := spdx.Namespace([]byte(text)); err == nil {
			t.Errorf("%q: got %q, want an error", text, got)
		}
	}
}

// FuzzID: an ID is always usable, and stays as it is when it was.
func FuzzID(f *testing.F) {
	for _, seed := range []string{"", "bin/linux/amd64/kubectl", "a.b-c", "ä", "\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d := sample()
		d.Packages[0].ID = "x" + spdx.ID(text)
		if _, err := d.Encode(); err != nil {
			t.Errorf("ID of %q: %v", text, err)
		}
		if spdx.ID(spdx.ID(text)) != spdx.ID(text) {
			t.Errorf("ID of %q changes when taken again", text)
		}
	})
}
