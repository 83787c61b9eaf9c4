package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A tampering is a tree, or a question about it, that is right but for one
// fact, and what has to be said of it.
type tampering struct {
	name   string
	change func(tree string) error // nil: the tree stays as it is
	by     signer
	want   []finding // exactly these files, each for its reason
}

// A finding is a problem that the verifier must report.
type finding struct {
	path, kind string
	reason     *regexp.Regexp // matches the detail
}

// tamper has every tampering refused, and then the untouched tree accepted
// once more: a tampering must not have reached it.
func (d *demo) tamper(ctx context.Context, r *releaser) error {
	v, err := r.verify(ctx, r.tree(), r.signer())
	if err != nil {
		return err
	}
	cases, err := tamperings(v.signed(), r.signer())
	if err != nil {
		return err
	}
	for _, c := range cases {
		if err := d.step("refuse: "+c.name, func() (string, error) {
			return refused(ctx, r.verify, r.tree(), d.path("tampered"), c)
		}); err != nil {
			return err
		}
	}
	return d.step("verify the release once more", func() (string, error) { return r.verifySigned(ctx) })
}

// tamperings returns the cases for a tree of which the signed files are given.
func tamperings(signed []string, by signer) ([]tampering, error) {
	var binaries []string
	for _, path := range signed {
		if strings.HasPrefix(path, "bin/") {
			binaries = append(binaries, path)
		}
	}
	if len(binaries) < 2 {
		return nil, fmt.Errorf("the release has %d signed binaries, want at least 2", len(binaries))
	}
	victim, other := binaries[0], binaries[1]
	flip := func(tree string) error { return flipByte(tree, victim) }
	mallory := signer{"mallory@sigstack.local", by.issuer}
	elsewhere := signer{by.identity, "https://issuer.elsewhere.example"}
	// A changed file changes the sums files, which are signed as well.
	resigned := []string{victim, "SHA256SUMS", "SHA512SUMS"}

	return []tampering{
		{
			"flipped byte, checksums redone", flip, by,
			all(resigned, "refused", "^refused: artifact digest: "),
		},
		{
			"the same, digests in the bundles redone too", func(tree string) error { return errors.Join(flip(tree), redoBundles(tree, resigned)) }, by,
			all(resigned, "refused", "^refused: (log entry|signature): "),
		},
		{
			"another identity", nil, mallory,
			all(signed, "refused", "refused: identity: "),
		},
		{
			"another issuer", nil, elsewhere,
			all(signed, "refused", "refused: identity: "),
		},
		{
			"the signature of another file", func(tree string) error { return swapSignature(tree, victim, other) }, by,
			all([]string{victim}, "refused", "^refused: artifact digest: "),
		},
		{
			"a file that nobody listed", func(tree string) error { return replace(filepath.Join(tree, "bin", "extra"), []byte("extra\n")) }, by,
			all([]string{"bin/extra"}, "unlisted", "checksum file"),
		},
		{
			"a missing file", func(tree string) error { return removeFile(tree, victim) }, by,
			all([]string{victim}, "missing", "^listed in SHA(256|512)SUMS$"),
		},
	}, nil
}

func all(paths []string, kind, reason string) []finding {
	matches := regexp.MustCompile(reason)
	var list []finding
	for _, path := range paths {
		list = append(list, finding{path, kind, matches})
	}
	return list
}

// refused tampers with a copy of tree and demands that verify refuses it for
// the expected reasons and no other.
func refused(ctx context.Context, verify verifier, tree, copied string, c tampering) (_ string, err error) {
	if err := linkTree(tree, copied); err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(copied)) }()
	if c.change != nil {
		if err := c.change(copied); err != nil {
			return "", fmt.Errorf("tamper: %w", err)
		}
	}
	v, err := verify(ctx, copied, c.by)
	if err != nil {
		return "", err
	}
	if err := c.check(v); err != nil {
		return "", err
	}
	return c.quote(v), nil
}

// check compares a verdict with what the tampering must lead to.
func (c tampering) check(v verdict) error {
	if v.code != 1 {
		return fmt.Errorf("exit code %d, want 1: %s", v.code, v.stderr)
	}
	wanted := map[string]finding{}
	for _, f := range c.want {
		wanted[f.path] = f
	}
	found := map[string]bool{}
	for _, p := range v.Problems {
		f, ok := wanted[p.Path]
		switch {
		case !ok || p.Kind != f.kind:
			return fmt.Errorf("refused for another reason: %s: %s: %s", p.Path, p.Kind, p.Detail)
		case !f.reason.MatchString(p.Detail):
			return fmt.Errorf("refused for another reason: %s: %q, want %q", p.Path, p.Detail, f.reason)
		}
		found[p.Path] = true
	}
	for path := range wanted {
		if !found[path] {
			return fmt.Errorf("%s was accepted", path)
		}
	}
	if len(wanted) == 0 {
		return errors.New("the case expects nothing")
	}
	return nil
}

// quote returns what was said of the file that the case is about.
func (c tampering) quote(v verdict) string {
	at := slices.IndexFunc(v.Problems, func(p problem) bool { return p.Path == c.want[0].path })
	p := v.Problems[at]
	return clip(fmt.Sprintf("%s: %s", p.Path, p.Detail), 110)
}

// flipByte changes one bit in the middle of a file and makes every checksum of
// the tree right again, so that only signatures can tell.
func flipByte(tree, path string) error {
	data, err := os.ReadFile(filepath.Join(tree, path))
	if err != nil {
		return err
	}
	data[len(data)/2] ^= 1
	if err := replace(filepath.Join(tree, path), data); err != nil {
		return err
	}
	return redoChecksums(tree, path, data)
}

// redoBundles puts today's digests of files into their bundles.
func redoBundles(tree string, paths []string) error {
	for _, path := range paths {
		data, err := os.ReadFile(filepath.Join(tree, path))
		if err != nil {
			return err
		}
		if err := redoBundle(filepath.Join(tree, path+".sigstore.json"), sha256.Sum256(data)); err != nil {
			return err
		}
	}
	return nil
}

func redoBundle(path string, digest [sha256.Size]byte) error {
	bundle, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	const field = `"digest":"`
	before, after, found := strings.Cut(string(bundle), field)
	_, after, closed := strings.Cut(after, `"`)
	if !found || !closed || strings.Contains(after, field) {
		return fmt.Errorf("%s does not hold exactly one digest", filepath.Base(path))
	}
	return replace(path, []byte(before+field+base64.StdEncoding.EncodeToString(digest[:])+`"`+after))
}

// swapSignature puts everything that signs other beside path.
func swapSignature(tree, path, other string) error {
	for _, suffix := range []string{".sigstore.json", ".sig", ".cert"} {
		data, err := os.ReadFile(filepath.Join(tree, other+suffix))
		if err != nil {
			return err
		}
		if err := replace(filepath.Join(tree, path+suffix), data); err != nil {
			return err
		}
	}
	return nil
}

// removeFile takes a file away with everything beside it that bears its name.
func removeFile(tree, path string) error {
	names, err := filepath.Glob(filepath.Join(tree, path) + ".*")
	if err != nil {
		return err
	}
	for _, name := range append(names, filepath.Join(tree, path)) {
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	return nil
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "…"
}
