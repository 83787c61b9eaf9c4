// Package arch holds the import table of ARCHITECTURE.md as a test, with the
// size limits that keep a service readable. It contains no product code.
package arch

import (
	"slices"
	"strings"
	"testing"
)

func TestTree(t *testing.T) {
	files := parseTree(t)
	if len(files) < 10 {
		t.Fatalf("parsed %d files, want the whole tree", len(files))
	}
	for _, v := range violations(files) {
		t.Error(v)
	}
}

// TestTable holds the table itself to its word: rows exist once, point at
// rows, and never in a circle.
func TestTable(t *testing.T) {
	rows := map[string]layer{}
	for _, l := range layers {
		if _, twice := rows[l.path]; twice {
			t.Errorf("%s has two rows", l.path)
		}
		rows[l.path] = l
	}
	for i, l := range layers {
		for _, use := range l.uses {
			at := slices.IndexFunc(layers, func(l layer) bool { return l.path == use })
			if use != "..." && (at < 0 || at >= i) {
				t.Errorf("%s uses %s, which is not a row above it", l.path, use)
			}
			if strings.HasPrefix(l.path, "services/") && strings.HasPrefix(use, "services/") {
				t.Errorf("%s uses %s: services never import one another", l.path, use)
			}
		}
	}
}

// TestViolations proves that each rule can fail, on files that break one.
func TestViolations(t *testing.T) {
	lines := func(n int) file { return file{path: "services/ca/ca.go", lines: n} }
	tests := []struct {
		name string
		file file
		want string // "" for a file that keeps every rule
	}{
		{"down", imports("services/ca/ca.go", "sigstack/internal/keys", "net/http", "os"), ""},
		{"own sub-package", imports("services/ca/ca.go", "sigstack/services/ca/identity"), ""},
		{"own parent", imports("services/tlog/rekorv1/api.go", "sigstack/services/tlog"), ""},
		{"own pure part", imports("services/tlog/tlog.go", "sigstack/services/tlog/entry"), ""},
		{"tuf service", imports("services/tuf/tuf.go", "sigstack/tuf-root"), ""},
		{"ctfe", imports("services/ctlog/ctlog.go", "github.com/google/certificate-transparency-go/trillian/ctfe"), ""},
		{"ct types", imports("services/ca/sct.go", "github.com/google/certificate-transparency-go/tls"), ""},
		{"trillian API types", imports("services/ctlog/client.go", "github.com/google/trillian"), ""},
		{"pebble driver", imports("internal/merkle/pebblelog/store.go", "github.com/google/trillian/storage/tree"), ""},
		{"similar path", imports("internal/stack/stack.go", "log/slog"), ""},
		{"tools use the client", imports("tools/load/main.go", "sigstack/internal/signing", "flag", "log"), ""},
		{"test of a part", imports("services/tlog/entry/e_test.go", "sigstack/services/tlog/tlogtest"), ""},
		{"test helper with a clock", uses("services/tlog/tlogtest/log.go", "time.Now"), ""},
		{"test flags", imports("services/ca/golden_test.go", "flag"), ""},
		{"whole-stack test", imports("e2e/crash_test.go", "sigstack/services/tlog/tlogtest"), ""},
		{"part of the whole-stack tests", imports("e2e/clients/cosign.go", "sigstack/e2e/e2etest"), ""},
		{"longest file", lines(450), ""},

		{"up", imports("internal/keys/keys.go", "sigstack/services/ca"), "internal/keys may not import services/ca"},
		{"up in a test", imports("internal/keys/keys_test.go", "sigstack/services/ca"), "internal/keys may not import services/ca"},
		{"between services", imports("services/ca/ca.go", "sigstack/services/ctlog"), "services/ca may not import services/ctlog"},
		{"between sub-packages", imports("services/ca/identity/a.go", "sigstack/services/tlog/rekorv1"), "services/ca may not import services/tlog"},
		{"pure part uses its service", imports("services/tlog/entry/e.go", "sigstack/services/tlog"), "services/tlog/entry may not import services/tlog"},
		{"other service and tuf-root", imports("services/tsa/tsa.go", "sigstack/tuf-root"), "services/tsa may not import tuf-root"},
		{"tuf-root and httpd", imports("tuf-root/repo.go", "sigstack/internal/httpd"), "tuf-root may not import internal/httpd"},
		{"whole-stack test and a service", imports("e2e/crash_test.go", "sigstack/services/tlog"), "e2e may not import services/tlog"},
		{"client uses a service", imports("internal/signing/sign.go", "sigstack/services/ca"), "internal/signing may not import services/ca"},
		{"client uses release", imports("internal/signing/sign.go", "sigstack/internal/release"), "internal/signing may not import internal/release"},
		{"command uses a service", imports("cmd/sigstack/up.go", "sigstack/services/oidc"), "cmd/sigstack may not import services/oidc"},
		{"product uses a test helper", imports("services/tlog/tlog.go", "sigstack/services/tlog/tlogtest"), "which is for tests"},
		{"test helper between services", imports("services/ca/catest/ca.go", "sigstack/services/tlog/tlogtest"), "services/ca may not import services/tlog"},
		{"product uses tools", imports("internal/release/sample.go", "sigstack/tools/sbom"), "internal/release may not import tools"},
		{"tool uses a command", imports("tools/load/main.go", "sigstack/cmd/sigstack"), "tools may not import cmd/sigstack"},
		{"new package", imports("internal/util/util.go"), "internal/util: not in the import table"},
		{"new target", imports("internal/stack/stack.go", "sigstack/internal/util"), "imports internal/util, which is not in the import table"},
		{"root package", imports("main.go"), ".: not in the import table"},

		{"trillian log", imports("services/tlog/tlog.go", "github.com/google/trillian/log"), "only internal/merkle may import github.com/google/trillian/log"},
		{"trillian storage in a test", imports("services/tlog/tlog_test.go", "github.com/google/trillian/storage/testonly"), "only internal/merkle may import"},
		{"ctfe elsewhere", imports("services/ca/ca.go", "github.com/google/certificate-transparency-go/trillian/ctfe"), "only services/ctlog may import"},
		{"dex elsewhere", imports("services/ca/identity/dex.go", "github.com/dexidp/dex/storage"), "only services/oidc may import"},
		{"go-tuf elsewhere", imports("services/tuf/tuf.go", "github.com/theupdateframework/go-tuf/v2/metadata"), "only tuf-root, internal/signing may import"},
		{"flags", imports("internal/config/config.go", "flag"), "may import flag"},
		{"std log", imports("services/ca/ca.go", "log"), "may import log"},
		{"exit", uses("internal/stack/stack.go", "os.Exit"), "may use os.Exit"},
		{"clock", uses("services/tsa/tsa.go", "time.Now"), "may use time.Now"},
		{"elapsed", uses("internal/httpd/log.go", "time.Since"), "may use time.Since"},
		{"public root", imports("internal/signing/kit.go", "github.com/sigstore/sigstore-go/pkg/tuf"), "only tests may import github.com/sigstore/sigstore-go/pkg/tuf"},
		{"public root in a test", imports("internal/signing/kit_test.go", "github.com/sigstore/sigstore-go/pkg/tuf"), ""},
		{"merged roots", uses("internal/signing/kit.go", sigstoreRoot+"TrustedMaterialCollection"), "only tests may use"},
		{"merged roots in a tool", uses("tools/merge/main.go", sigstoreRoot+"TrustedMaterialCollection"), "only tests may use"},
		{"pure and network", imports("internal/trust/trust.go", "net/http"), "internal/trust is pure and may not import net/http"},
		{"pure and files", imports("services/tlog/entry/e.go", "os"), "services/tlog/entry is pure and may not import os"},
		{"pure and logger", imports("internal/pki/pki.go", "log/slog"), "internal/pki is pure and may not import log/slog"},
		{"too long", lines(451), "services/ca/ca.go: 451 lines, at most 450"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := violations([]file{tt.file})
			switch {
			case tt.want == "" && len(got) > 0:
				t.Errorf("got %q, want none", got)
			case tt.want != "" && (len(got) != 1 || !strings.Contains(got[0], tt.want)):
				t.Errorf("got %q, want one with %q", got, tt.want)
			}
		})
	}
}

func TestServiceFolderSize(t *testing.T) {
	files := []file{imports("services/ca/a_test.go")}
	for _, name := range "abcdefgh" {
		files = append(files, imports("services/ca/"+string(name)+".go"))
	}
	if got := violations(files); len(got) > 0 {
		t.Errorf("eight files and a test: got %q, want none", got)
	}
	got := violations(append(files, imports("services/ca/i.go")))
	want := []string{"services/ca: 9 files besides tests, at most 8"}
	if !slices.Equal(got, want) {
		t.Errorf("nine files: got %q, want %q", got, want)
	}
}

// TestParseSource holds the parser to what the rules read: an alias does not
// hide a function, and a local value with a package's name is not the package.
func TestParseSource(t *testing.T) {
	src := "package p\n\nimport (\n\tclock \"time\"\n\n\t\"sigstack/internal/pki\"\n)\n\n" +
		"var now = clock.Now\n\nvar _ = pki.LogID\n\nfunc f(time struct{ Since int }) int { return time.Since }\n"
	got, err := parseSource("p/p.go", []byte(src))
	if err != nil {
		t.Fatalf("parse: %v", err)
	}
	if want := []string{"time", "sigstack/internal/pki"}; !slices.Equal(got.imports, want) {
		t.Errorf("imports: got %q, want %q", got.imports, want)
	}
	if want := []string{"time.Now", "sigstack/internal/pki.LogID"}; !slices.Equal(got.calls, want) {
		t.Errorf("calls: got %q, want %q", got.calls, want)
	}
	if got.lines != 13 {
		t.Errorf("lines: got %d, want 13", got.lines)
	}
}

func imports(path string, imported ...string) file { return file{path: path, imports: imported} }

func uses(path string, calls ...string) file { return file{path: path, calls: calls} }
