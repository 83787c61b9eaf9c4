package release

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha1" //nolint:gosec // SPDX 2.3 demands SHA-1 beside the others
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"

	"sigstack/internal/release/spdx"
)

// namespaceBase begins the namespaces of made-up SBOMs; they end as A1 says.
const namespaceBase = "https://sigstack.invalid/spdx/"

// maxSBOM is the most bytes that FromBin's SBOM may have.
const maxSBOM = 64 << 20

// writeSBOMs writes the SBOM of the source bundle, or takes FromBin's, and then
// the release's, which refers to it.
func (b *builder) writeSBOMs() error {
	namespace := namespaceBase + b.Version + "/source"
	if !b.has(sourceSBOM) {
		if err := b.writeSourceSBOM(namespace); err != nil {
			return err
		}
		return b.writeReleaseSBOM(namespace)
	}
	namespace, err := b.adoptSBOM()
	if err != nil {
		return fmt.Errorf("take %s: %w", sourceSBOM, err)
	}
	return b.writeReleaseSBOM(namespace)
}

// adoptSBOM takes FromBin's source SBOM, under a namespace that ends as A1 says,
// and returns that. A copy under another namespace is another document (SPDX 2.3
// §6.5), so one line has to change and nothing else may.
func (b *builder) adoptSBOM() (namespace string, err error) {
	f, err := os.Open(filepath.Join(b.FromBin, sourceSBOM))
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	text, err := io.ReadAll(io.LimitReader(f, maxSBOM+1))
	if err != nil {
		return "", err
	}
	if len(text) > maxSBOM {
		return "", fmt.Errorf("more than %d bytes", maxSBOM)
	}
	old, err := spdx.Namespace(text)
	if err != nil {
		return "", err
	}
	namespace = old
	if end := "/" + b.Version + "/source"; !strings.HasSuffix(old, end) {
		namespace = strings.TrimSuffix(old, "/") + end
		tag := spdx.NamespaceTag + ": "
		text = bytes.Replace(text, []byte(tag+old), []byte(tag+namespace), 1)
	}
	return namespace, b.put(sourceSBOM, text)
}

// document is an SBOM with the one package that it describes.
func (b *builder) document(kind, namespace string, p spdx.Package) spdx.Document {
	return spdx.Document{
		Name: "kubernetes-" + kind + "-" + b.Version, Namespace: namespace, Creator: "sigstack", Created: b.Created,
		Packages:  []spdx.Package{p},
		Relations: []spdx.Relation{{From: "SPDXRef-DOCUMENT", Kind: "DESCRIBES", To: "SPDXRef-" + p.ID}},
	}
}

func (b *builder) writeSourceSBOM(namespace string) (err error) {
	f, err := os.Open(b.path(sourceTarball))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	z, err := gzip.NewReader(f)
	if err != nil {
		return fmt.Errorf("read %s: %w", sourceTarball, err)
	}
	p := spdx.Package{ID: "Package-kubernetes-source", Name: "kubernetes", Version: b.Version, License: "Apache-2.0", Files: []spdx.File{}}
	archive := tar.NewReader(z)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", sourceTarball, err)
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		file, err := describeFile(len(p.Files), header.Name, archive)
		if err != nil {
			return fmt.Errorf("read %s: %w", sourceTarball, err)
		}
		p.Files = append(p.Files, file)
	}
	text, err := b.document("source", namespace, p).Encode()
	if err != nil {
		return err
	}
	return b.put(sourceSBOM, text)
}

// writeReleaseSBOM describes every file of the tree but the SBOMs, as generated
// from the source SBOM's package.
func (b *builder) writeReleaseSBOM(sourceNamespace string) error {
	t, err := openTree(b.dir)
	if err != nil {
		return err
	}
	defer t.close() //nolint:errcheck // only read
	p := spdx.Package{ID: "Package-kubernetes-release", Name: "kubernetes", Version: b.Version, License: "Apache-2.0", Files: []spdx.File{}}
	var source spdx.File
	for _, f := range t.files {
		file, err := b.describe(len(p.Files), f.path)
		if err != nil {
			return err
		}
		if f.path == sourceSBOM {
			source = file
			continue
		}
		p.Files = append(p.Files, file)
	}
	doc := b.document("release", namespaceBase+b.Version+"/release", p)
	doc.External = []spdx.ExternalDocument{{ID: "kubernetes-source", Namespace: sourceNamespace, SHA1: source.Checksums[0].Hex}}
	doc.Relations = append(doc.Relations, spdx.Relation{
		From: "SPDXRef-" + p.ID, Kind: "GENERATED_FROM", To: "DocumentRef-kubernetes-source:SPDXRef-DOCUMENT",
	})
	text, err := doc.Encode()
	if err != nil {
		return err
	}
	return b.put(releaseSBOM, text)
}

func (b *builder) describe(n int, name string) (_ spdx.File, err error) {
	f, err := os.Open(filepath.Join(b.dir, filepath.FromSlash(name)))
	if err != nil {
		return spdx.File{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return describeFile(n, name, f)
}

// describeFile hashes the n-th file of a package in one pass.
func describeFile(n int, name string, r io.Reader) (spdx.File, error) {
	sums := []struct {
		name string
		hash hash.Hash
	}{
		{"SHA1", sha1.New()}, {"SHA256", sha256.New()}, {"SHA512", sha512.New()}, //nolint:gosec // as above
	}
	if _, err := io.Copy(io.MultiWriter(sums[0].hash, sums[1].hash, sums[2].hash), r); err != nil {
		return spdx.File{}, err
	}
	f := spdx.File{ID: fmt.Sprintf("File-%d-%s", n, spdx.ID(name)), Name: name}
	for _, s := range sums {
		f.Checksums = append(f.Checksums, spdx.Checksum{Algorithm: s.name, Hex: hex.EncodeToString(s.hash.Sum(nil))})
	}
	return f, nil
}
