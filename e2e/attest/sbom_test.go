package attest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigstack/e2e/e2etest"
)

func sumOf(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

// The SBOM of a directory with one file, bin/tool, in each format.
func tags(content string) string {
	return "SPDXVersion: SPDX-2.3\nDataLicense: CC0-1.0\nSPDXID: SPDXRef-DOCUMENT\nDocumentName: example\n" +
		"DocumentNamespace: https://sboms.example/1\nCreator: Tool: test\nCreated: 2026-11-22T00:00:00Z\n\n" +
		"FileName: ./bin/tool\nSPDXID: SPDXRef-1\nFileChecksum: SHA256: " + sumOf(content) + "\n"
}

func spdxJSON(content string) string {
	return fmt.Sprintf(`{"spdxVersion":"SPDX-2.3","dataLicense":"CC0-1.0","SPDXID":"SPDXRef-DOCUMENT","name":"example",
"documentNamespace":"https://sboms.example/1","creationInfo":{"created":"2026-11-22T00:00:00Z","creators":["Tool: test"]},
"files":[{"SPDXID":"SPDXRef-1","fileName":"./bin/tool","checksums":[{"algorithm":"SHA256","checksumValue":%q}]}]}`, sumOf(content))
}

func cyclone(content string) string {
	return fmt.Sprintf(`{"bomFormat":"CycloneDX","specVersion":"1.5","version":1,"components":[{"type":"file","name":"bin/tool","hashes":[{"alg":"SHA-256","content":%q}]}]}`, sumOf(content))
}

// sboms are the formats with the types that they are attested as.
var sboms = []struct {
	name, predicateType string
	document            func(content string) string
	uri                 string
}{
	{"tags", "spdx", tags, "https://spdx.dev/Document"},
	{"SPDX JSON", "spdxjson", spdxJSON, "https://spdx.dev/Document"},
	{"the other URI", "https://spdx.dev/Document/v2.3", spdxJSON, "https://spdx.dev/Document/v2.3"},
	{"CycloneDX", "cyclonedx", cyclone, "https://cyclonedx.org/bom"},
}

// TestSBOM attests SBOMs of images and files, and tampers with what they describe.
func TestSBOM(t *testing.T) {
	w := newWorld(t)
	places := storages(t)
	for i, s := range sboms {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			tree := filepath.Dir(filepath.Dir(w.tool(t, "a tool")))
			tampered := filepath.Dir(filepath.Dir(w.tool(t, "another tool")))
			place := places[i%len(places)]
			file, image := w.file(t, "app.tar", s.name), w.image(t, place.registry, "app")
			w.attest(t, builder, file, s.predicateType, s.document("a tool"))
			w.attest(t, builder, image, s.predicateType, s.document("a tool"), "--storage", place.style)
			ask := s.predicateType
			if strings.HasPrefix(ask, "https:") {
				ask = "spdx"
			}
			for _, artifact := range []string{file, image} {
				verify := func(dir string) e2etest.Result {
					return w.run(t, nil, "verify-attestation", append(w.by(builder), "--type", ask, "--components", dir, artifact)...)
				}
				wantPassed(t, verify(tree), "(?s)type        "+s.uri+"\n.*components  1 files as described, 0 problem")
				wantRefused(t, verify(tampered), "bin/tool: it was changed")
				wantRefused(t, verify(t.TempDir()), "bin/tool: it is missing")
			}
		})
	}
}

// tool makes a directory with bin/tool, and returns the path of that.
func (w *world) tool(t *testing.T, content string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "bin")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return e2etest.WriteFile(t, dir, "tool", content)
}

// TestReleaseSBOM: the SBOM of a release is signed, listed, and what it says is so.
func TestReleaseSBOM(t *testing.T) {
	w := newWorld(t)
	out := filepath.Join(w.dir, "out")
	e2etest.MustRun(t, nil, e2etest.Sigstack(t), "release", "sample", out, "--version", "v1.2.3", "--files", "12")
	if r := w.run(t, w.env(t, builder), "release sign", out); r.Code != 0 {
		t.Fatalf("exit %d\n%s", r.Code, r.Stderr)
	}
	tree := filepath.Join(out, "release", "v1.2.3")
	sbom := filepath.Join(tree, "kubernetes-release.spdx")
	text := e2etest.ReadFile(t, sbom)
	if sums := e2etest.ReadFile(t, filepath.Join(tree, "SHA256SUMS")); !strings.Contains(sums, sumOf(text)+"  kubernetes-release.spdx") {
		t.Errorf("SHA256SUMS do not list the SBOM:\n%s", sums)
	}
	verify := func() e2etest.Result { return w.run(t, nil, "sbom verify", append(w.by(builder), sbom, tree)...) }
	release := func() e2etest.Result { return w.run(t, nil, "release verify", append(w.by(builder), out)...) }
	wantPassed(t, verify(), "0 problem")
	wantPassed(t, release(), "0 problems")

	victim := filepath.Join(tree, "kubernetes-src.tar.gz")
	good := e2etest.ReadFile(t, victim)
	overwrite(t, victim, good+" ")
	wantRefused(t, verify(), "kubernetes-src.tar.gz: it was changed")
	overwrite(t, victim, good)
	overwrite(t, sbom, strings.Replace(text, "SHA256: ", "SHA256: 0", 1))
	wantRefused(t, verify(), "refused: ")
	wantRefused(t, release(), "kubernetes-release.spdx")
}

func overwrite(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
