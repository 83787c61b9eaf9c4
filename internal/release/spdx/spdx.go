// Package spdx writes SPDX 2.3 documents as tag-value text. It knows the format
// only (https://spdx.github.io/spdx-spec/v2.3); what is in a document, and where
// it is written, is the caller's.
package spdx

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // SPDX 2.3 §7.9 and §8.4 demand SHA-1; it protects nothing here
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// NamespaceTag is the tag of a document's namespace.
const NamespaceTag = "DocumentNamespace"

// NoAssertion is the value of a field about which nothing is claimed.
const NoAssertion = "NOASSERTION"

// Document is an SPDX document. Element IDs are given without "SPDXRef-".
type Document struct {
	Name      string
	Namespace string // absolute URI, unique to this document
	Creator   string // tool, such as "sigstack-1.0"
	Created   time.Time
	External  []ExternalDocument
	Packages  []Package
	Relations []Relation
}

// ExternalDocument is another SPDX document that this one refers to.
type ExternalDocument struct {
	ID        string // without "DocumentRef-"
	Namespace string
	SHA1      string // hex digest of the document's file
}

// Package is a package and, if they were analysed, its files.
type Package struct {
	ID        string
	Name      string
	Version   string // may be empty
	Download  string // empty: NOASSERTION
	License   string // empty: NOASSERTION
	Checksums []Checksum
	PURL      string // package URL; may be empty
	Comment   string // may be empty
	Files     []File // nil: not analysed
}

// File is one file of a package.
type File struct {
	ID        string
	Name      string     // relative path, without "./"
	Checksums []Checksum // SHA1 among them
}

// Checksum is a digest of a file.
type Checksum struct {
	Algorithm string // "SHA1", "SHA256", "SHA512"
	Hex       string
}

// Relation says that From has a relationship of Kind with To, both full
// references such as "SPDXRef-DOCUMENT" or "DocumentRef-x:SPDXRef-y".
type Relation struct{ From, Kind, To string }

var idPattern = regexp.MustCompile(`^[A-Za-z0-9.-]+$`)

// ID turns any text into a valid element ID.
func ID(text string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x80 && idPattern.MatchString(string(r)) {
			return r
		}
		return '-'
	}, text)
}

// Encode renders the document. It is an error for a value to hold a line break,
// for an ID to be unusable or used twice, and for a file to lack its SHA-1.
func (d Document) Encode() ([]byte, error) {
	w := &writer{ids: map[string]bool{}}
	w.tag("SPDXVersion", "SPDX-2.3")
	w.tag("DataLicense", "CC0-1.0")
	w.tag("SPDXID", "SPDXRef-DOCUMENT")
	w.tag("DocumentName", d.Name)
	w.tag(NamespaceTag, d.Namespace)
	for _, e := range d.External {
		w.tag("ExternalDocumentRef", fmt.Sprintf("DocumentRef-%s %s SHA1: %s", e.ID, e.Namespace, e.SHA1))
	}
	w.tag("Creator", "Tool: "+d.Creator)
	w.tag("Created", d.Created.UTC().Format("2006-01-02T15:04:05Z"))
	for _, p := range d.Packages {
		w.pkg(p)
	}
	w.blank()
	for _, r := range d.Relations {
		w.tag("Relationship", r.From+" "+r.Kind+" "+r.To)
	}
	if w.err != nil {
		return nil, fmt.Errorf("encode SPDX document %s: %w", d.Name, w.err)
	}
	return w.buf.Bytes(), nil
}

// writer accumulates tag-value lines and the first error.
type writer struct {
	buf bytes.Buffer
	ids map[string]bool
	err error
}

func (w *writer) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf(format, args...)
	}
}

func (w *writer) blank() { w.buf.WriteByte('\n') }

func (w *writer) tag(name, value string) {
	if value == "" || strings.ContainsAny(value, "\r\n") {
		w.fail("%s: value %q is empty or has a line break", name, value)
	}
	w.buf.WriteString(name + ": " + value + "\n")
}

func (w *writer) id(id string) {
	if !idPattern.MatchString(id) || w.ids[id] {
		w.fail("SPDXID: %q is unusable or used twice", id)
	}
	w.ids[id] = true
	w.tag("SPDXID", "SPDXRef-"+id)
}

func (w *writer) pkg(p Package) {
	w.blank()
	w.tag("PackageName", p.Name)
	w.id(p.ID)
	if p.Version != "" {
		w.tag("PackageVersion", p.Version)
	}
	w.tag("PackageDownloadLocation", orNoAssertion(p.Download))
	if p.Files == nil {
		w.tag("FilesAnalyzed", "false")
	} else {
		w.tag("FilesAnalyzed", "true")
		w.tag("PackageVerificationCode", w.verificationCode(p))
	}
	for _, c := range p.Checksums {
		w.tag("PackageChecksum", c.Algorithm+": "+c.Hex)
	}
	w.tag("PackageLicenseConcluded", orNoAssertion(p.License))
	w.tag("PackageLicenseDeclared", orNoAssertion(p.License))
	w.tag("PackageCopyrightText", NoAssertion)
	if p.Comment != "" {
		w.tag("PackageComment", "<text>"+p.Comment+"</text>")
	}
	if p.PURL != "" {
		w.tag("ExternalRef", "PACKAGE-MANAGER purl "+p.PURL)
	}
	for _, f := range p.Files {
		w.file(f)
	}
}

func (w *writer) file(f File) {
	w.blank()
	w.tag("FileName", "./"+f.Name)
	w.id(f.ID)
	for _, c := range f.Checksums {
		w.tag("FileChecksum", c.Algorithm+": "+c.Hex)
	}
	w.tag("LicenseConcluded", NoAssertion)
	w.tag("LicenseInfoInFile", NoAssertion)
	w.tag("FileCopyrightText", NoAssertion)
}

// verificationCode is SHA-1 over the files' sorted SHA-1 digests (SPDX 2.3 §7.9).
func (w *writer) verificationCode(p Package) string {
	digests := make([]string, 0, len(p.Files))
	for _, f := range p.Files {
		i := slices.IndexFunc(f.Checksums, func(c Checksum) bool { return c.Algorithm == "SHA1" })
		if i < 0 {
			w.fail("file %s has no SHA1", f.Name)
			continue
		}
		digests = append(digests, f.Checksums[i].Hex)
	}
	slices.Sort(digests)
	sum := sha1.Sum([]byte(strings.Join(digests, ""))) //nolint:gosec // as above
	return hex.EncodeToString(sum[:])
}

func orNoAssertion(value string) string {
	if value == "" {
		return NoAssertion
	}
	return value
}

// Namespace returns the namespace of a tag-value document. A document without
// exactly one is an error.
func Namespace(text []byte) (string, error) {
	var found []string
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, NamespaceTag+": "); ok {
			found = append(found, strings.TrimSpace(value))
		}
	}
	if len(found) != 1 || found[0] == "" {
		return "", fmt.Errorf("read SPDX document: got %d namespaces, want 1", len(found))
	}
	return found[0], nil
}
