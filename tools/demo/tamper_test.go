package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestCheck holds the demo to its purpose: a verifier that accepts, or refuses
// for another reason, fails it.
func TestCheck(t *testing.T) {
	c := tampering{want: all([]string{"a", "b"}, "refused", "^refused: (log entry|signature): ")}
	right := []problem{{"a", "refused", "refused: signature: x"}, {"b", "refused", "refused: log entry: x"}}
	tests := []struct {
		name string
		v    verdict
		want string // "" for a verdict that satisfies the demo
	}{
		{"refused", verdict{code: 1, Problems: right}, ""},
		{"accepted", verdict{code: 0}, "exit code 0, want 1"},
		{"accepted with problems", verdict{code: 0, Problems: right}, "exit code 0, want 1"},
		{"usage", verdict{code: 2, Problems: right}, "exit code 2, want 1"},
		{"no problem named", verdict{code: 1}, "was accepted"},
		{"one of two", verdict{code: 1, Problems: right[:1]}, "b was accepted"},
		{"one too many", verdict{code: 1, Problems: append(slices.Clone(right), problem{"c", "refused", ""})}, "another reason: c"},
		{"another kind", verdict{code: 1, Problems: []problem{{"a", "checksum", "refused: signature: x"}, right[1]}}, "another reason: a: checksum"},
		{"another detail", verdict{code: 1, Problems: []problem{{"a", "refused", "refused: bundle: x"}, right[1]}}, "another reason: a"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := c.check(tt.v)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestStubbedVerifier runs every case against a verifier that accepts.
func TestStubbedVerifier(t *testing.T) {
	tree := sampleTree(t)
	accept := func(context.Context, string, signer) (verdict, error) { return verdict{}, nil }
	cases, err := tamperings([]string{"SHA256SUMS", "SHA512SUMS", "bin/a", "bin/b"}, signer{"me", "issuer"})
	if err != nil {
		t.Fatalf("make cases: %v", err)
	}
	for _, c := range cases {
		_, err := refused(t.Context(), accept, tree, filepath.Join(t.TempDir(), "copy"), c)
		if err == nil || !strings.Contains(err.Error(), "exit code 0") {
			t.Errorf("%s: got %v, want the acceptance reported", c.name, err)
		}
	}
	if got, want := read(t, tree, "bin/a"), "content of a"; got != want {
		t.Errorf("the original became %q, want %q", got, want)
	}
}

// TestFlipByte proves that the tampered copy's checksums are right, so that
// nothing but a signature can tell it from a release.
func TestFlipByte(t *testing.T) {
	tree := sampleTree(t)
	if err := flipByte(tree, "bin/a"); err != nil {
		t.Fatalf("flip: %v", err)
	}
	data := read(t, tree, "bin/a")
	if data == "content of a" {
		t.Error("the file did not change")
	}
	for _, sums := range []string{"SHA256SUMS", "SHA512SUMS"} {
		list := read(t, tree, sums)
		if want := hexDigest(sums, []byte(data)) + "  bin/a\n"; !strings.HasPrefix(list, want) {
			t.Errorf("%s: got %q, want it to begin with %q", sums, list, want)
		}
		if want := hexDigest(sums, []byte("content of b")) + "  bin/b"; !strings.HasSuffix(list, want) {
			t.Errorf("%s: got %q, want it to end with %q", sums, list, want)
		}
		if got, want := read(t, tree, sums+".sha512"), hexDigest(".sha512", []byte(list)); got != want {
			t.Errorf("%s.sha512: got %s, want %s", sums, got, want)
		}
	}
	if got, want := read(t, tree, "bin/a.sha256"), hexDigest(".sha256", []byte(data)); got != want {
		t.Errorf("bin/a.sha256: got %s, want %s", got, want)
	}
}

func sampleTree(t *testing.T) string {
	t.Helper()
	tree := t.TempDir()
	if err := os.Mkdir(filepath.Join(tree, "bin"), 0o700); err != nil {
		t.Fatalf("make tree: %v", err)
	}
	files := map[string]string{"bin/a": "content of a", "bin/b": "content of b"}
	for _, sums := range []string{"SHA256SUMS", "SHA512SUMS"} {
		files[sums] = hexDigest(sums, []byte(files["bin/a"])) + "  bin/a\n" + hexDigest(sums, []byte(files["bin/b"])) + "  bin/b"
	}
	for _, name := range []string{"bin/a", "bin/b", "SHA256SUMS", "SHA512SUMS"} {
		files[name+".sigstore.json"] = `{"messageDigest":{"algorithm":"SHA2_256","digest":"AAAA"},"signature":"BBBB"}`
		files[name+".sig"], files[name+".cert"] = "BBBB", "CCCC"
	}
	for name, data := range files {
		if err := replace(filepath.Join(tree, name), []byte(data)); err != nil {
			t.Fatalf("make tree: %v", err)
		}
	}
	return tree
}

func read(t *testing.T, tree, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(tree, name))
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	return string(data)
}
