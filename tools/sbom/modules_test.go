package main

import (
	"strings"
	"testing"
	"time"

	"sigstack/internal/release/spdx"
)

const packages = `
{"Standard":true}
{"Module":{"Path":"github.com/BurntSushi/toml","Version":"v1.2.0","Sum":"h1:AAAA"}}
{"Module":{"Path":"sigstack","Main":true}}
{"Module":{"Path":"github.com/BurntSushi/toml","Version":"v1.2.0","Sum":"h1:AAAA"}}
{"Module":{"Path":"old.example/a","Version":"v0.1.0","Replace":{"Path":"new.example/a","Version":"v0.2.0"}}}
`

func TestDocument(t *testing.T) {
	modules, err := parseModules([]byte(packages))
	if err != nil {
		t.Fatal(err)
	}
	text, err := document(modules, "v0.1.0", time.Unix(0, 0)).Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"DocumentNamespace: https://sigstack.invalid/spdx/sigstack/v0.1.0/source\n",
		"Created: 1970-01-01T00:00:00Z\n",
		"PackageName: sigstack\nSPDXID: SPDXRef-Package-0-sigstack\nPackageVersion: v0.1.0\n",
		"PackageDownloadLocation: https://proxy.golang.org/github.com/!burnt!sushi/toml/@v/v1.2.0.zip\n",
		"ExternalRef: PACKAGE-MANAGER purl pkg:golang/new.example/a@v0.2.0\n",
		"Relationship: SPDXRef-DOCUMENT DESCRIBES SPDXRef-Package-0-sigstack\n",
		"Relationship: SPDXRef-Package-0-sigstack DEPENDS_ON SPDXRef-Package-1-github.com-BurntSushi-toml\n",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("got %s\nwant it to hold %q", text, want)
		}
	}
	if got := strings.Count(string(text), "PackageName: "); got != 3 {
		t.Errorf("got %d packages, want 3: one per module, none for the standard library", got)
	}
	if got, err := spdx.Namespace(text); err != nil || !strings.HasSuffix(got, "/v0.1.0/source") {
		t.Errorf("got namespace %q, %v, want one that ends in /v0.1.0/source", got, err)
	}
}

func TestParseModulesRefuses(t *testing.T) {
	for _, list := range []string{"", "{", `{"Standard":true}`, `{"Module":{"Path":"only.example/dependency"}}`} {
		if got, err := parseModules([]byte(list)); err == nil {
			t.Errorf("%q: got %v, want an error", list, got)
		}
	}
}
