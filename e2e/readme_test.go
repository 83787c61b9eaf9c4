package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigstack/e2e/e2etest"
)

// TestReadmeFirstSignature runs the README's five lines as a newcomer would, but
// for the first, which builds and starts: the stack of the test is used instead.
func TestReadmeFirstSignature(t *testing.T) {
	dir := t.TempDir()
	s := e2etest.Start(t, filepath.Join(dir, "data"))
	lines := readmeBlock(t, "## A first signature, by hand")
	if len(lines) != 5 || !strings.Contains(lines[0], "bin/sigstack up --dir data") {
		t.Fatalf("README has %d lines, the first %q; want 5, the first of which starts a stack in data", len(lines), lines[0])
	}
	bin := filepath.Join(dir, "bin", "clients")
	if err := os.MkdirAll(bin, 0o700); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{
		filepath.Join(bin, "cosign-v3"):       e2etest.Client(t, "cosign-v3"),
		filepath.Join(dir, "bin", "sigstack"): e2etest.Sigstack(t),
	} {
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
	}
	e2etest.WriteFile(t, dir, "README.md", "hello\n")
	script := "set -e\ncd " + dir + "\n" + strings.Join(lines[1:], "\n")
	script = strings.ReplaceAll(script, "http://localhost:8080", s.URL)
	r := e2etest.Run(t, nil, "sh", "-c", script)
	if r.Code != 0 || !strings.Contains(r.Stderr, "Verified OK") || !strings.Contains(r.Stdout, "verified README.md") {
		t.Errorf("exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
}

// readmeBlock returns the lines of the first indented block below a heading.
func readmeBlock(t *testing.T, heading string) []string {
	t.Helper()
	_, section, ok := strings.Cut(e2etest.ReadFile(t, "../README.md"), heading+"\n")
	if !ok {
		t.Fatalf("README has no heading %q", heading)
	}
	var lines []string
	for line := range strings.Lines(section) {
		code, ok := strings.CutPrefix(line, "    ")
		switch {
		case ok:
			lines = append(lines, strings.TrimSpace(code))
		case len(lines) > 0:
			return lines
		}
	}
	return lines
}
