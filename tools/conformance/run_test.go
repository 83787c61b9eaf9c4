package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const happy = "testdata/bundle-verify/happy-path-v0.3/bundle.sigstore.json"

// TestRunRefuses has command lines that the protocol does not know, and what
// cannot be done without a network.
func TestRunRefuses(t *testing.T) {
	key := "testdata/bundle-verify/managed-key-happy-path/key.pub"
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"nothing", nil, "no subcommand"},
		{"unknown subcommand", []string{"sign"}, `"sign" is not known`},
		{"unknown flag", []string{"verify-bundle", "--offline", "x"}, "-offline"},
		{"flag of the other subcommand", []string{"verify-bundle", "--in-toto", "x"}, "-in-toto"},
		{"no artifact", []string{"verify-bundle", "--bundle", happy}, "one artifact"},
		{"no bundle", []string{"verify-bundle", "x"}, "--bundle"},
		{"no identity", []string{"verify-bundle", "--bundle", happy, "x"}, "certificate identity"},
		{"key and identity", []string{"verify-bundle", "--bundle", happy, "--key", key, "--certificate-identity", "x", "x"}, "not both"},
		{"staging", []string{"verify-bundle", "--staging", "--bundle", happy, "--key", key, "x"}, "--staging needs --trusted-root"},
		{"sign against public instances", []string{"sign-bundle", "--bundle", "b", "--identity-token", "t", "x"}, "needs --trusted-root and --signing-config"},
		{"sign without token", []string{"sign-bundle", "--bundle", "b", "--trusted-root", "r", "--signing-config", "c", "x"}, "--identity-token"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := run(t.Context(), tt.args, io.Discard)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

// TestDigestOrFile has arguments that look like a digest and are files.
func TestDigestOrFile(t *testing.T) {
	digest := digestOf(t, "testdata/bundle-verify/a.txt")
	identity := []string{"--certificate-identity", suiteIdentity, "--certificate-oidc-issuer", suiteIssuer}
	bundle, err := filepath.Abs(happy)
	if err != nil {
		t.Fatal(err)
	}
	verify := func(artifact string) error {
		return run(t.Context(), append(append([]string{"verify-bundle", "--bundle", bundle}, identity...), artifact), io.Discard)
	}
	t.Chdir(t.TempDir())
	if err := verify(digest); err != nil {
		t.Errorf("got %v, want the digest accepted", err)
	}
	for _, name := range []string{digest[:len(digest)-1], digest + "00", strings.Replace(digest, "sha256", "sha512", 1), digest[7:]} {
		if err := verify(name); err == nil || !strings.Contains(err.Error(), "no such file") {
			t.Errorf("%s: got %v, want it taken for a file", name, err)
		}
	}
	if err := os.WriteFile(digest, []byte("another artifact"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := verify(digest); err == nil || !strings.Contains(err.Error(), "artifact digest") {
		t.Errorf("got %v, want the file of that name refused", err)
	}
}
