package compat

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigstack/e2e/e2etest"
)

// section is a part of docs/clients.md and the shell lines in it.
type section struct{ title, script string }

var shellBlock = regexp.MustCompile("(?s)\n```sh\n(.*?)\n```\n")

// sections splits the page at its headings; what stands before the first one
// has no title.
func sections(page string) []section {
	var out []section
	for part := range strings.SplitSeq(page, "\n## ") {
		title, text, _ := strings.Cut(part, "\n")
		var blocks []string
		for _, block := range shellBlock.FindAllStringSubmatch("\n"+text, -1) {
			blocks = append(blocks, block[1])
		}
		if len(blocks) > 0 {
			out = append(out, section{title, strings.Join(blocks, "\n") + "\n"})
		}
	}
	return out
}

// TestClientsPage runs every shell line of docs/clients.md, section by section,
// each after the page's first lines, and those on TLS where there is any, as a
// reader would in one directory.
func TestClientsPage(t *testing.T) {
	parts := sections(e2etest.ReadFile(t, "../../docs/clients.md"))
	var titles []string
	for _, s := range parts {
		titles = append(titles, s.title)
	}
	want := "# Clients, TLS, cosign 3, cosign 2, sigstore-js, sigstack, Offline"
	if got := strings.Join(titles, ", "); got != want {
		t.Fatalf("the page has shell lines under %q, want %q", got, want)
	}
	dir := t.TempDir()
	stack := e2etest.Start(t, filepath.Join(dir, "data"))
	links(t, dir, stack)
	e2etest.WriteFile(t, dir, "app", "hello\n")
	registry := e2etest.PlainRegistry(t)
	first := parts[0].script
	if e2etest.OverTLS() {
		first = parts[1].script + first
	}
	for _, s := range parts[2:] {
		t.Run(s.title, func(t *testing.T) {
			before := first
			if s.title == "Offline" {
				before = ""
				stack.Stop()
			}
			image := e2etest.PushImage(t, registry, slug(s.title))
			script := strings.ReplaceAll(before+s.script, "http://localhost:8080", stack.URL)
			path := e2etest.WriteFile(t, t.TempDir(), "script.sh", "cd "+dir+"\n"+script)
			// Of what a section leaves in its home, the last one needs sigstack's cache.
			cache := "XDG_CACHE_HOME=" + filepath.Join(dir, "cache")
			// Whom to trust by TLS is the page's to say.
			env := []string{"SSL_CERT_FILE=", "NODE_EXTRA_CA_CERTS=", "IMAGE=" + image, "HOME=" + t.TempDir(), cache, "PATH=" + filepath.Join(dir, "bin") + ":" + os.Getenv("PATH")}
			if r := e2etest.Run(t, env, "bash", "-eux", path); r.Code != 0 {
				t.Errorf("exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
			}
		})
	}
}

// links makes what the page takes for granted: clients on PATH, the kit, npm's
// packages.
func links(t *testing.T, dir string, s *e2etest.Stack) {
	t.Helper()
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{
		"bin/cosign":    e2etest.Client(t, "cosign-v3"),
		"bin/cosign-v2": e2etest.Client(t, "cosign-v2"),
		"bin/sigstore":  e2etest.Client(t, "sigstore"),
		"bin/node":      e2etest.Client(t, "node"),
		"bin/sigstack":  e2etest.Sigstack(t),
		"client":        s.Kit(""),
		"node_modules":  filepath.Join(e2etest.Client(t, "js"), "node_modules"),
	} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSections(t *testing.T) {
	got := sections("# Page\n\ntext\n```sh\na\nb\n```\n\n## One\n\n## Two\n```yaml\nc\n```\n```sh\nd\n```\nand\n```sh\ne\n```\n")
	want := []section{{"# Page", "a\nb\n"}, {"Two", "d\ne\n"}}
	if len(got) != len(want) || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("got %q, want %q", got, want)
	}
}
