package release

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"strings"
	"time"
)

// pseudoRandom returns the content of a made-up binary: 4 to 64 KiB that depend
// on seed and name alone.
func pseudoRandom(seed uint64, name string) []byte {
	key := sha256.Sum256(binary.BigEndian.AppendUint64([]byte(name+"\x00"), seed))
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // the key has 32 bytes
	}
	size := 4<<10 + int(binary.BigEndian.Uint16(key[:]))%(60<<10)
	out := make([]byte, size)
	cipher.NewCTR(block, key[:aes.BlockSize]).XORKeyStream(out, out)
	return out
}

// entry is one file of an archive.
type entry struct {
	name string
	mode int64
	size int64
	open func() (io.ReadCloser, error)
}

func textEntry(name, text string) entry { return bytesEntry(name, 0o644, []byte(text)) }

func bytesEntry(name string, mode int64, data []byte) entry {
	return entry{name: name, mode: mode, size: int64(len(data)), open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data)), nil
	}}
}

// writeTar writes entries as a reproducible archive: one time, no owners.
func writeTar(w io.Writer, created time.Time, entries []entry) error {
	archive := tar.NewWriter(w)
	for _, e := range entries {
		if err := writeTarEntry(archive, created, e); err != nil {
			return fmt.Errorf("archive %s: %w", e.name, err)
		}
	}
	return archive.Close()
}

func writeTarEntry(archive *tar.Writer, created time.Time, e entry) error {
	header := &tar.Header{Name: e.name, Mode: e.mode, Size: e.size, ModTime: created, Format: tar.FormatUSTAR}
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	r, err := e.open()
	if err != nil {
		return err
	}
	if _, err := io.Copy(archive, r); err != nil {
		_ = r.Close() // the copy's error says more
		return err
	}
	return r.Close()
}

// writeTarGz is writeTar compressed, without a time in the gzip header.
func writeTarGz(w io.Writer, created time.Time, entries []entry) error {
	z := gzip.NewWriter(w)
	if err := writeTar(z, created, entries); err != nil {
		return err
	}
	return z.Close()
}

// dockerTag is a version as an image tag: "+" is not allowed there (A3).
func dockerTag(version string) string { return strings.ReplaceAll(version, "+", "_") }

// imageEntries are the files of a single-layer image as `docker save` lays them
// out, with the binary as its only content.
func imageEntries(name, arch, version string, created time.Time, binaryFile entry) ([]entry, error) {
	binaryFile.name = "usr/local/bin/" + name
	var layer bytes.Buffer
	if err := writeTar(&layer, created, []entry{binaryFile}); err != nil {
		return nil, err
	}
	diffID := sha256.Sum256(layer.Bytes())
	config, err := json.Marshal(map[string]any{
		"architecture": arch, "os": "linux", "created": created.UTC().Format(time.RFC3339),
		"config": map[string]any{"Entrypoint": []string{"/usr/local/bin/" + name}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + hex.EncodeToString(diffID[:])}},
	})
	if err != nil {
		return nil, err
	}
	id := sha256.Sum256(config)
	configName := hex.EncodeToString(id[:]) + ".json"
	manifest, err := json.Marshal([]map[string]any{{
		"Config": configName, "Layers": []string{"layer.tar"},
		"RepoTags": []string{"registry.k8s.io/" + name + "-" + arch + ":" + dockerTag(version)},
	}})
	if err != nil {
		return nil, err
	}
	return []entry{
		bytesEntry(configName, 0o644, config),
		bytesEntry("layer.tar", 0o644, layer.Bytes()),
		bytesEntry("manifest.json", 0o644, manifest),
	}, nil
}

// launcherEntries are the content of kubernetes.tar.gz.
func launcherEntries(version string) []entry {
	return []entry{
		textEntry("kubernetes/version", version+"\n"),
		textEntry("kubernetes/README.md", "# A sample release\n\nMade to be signed; nothing in it runs.\n"),
		textEntry("kubernetes/cluster/get-kube-binaries.sh", "#!/bin/sh\necho 'this is a sample' >&2\nexit 1\n"),
	}
}

// sourceEntries are the content of a made-up kubernetes-src.tar.gz.
func sourceEntries(version string, seed uint64) []entry {
	out := []entry{
		textEntry("kubernetes/LICENSE", "Sample text under the Apache License 2.0.\n"),
		textEntry("kubernetes/Makefile", "all:\n\tgo build ./cmd/...\n"),
		textEntry("kubernetes/go.mod", "module k8s.io/kubernetes\n\ngo 1.26\n"),
		textEntry("kubernetes/version", version+"\n"),
	}
	for _, name := range append(append(append([]string(nil), clientNames...), nodeNames...), serverNames...) {
		out = append(out, textEntry("kubernetes/cmd/"+name+"/main.go",
			fmt.Sprintf("package main\n\n// Sample %d of %s.\nfunc main() {}\n", seed, name)))
	}
	return out
}

// manifestEntries are the content of kubernetes-manifests.tar.gz.
func manifestEntries(version string) []entry {
	var out []entry
	for _, name := range imageNames {
		out = append(out, textEntry("kubernetes/gci-trusty/"+name+".manifest",
			fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata:\n  name: %s\nspec:\n  containers:\n  - name: %s\n    image: registry.k8s.io/%s:%s\n",
				name, name, name, dockerTag(version))))
	}
	return out
}

// inTarball is where a component tarball keeps the binary at p.
func (c component) inTarball(p string) string {
	return "kubernetes/" + c.kind + "/bin/" + path.Base(p)
}
