// Package sbom reads what SPDX 2 documents (tags and values, or JSON) and CycloneDX
// documents (JSON) say of components and their checksums, and holds files against it
// (contract: release-artifacts.md C2). Whether a document is genuine is found out
// before, by package signing; licences and relationships are left out.
package sbom

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// Limits of a document.
const (
	MaxDocument   = 64 << 20 // bytes
	maxComponents = 500_000
)

// Document is what an SBOM says.
type Document struct {
	Format     string      `json:"format"` // such as "SPDX-2.3" or "CycloneDX 1.6"
	Name       string      `json:"name"`   // may be empty
	Components []Component `json:"-"`
}

// Component is a package or a file.
type Component struct {
	Name    string
	Version string // may be empty
	Path    string // of the file that it is, relative and with slashes; "": it names none
	// Checksums are lower-case hex by algorithm, in lower case and without hyphens, such
	// as "sha256".
	Checksums map[string]string
}

// ErrDocument is matched by the errors of documents that cannot be read.
var ErrDocument = errors.New("it is no SBOM that this program reads")

// Parse reads a document of any of the formats. Its errors match ErrDocument.
func Parse(data []byte) (Document, error) {
	if len(data) > MaxDocument {
		return Document{}, fmt.Errorf("%w: it has %d bytes, more than %d", ErrDocument, len(data), MaxDocument)
	}
	read := parseTags
	if text := bytes.TrimSpace(data); len(text) > 0 && text[0] == '{' {
		read = parseJSON
	}
	d, err := read(data)
	if err != nil {
		return Document{}, fmt.Errorf("%w: %w", ErrDocument, err)
	}
	return d, nil
}

// add appends a component, after a look at its checksums.
func (d *Document) add(c Component) error {
	if len(d.Components) == maxComponents {
		return fmt.Errorf("it has more than %d components", maxComponents)
	}
	c.Path = strings.TrimPrefix(c.Path, "./")
	d.Components = append(d.Components, c)
	return nil
}

// checksum adds one to a component. Two of an algorithm have to be the same.
func (c *Component) checksum(algorithm, value string) error {
	algorithm = strings.ReplaceAll(strings.ToLower(algorithm), "-", "")
	value = strings.ToLower(value)
	if algorithm == "" || value == "" {
		return fmt.Errorf("%q has a checksum that is empty", c.Name)
	}
	if digits, strong := digits[algorithm]; strong && (len(value) != digits || strings.Trim(value, "0123456789abcdef") != "") {
		return fmt.Errorf("%q has a %s checksum that is none: %.140q", c.Name, algorithm, value)
	}
	if old, there := c.Checksums[algorithm]; there && old != value {
		return fmt.Errorf("%q has two %s checksums", c.Name, algorithm)
	}
	if c.Checksums == nil {
		c.Checksums = map[string]string{}
	}
	c.Checksums[algorithm] = value
	return nil
}

// digits are the lengths in hex of the checksums that prove something.
var digits = map[string]int{"sha256": 64, "sha384": 96, "sha512": 128}

// Strong reports whether the component has a checksum that proves something: SHA-1
// and MD5 do not.
func (c Component) Strong() bool {
	for algorithm := range c.Checksums {
		if digits[algorithm] > 0 {
			return true
		}
	}
	return false
}
