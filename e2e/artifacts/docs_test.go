package artifacts

import (
	"encoding/json"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"sigstack/e2e/e2etest"
)

// TestDocs: the manual has each kind, with the types by which it is pushed here.
func TestDocs(t *testing.T) {
	page := e2etest.ReadFile(t, "../../docs/artifacts.md")
	for _, k := range kinds() {
		words := []string{"`" + string(k.says) + "`"}
		if k.artifactType == settings {
			words = append(words, emptyConfig, "`artifactType`")
		} else if len(k.make(t, "x").children) == 0 {
			words = append(words, k.artifactType)
			var m v1.Manifest
			if err := json.Unmarshal(k.make(t, "x").manifest, &m); err != nil {
				t.Fatal(err)
			}
			words = append(words, string(m.Layers[0].MediaType))
		}
		if k.name == "policy bundle" {
			words[1] = "as an image"
		}
		if !hasRow(page, words) {
			t.Errorf("%s: docs/artifacts.md has no row with %q", k.name, words)
		}
	}
}

func hasRow(page string, words []string) bool {
	for line := range strings.Lines(page) {
		found := strings.HasPrefix(line, "| ")
		for _, word := range words {
			found = found && strings.Contains(line, word)
		}
		if found {
			return true
		}
	}
	return false
}
