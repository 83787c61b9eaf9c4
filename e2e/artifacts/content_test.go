package artifacts

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"slices"
	"testing"
)

// file is one file of an archive.
type file struct{ name, content string }

// archive packs files as .tar.gz, alike each time.
func archive(t *testing.T, files ...file) []byte {
	t.Helper()
	var out bytes.Buffer
	packed := gzip.NewWriter(&out)
	w := tar.NewWriter(packed)
	for _, f := range files {
		header := &tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.content)), Typeflag: tar.TypeReg}
		if err := w.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(f.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := packed.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// chartYAML is what a Helm chart says of itself; its config holds the same.
const chartYAML = "apiVersion: v2\nname: web\nversion: 1.2.3\ntype: application\ndescription: "

// chart is a Helm chart of one template.
func chart(t *testing.T, text string) []byte {
	t.Helper()
	return archive(t,
		file{"web/Chart.yaml", chartYAML + text + "\n"},
		file{"web/values.yaml", "greeting: " + text + "\n"},
		file{"web/templates/configmap.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}\ndata:\n  greeting: {{ .Values.greeting | quote }}\n"},
	)
}

// policyBundle is one as Open Policy Agent packs it.
func policyBundle(t *testing.T, text string) []byte {
	t.Helper()
	return archive(t,
		file{".manifest", `{"revision":"` + text + `","roots":["sample"]}`},
		file{"sample/policy.rego", "package sample\n\nimport rego.v1\n\ndefault allow := false\n\nallow if input.greeting == \"" + text + "\"\n"},
	)
}

// module is the smallest WebAssembly module that holds text: its header and a
// custom section.
func module(text string) []byte {
	name := "note"
	section := slices.Concat([]byte{byte(len(name))}, []byte(name), []byte(text))
	return slices.Concat([]byte("\x00asm\x01\x00\x00\x00"), []byte{0, byte(len(section))}, section)
}

// spdxText is SPDX 2.3 as tags and values.
func spdxText(text string) []byte {
	return []byte("SPDXVersion: SPDX-2.3\nDataLicense: CC0-1.0\nSPDXID: SPDXRef-DOCUMENT\nDocumentName: " + text +
		"\nDocumentNamespace: https://sigstack.example/sbom/" + text +
		"\nCreator: Tool: sigstack-tests\nCreated: 2026-01-02T03:04:05Z\n\nPackageName: " + text +
		"\nSPDXID: SPDXRef-Package\nPackageDownloadLocation: NOASSERTION\nFilesAnalyzed: false\n")
}

// spdxJSON is SPDX 2.3 as JSON.
func spdxJSON(t *testing.T, text string) []byte {
	t.Helper()
	return encode(t, map[string]any{
		"spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT",
		"name": text, "documentNamespace": "https://sigstack.example/sbom/" + text,
		"creationInfo": map[string]any{"created": "2026-01-02T03:04:05Z", "creators": []string{"Tool: sigstack-tests"}},
		"packages": []any{map[string]any{
			"name": text, "SPDXID": "SPDXRef-Package", "downloadLocation": "NOASSERTION", "filesAnalyzed": false,
		}},
	})
}

// cycloneDX is CycloneDX 1.5 as JSON.
func cycloneDX(t *testing.T, text string) []byte {
	t.Helper()
	return encode(t, map[string]any{
		"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
		"components": []any{map[string]any{"type": "library", "name": text, "version": "1.2.3", "purl": "pkg:generic/" + text + "@1.2.3"}},
	})
}

func encode(t *testing.T, value any) []byte {
	t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
