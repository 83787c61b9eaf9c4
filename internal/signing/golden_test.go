package signing_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"sigstack/internal/signing"
	"sigstack/internal/signing/signingtest"
)

// The files of testdata are one signature over artifact and the kit to verify it
// with, made by the fakes: go test ./internal/signing -run TestGolden -update.
// Fuzzing needs them fixed, because every worker is a process of its own.
var update = flag.Bool("update", false, "rewrite testdata")

const (
	goldenRoot   = "trusted_root.json"
	goldenBundle = "artifact.sigstore.json"
)

// TestGolden keeps a bundle of the past verifying.
func TestGolden(t *testing.T) {
	if *update {
		s := signingtest.New(t, now)
		trustedRoot, _ := s.KitFiles(t)
		writeGolden(t, goldenRoot, trustedRoot)
		writeGolden(t, goldenBundle, sign(t, s, artifact).JSON)
	}
	trusted, text, id := golden(t)
	b, err := signing.ParseBundle(text)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := signing.VerifyDigest(digest(artifact), b, trusted, id); err != nil {
		t.Error(err)
	}
}

func golden(tb testing.TB) (*signing.TrustRoot, []byte, *signing.Identity) {
	tb.Helper()
	trusted, err := signing.LoadTrustRoot(filepath.Join("testdata", goldenRoot))
	if err != nil {
		tb.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join("testdata", goldenBundle))
	if err != nil {
		tb.Fatal(err)
	}
	return trusted, text, identity(tb, signingtest.Email, "", "", `http://127\.0\.0\.1:[0-9]+/dex`)
}

func writeGolden(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.MkdirAll("testdata", 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join("testdata", name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}
