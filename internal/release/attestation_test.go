package release_test

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigstack/internal/release"
	"sigstack/internal/signing"
	"sigstack/internal/signing/signingtest"
)

const spdx = "https://spdx.dev/Document"

// attest returns an attestation of content by a user.
func (l *lab) attest(t *testing.T, email string, content []byte) []byte {
	t.Helper()
	sum := sha256.Sum256(content)
	subject := signing.Subject{Digest: map[string]string{"sha256": hex.EncodeToString(sum[:])}}
	statement, err := signing.NewStatement([]signing.Subject{subject}, spdx, nil)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := l.session(t, email).SignStatement(t.Context(), statement)
	if err != nil {
		t.Fatal(err)
	}
	return signed.JSON
}

func put(t *testing.T, tree, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(tree, name), data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestAttestations: one beside a file is no stray file, is not signed, and must
// be about the file and certified, whoever made it.
func TestAttestations(t *testing.T) {
	l := newLab(t)
	tree := l.signed(t, 12)
	name := victim + release.AttestationSuffix
	put(t, tree, name, l.attest(t, "builder@example.com", read(t, tree, victim)))
	again, err := l.sign(t, tree)
	if err != nil || again.Signed != 0 {
		t.Fatalf("sign again: got %+v, %v, want nothing new to sign", again, err)
	}
	r := l.verify(t, tree)
	wantProblems(t, r)
	var got *release.Attestation
	for _, f := range r.Files {
		if f.Path == victim {
			got = f.Attestation
		} else if f.Attestation != nil {
			t.Errorf("%s: got an attestation, want none", f.Path)
		}
	}
	if got == nil || got.PredicateType != spdx || got.Identity != "builder@example.com" {
		t.Errorf("got attestation %+v, want the builder's SBOM", got)
	}

	stranger := newLab(t)
	for what, data := range map[string][]byte{
		"another file's":  l.attest(t, signingtest.Email, read(t, tree, other)),
		"a signature":     read(t, tree, victim+".sigstore.json"),
		"a stranger's":    stranger.attest(t, signingtest.Email, read(t, tree, victim)),
		"not a bundle":    []byte("{}"),
		"an empty file's": {},
	} {
		put(t, tree, name, data)
		r := l.verify(t, tree)
		wantProblems(t, r, victim+": refused")
		if len(r.Problems) == 1 && !strings.HasPrefix(r.Problems[0].Detail, "attestation: ") {
			t.Errorf("%s: got %v, want the attestation blamed", what, r.Problems[0])
		}
	}
	if err := os.Rename(filepath.Join(tree, name), filepath.Join(tree, "stray"+release.AttestationSuffix)); err != nil {
		t.Fatal(err)
	}
	wantProblems(t, l.verify(t, tree), "stray"+release.AttestationSuffix+": unlisted")
}

// TestSeveralAttestations: those in one file are verified one by one.
func TestSeveralAttestations(t *testing.T) {
	l := newLab(t)
	tree := l.signed(t, 12)
	name := victim + signing.AttestationsSuffix
	builders := l.attest(t, "builder@example.com", read(t, tree, victim))
	var file []byte
	for _, bundle := range [][]byte{builders, l.attest(t, "verifier@example.com", read(t, tree, victim))} {
		var err error
		if file, err = signing.AppendAttestation(file, bundle); err != nil {
			t.Fatal(err)
		}
	}
	put(t, tree, name, file)
	if again, err := l.sign(t, tree); err != nil || again.Signed != 0 {
		t.Fatalf("sign again: got %+v, %v, want nothing new to sign", again, err)
	}
	r := l.verify(t, tree)
	wantProblems(t, r)
	for _, f := range r.Files {
		if f.Path == victim && (len(f.Attestations) != 2 || f.Attestations[1].Identity != "verifier@example.com") {
			t.Errorf("got attestations %+v, want the builder's and the verifier's", f.Attestations)
		}
	}
	others, err := signing.AppendAttestation(file, l.attest(t, signingtest.Email, read(t, tree, other)))
	if err != nil {
		t.Fatal(err)
	}
	for what, data := range map[string][]byte{
		"another file's":  others,
		"not a bundle":    append([]byte("{}\n"), file...),
		"torn":            file[:len(file)-10],
		"an empty file's": {},
	} {
		put(t, tree, name, data)
		r := l.verify(t, tree)
		wantProblems(t, r, victim+": refused")
		if len(r.Problems) == 1 && !strings.HasPrefix(r.Problems[0].Detail, "attestation") {
			t.Errorf("%s: got %v, want the attestation blamed", what, r.Problems[0])
		}
	}
	if err := os.Rename(filepath.Join(tree, name), filepath.Join(tree, "stray"+signing.AttestationsSuffix)); err != nil {
		t.Fatal(err)
	}
	wantProblems(t, l.verify(t, tree), "stray"+signing.AttestationsSuffix+": unlisted")
}

// TestFileNamedLikeAnAttestation: the bundle of a file X.att is its signature, not
// an attestation of X.
func TestFileNamedLikeAnAttestation(t *testing.T) {
	l := newLab(t)
	tree := newSample(t, 12)
	name := victim + ".att"
	put(t, tree, name, []byte("a file of its own"))
	for _, file := range []string{release.SHA256Sums, release.SHA512Sums} {
		list := append(read(t, tree, file), "\n0  "+name...)
		put(t, tree, file, list)
	}
	redoSums(t, tree, name)
	if _, err := l.sign(t, tree); err != nil {
		t.Fatal(err)
	}
	wantProblems(t, l.verify(t, tree))
	flip(t, tree, name)
	wantProblems(t, l.verify(t, tree), name+": checksum", name+": checksum", name+": checksum", name+": checksum", name+": refused")
}
