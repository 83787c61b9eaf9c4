package sbom

import (
	"errors"
	"fmt"
	"strings"

	"sigstack/internal/signing"
)

// maxDepth is how deep CycloneDX components may hold others.
const maxDepth = 32

// parseJSON reads SPDX 2 or CycloneDX.
func parseJSON(data []byte) (Document, error) {
	if err := signing.CheckUnique(data); err != nil {
		return Document{}, err
	}
	var v struct {
		SPDXVersion string         `json:"spdxVersion"`
		BOMFormat   string         `json:"bomFormat"`
		SpecVersion string         `json:"specVersion"`
		Name        string         `json:"name"`
		Packages    []spdxPackage  `json:"packages"`
		Files       []spdxFile     `json:"files"`
		Metadata    cycloneMeta    `json:"metadata"`
		Components  []cycloneEntry `json:"components"`
	}
	if err := signing.DecodeSpelt(data, &v); err != nil {
		return Document{}, err
	}
	switch {
	case v.SPDXVersion != "" && v.BOMFormat != "":
		return Document{}, errors.New("it claims to be both SPDX and CycloneDX")
	case strings.HasPrefix(v.SPDXVersion, "SPDX-2."):
		d := Document{Format: v.SPDXVersion, Name: v.Name}
		return d, d.addSPDX(v.Packages, v.Files)
	case v.BOMFormat == "CycloneDX" && v.SpecVersion != "":
		d := Document{Format: "CycloneDX " + v.SpecVersion, Name: v.Metadata.Component.Name}
		return d, d.addCyclone(append(v.Components, v.Metadata.Component.entry()...), 0)
	}
	return Document{}, errors.New("it is neither SPDX 2 nor CycloneDX")
}

type spdxPackage struct {
	Name      string         `json:"name"`
	Version   string         `json:"versionInfo"`
	File      string         `json:"packageFileName"`
	Checksums []spdxChecksum `json:"checksums"`
}

type spdxFile struct {
	Name      string         `json:"fileName"`
	Checksums []spdxChecksum `json:"checksums"`
}

type spdxChecksum struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"checksumValue"`
}

func (d *Document) addSPDX(packages []spdxPackage, files []spdxFile) error {
	for _, p := range packages {
		if err := d.addWith(Component{Name: p.Name, Version: p.Version, Path: p.File}, p.Checksums); err != nil {
			return err
		}
	}
	for _, f := range files {
		if err := d.addWith(Component{Name: f.Name, Path: f.Name}, f.Checksums); err != nil {
			return err
		}
	}
	return nil
}

func (d *Document) addWith(c Component, checksums []spdxChecksum) error {
	if c.Name == "" {
		return errors.New("a component has no name")
	}
	for _, sum := range checksums {
		if err := c.checksum(sum.Algorithm, sum.Value); err != nil {
			return err
		}
	}
	return d.add(c)
}

// cycloneMeta is what a document says of itself.
type cycloneMeta struct {
	Component cycloneSubject `json:"component"`
}

// cycloneSubject is what the document is about; it has no name if there is none.
type cycloneSubject struct {
	Type    string        `json:"type"`
	Name    string        `json:"name"`
	Version string        `json:"version"`
	Hashes  []cycloneHash `json:"hashes"`
}

func (s cycloneSubject) entry() []cycloneEntry {
	if s.Name == "" {
		return nil
	}
	return []cycloneEntry{{Type: s.Type, Name: s.Name, Version: s.Version, Hashes: s.Hashes}}
}

// cycloneEntry is a component. Those inside it are read when their turn comes, so
// that depth is bounded here.
type cycloneEntry struct {
	Type       string        `json:"type"`
	Name       string        `json:"name"`
	Version    string        `json:"version"`
	Hashes     []cycloneHash `json:"hashes"`
	Components rawList       `json:"components"`
}

type cycloneHash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

// rawList is an array that is not read yet.
type rawList []byte

// UnmarshalJSON implements json.Unmarshaler.
func (r *rawList) UnmarshalJSON(data []byte) error {
	*r = append((*r)[:0], data...)
	return nil
}

func (d *Document) addCyclone(entries []cycloneEntry, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("its components are nested more than %d deep", maxDepth)
	}
	for _, e := range entries {
		c := Component{Name: e.Name, Version: e.Version}
		if e.Name == "" {
			return errors.New("a component has no name")
		}
		if e.Type == "file" {
			c.Path = e.Name
		}
		for _, h := range e.Hashes {
			if err := c.checksum(h.Algorithm, h.Content); err != nil {
				return err
			}
		}
		if err := d.add(c); err != nil {
			return err
		}
		if len(e.Components) == 0 {
			continue
		}
		var inner []cycloneEntry
		if err := signing.DecodeSpelt(e.Components, &inner); err != nil {
			return err
		}
		if err := d.addCyclone(inner, depth+1); err != nil {
			return err
		}
	}
	return nil
}
