package release_test

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sigstack/internal/release"
	"sigstack/internal/signing"
	"sigstack/internal/signing/signingtest"
)

const version = "v1.24.0"

// lab is a stack of fakes, its kit and its user.
type lab struct {
	stack *signingtest.Stack
	kit   *signing.Kit
}

func newLab(tb testing.TB) *lab {
	tb.Helper()
	return labOf(tb, signingtest.New(tb, time.Now))
}

func labOf(tb testing.TB, s *signingtest.Stack) *lab {
	tb.Helper()
	trustedRoot, config := s.KitFiles(tb)
	kit, err := signing.NewKit("kit/trusted_root.json", trustedRoot, config)
	if err != nil {
		tb.Fatal(err)
	}
	return &lab{stack: s, kit: kit}
}

func (l *lab) session(tb testing.TB, email string) *signing.Session {
	tb.Helper()
	return l.sessionAt(tb, email, time.Now)
}

// sessionAt is one that has a clock of its own.
func (l *lab) sessionAt(tb testing.TB, email string, now func() time.Time) *signing.Session {
	tb.Helper()
	s, err := signing.NewSession(signing.SessionConfig{
		Kit: l.kit, Token: signing.StaticToken(l.stack.Token(email)), Now: now, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func (l *lab) sign(tb testing.TB, dir string) (*release.SignReport, error) {
	tb.Helper()
	return release.Sign(tb.Context(), release.SignConfig{Now: time.Now, Dir: dir, Session: l.session(tb, signingtest.Email), Workers: 4})
}

func (l *lab) verify(tb testing.TB, dir string) *release.Report {
	tb.Helper()
	return l.verifyAs(tb, dir, signingtest.Email, l.stack.Issuer())
}

func (l *lab) verifyAs(tb testing.TB, dir, subject, issuer string) *release.Report {
	tb.Helper()
	id, err := signing.NewIdentity(subject, "", issuer, "")
	if err != nil {
		tb.Fatal(err)
	}
	r, err := release.Verify(tb.Context(), release.VerifyConfig{Dir: dir, Trusted: l.kit.Trusted, Identity: id, Workers: 4})
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// newSample makes a sample of n signed files and returns its tree.
func newSample(tb testing.TB, n int) string {
	tb.Helper()
	r, err := release.Sample(tb.Context(), release.SampleConfig{Dir: tb.TempDir(), Version: version, Files: n, Seed: 7})
	if err != nil {
		tb.Fatal(err)
	}
	return r.Tree
}

// signed returns a signed sample of n files.
func (l *lab) signed(tb testing.TB, n int) string {
	tb.Helper()
	tree := newSample(tb, n)
	if _, err := l.sign(tb, tree); err != nil {
		tb.Fatal(err)
	}
	return tree
}

// copyTree returns a copy to tamper with.
func copyTree(tb testing.TB, tree string) string {
	tb.Helper()
	dir := filepath.Join(tb.TempDir(), version)
	if err := os.CopyFS(dir, os.DirFS(tree)); err != nil {
		tb.Fatal(err)
	}
	return dir
}

func list(tb testing.TB, tree string) []string {
	tb.Helper()
	var out []string
	err := fs.WalkDir(os.DirFS(tree), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out = append(out, name)
		}
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

func read(tb testing.TB, tree, name string) []byte {
	tb.Helper()
	data, err := os.ReadFile(filepath.Join(tree, name))
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

func write(tb testing.TB, tree, name string, data []byte) {
	tb.Helper()
	path := filepath.Join(tree, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		tb.Fatal(err)
	}
}

func remove(tb testing.TB, tree string, names ...string) {
	tb.Helper()
	for _, name := range names {
		if err := os.Remove(filepath.Join(tree, name)); err != nil {
			tb.Fatal(err)
		}
	}
}

// flip changes one bit in the middle of a file.
func flip(tb testing.TB, tree, name string) {
	tb.Helper()
	data := read(tb, tree, name)
	data[len(data)/2] ^= 1
	write(tb, tree, name, data)
}

// redoSums makes the checksums of name true again, in the checksum files and
// beside it; the checksum files' own too.
func redoSums(tb testing.TB, tree, name string) {
	tb.Helper()
	for _, file := range []string{release.SHA256Sums, release.SHA512Sums} {
		lines := strings.Split(string(read(tb, tree, file)), "\n")
		for i, line := range lines {
			if strings.HasSuffix(line, "  "+name) {
				sum256, sum512 := sums(read(tb, tree, name))
				lines[i] = map[string]string{release.SHA256Sums: sum256, release.SHA512Sums: sum512}[file] + "  " + name
			}
		}
		write(tb, tree, file, []byte(strings.Join(lines, "\n")))
		ownSums(tb, tree, file)
	}
	ownSums(tb, tree, name)
}

func ownSums(tb testing.TB, tree, name string) {
	tb.Helper()
	sum256, sum512 := sums(read(tb, tree, name))
	write(tb, tree, name+".sha256", []byte(sum256))
	write(tb, tree, name+".sha512", []byte(sum512))
}

func sums(data []byte) (sum256, sum512 string) {
	a, b := sha256.Sum256(data), sha512.Sum512(data)
	return hex.EncodeToString(a[:]), hex.EncodeToString(b[:])
}

// wantProblems demands exactly the given problems, as "path: kind" lines.
func wantProblems(t *testing.T, r *release.Report, want ...string) {
	t.Helper()
	var got []string
	for _, p := range r.Problems {
		got = append(got, p.Path+": "+string(p.Kind))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got problems\n  %s\nwant\n  %s\nin full: %v", strings.Join(got, "\n  "), strings.Join(want, "\n  "), r.Problems)
	}
	var refused *release.RefusedError
	if errors.As(r.Err(), &refused) != (len(want) > 0) {
		t.Errorf("got verdict %v, want a refusal: %v", r.Err(), len(want) > 0)
	}
}
