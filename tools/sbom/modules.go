package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"sigstack/internal/release/spdx"
)

// module is what `go list` says of a module.
type module struct {
	Path    string
	Version string
	Main    bool
	Sum     string // "h1:" and base64 of a SHA-256 over the module's files
	Replace *module
}

// parseModules reads a stream of packages and returns their modules by path, the
// main one first.
func parseModules(list []byte) ([]module, error) {
	byPath := map[string]module{}
	decoder := json.NewDecoder(bytes.NewReader(list))
	for {
		var p struct{ Module *module }
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read package list: %w", err)
		}
		m := p.Module
		if m == nil {
			continue // standard library
		}
		if m.Replace != nil {
			m = m.Replace
		}
		byPath[m.Path] = *m
	}
	var out []module
	for _, m := range byPath {
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b module) int {
		if a.Main != b.Main {
			if a.Main {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Path, b.Path)
	})
	if len(out) == 0 || !out[0].Main {
		return nil, errors.New("read package list: the main module is not in it")
	}
	return out, nil
}

// document describes the main module and says that it depends on the others.
func document(modules []module, version string, now time.Time) spdx.Document {
	d := spdx.Document{
		Name:      modules[0].Path,
		Namespace: "https://sigstack.invalid/spdx/" + modules[0].Path,
		Creator:   "sigstack-sbom",
		Created:   now,
	}
	if version != "" {
		d.Name += "-" + version
		d.Namespace += "/" + version + "/source"
	}
	main := "SPDXRef-" + id(0, modules[0])
	d.Relations = []spdx.Relation{{From: "SPDXRef-DOCUMENT", Kind: "DESCRIBES", To: main}}
	for i, m := range modules {
		p := spdx.Package{ID: id(i, m), Name: m.Path, Version: m.Version}
		if i == 0 {
			p.Version, p.License = version, "Apache-2.0"
		} else {
			p.Download = "https://proxy.golang.org/" + escape(m.Path) + "/@v/" + m.Version + ".zip"
			p.PURL = "pkg:golang/" + m.Path + "@" + m.Version
			p.Comment = sumComment(m.Sum)
			d.Relations = append(d.Relations, spdx.Relation{From: main, Kind: "DEPENDS_ON", To: "SPDXRef-" + p.ID})
		}
		d.Packages = append(d.Packages, p)
	}
	return d
}

func id(i int, m module) string { return fmt.Sprintf("Package-%d-%s", i, spdx.ID(m.Path)) }

// sumComment renders the module's checksum. It is a hash over file hashes, not of
// the archive, so it must not go into PackageChecksum.
func sumComment(sum string) string {
	digest, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(sum, "h1:"))
	if err != nil || len(digest) == 0 {
		return ""
	}
	return "go.sum h1 " + hex.EncodeToString(digest)
}

// escape writes a module path as the module proxy protocol does: "!" and the
// lower-case letter for an upper-case one.
func escape(path string) string {
	var b strings.Builder
	for _, r := range path {
		if r >= 'A' && r <= 'Z' {
			b.WriteByte('!')
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}
