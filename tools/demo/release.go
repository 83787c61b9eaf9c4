package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const demoUser = "demo@sigstack.local"

// A releaser makes and judges release trees with the binary, against a stack.
type releaser struct {
	*stack
	dir   string // the tree is dir/release/<version>
	token string // file with the signer's identity token

	registry string // HOST:PORT of the one with the images
}

func (r *releaser) tree() string { return filepath.Join(r.dir, "release", version) }

// signer is whom the release is signed by.
func (r *releaser) signer() signer { return signer{identity: demoUser, issuer: r.url + "/dex"} }

type signer struct{ identity, issuer string }

// A verdict is what `release verify` said of a tree.
type verdict struct {
	code   int // exit code
	stderr string
	Files  []struct {
		Path      string          `json:"path"`
		Signature json.RawMessage `json:"signature"`
	} `json:"files"`
	Images []struct {
		Image      string            `json:"image"`
		Signatures []json.RawMessage `json:"signatures"`
	} `json:"images"`
	Problems []problem `json:"problems"`
}

type problem struct {
	Path   string `json:"path"`
	Kind   string `json:"kind"`
	Detail string `json:"detail"`
}

// signed lists the files whose signature verified, in order.
func (v verdict) signed() []string {
	var paths []string
	for _, f := range v.Files {
		if len(f.Signature) > 0 && string(f.Signature) != "null" {
			paths = append(paths, f.Path)
		}
	}
	slices.Sort(paths)
	return paths
}

// A verifier judges a tree as signed by whom.
type verifier func(ctx context.Context, tree string, by signer) (verdict, error)

// verify runs `release verify`. The error is for what kept it from judging.
func (r *releaser) verify(ctx context.Context, tree string, by signer) (verdict, error) {
	c := command(ctx, r.bin, "release", "verify", tree, "--output", "json",
		"--client", filepath.Join(r.stack.dir, "client"),
		"--certificate-identity", by.identity, "--certificate-oidc-issuer", by.issuer)
	out, err := c.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return verdict{}, err
	}
	v := verdict{code: c.ProcessState.ExitCode(), stderr: c.stderr.String()}
	if err := json.Unmarshal(out, &v); err != nil {
		return v, fmt.Errorf("exit code %d and no report (%w): %s", v.code, err, v.stderr)
	}
	return v, nil
}

// release makes a tree of what build made, signs and verifies it.
func (d *demo) release(ctx context.Context, r *releaser) error {
	steps := []struct {
		name string
		run  func() (string, error)
	}{
		{"make a release", func() (string, error) { return d.sample(ctx, r) }},
		{"get an identity token", func() (string, error) { return r.getToken(ctx) }},
		{"sign the release", func() (string, error) { return r.sign(ctx) }},
		{"verify the release", func() (string, error) { return r.verifySigned(ctx) }},
	}
	for _, s := range steps {
		if err := d.step(s.name, s.run); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) sample(ctx context.Context, r *releaser) (string, error) {
	if err := command(ctx, r.bin, "release", "sample", r.dir, "--version", version, "--from-bin", d.path("from"),
		"--images", strconv.Itoa(images), "--registry", r.registry+"/k8s").run(); err != nil {
		return "", err
	}
	for _, platform := range platforms {
		if err := sameFile(d.path("from", "bin", platform, "sigstack"), filepath.Join(r.tree(), "bin", platform, "sigstack")); err != nil {
			return "", err
		}
	}
	files, bytes, err := measure(r.tree())
	return fmt.Sprintf("%d files, %s, and %d images", files, size(bytes), images), err
}

func (r *releaser) getToken(ctx context.Context) (string, error) {
	c := command(ctx, r.bin, "token", "--dir", r.stack.dir)
	var token bytes.Buffer
	c.Stdout = &token
	if err := c.run(); err != nil {
		return "", err
	}
	if n := strings.Count(token.String(), "."); n != 2 {
		return "", fmt.Errorf("token has %d dots, want the two of a JWT", n)
	}
	return demoUser, os.WriteFile(r.token, token.Bytes(), 0o600)
}

func (r *releaser) sign(ctx context.Context) (string, error) {
	c := command(ctx, r.bin, "release", "sign", r.dir, "--identity-token", r.token, "--client", filepath.Join(r.stack.dir, "client"))
	if err := c.run(); err != nil {
		return "", err
	}
	bundles, err := count(r.tree(), ".sigstore.json")
	if bundles == 0 {
		err = errors.Join(err, errors.New("it left no bundle"))
	}
	return fmt.Sprintf("%d bundles", bundles), err
}

// verifySigned demands that the tree is accepted and that every bundle in it
// was verified: a verifier that looks at nothing accepts as well.
func (r *releaser) verifySigned(ctx context.Context) (string, error) {
	v, err := r.verify(ctx, r.tree(), r.signer())
	if err != nil {
		return "", err
	}
	if v.code != 0 || len(v.Problems) > 0 {
		return "", fmt.Errorf("exit code %d, %d problems: %s", v.code, len(v.Problems), v.stderr)
	}
	bundles, err := count(r.tree(), ".sigstore.json")
	if err != nil {
		return "", err
	}
	if signed := len(v.signed()); signed != bundles {
		return "", fmt.Errorf("verified %d signatures of %d", signed, bundles)
	}
	for _, image := range v.Images {
		if len(image.Signatures) != 2 {
			return "", fmt.Errorf("%s: verified %d signatures, want one by tag and one as a referrer", image.Image, len(image.Signatures))
		}
	}
	if len(v.Images) < images {
		return "", fmt.Errorf("verified %d images of %d", len(v.Images), images)
	}
	return fmt.Sprintf("%d files and %d images, below indexes too, signed by %s", bundles, len(v.Images), demoUser), nil
}

func sameFile(want, got string) error {
	a, err := os.ReadFile(want)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(got)
	if err == nil && !bytes.Equal(a, b) {
		err = fmt.Errorf("%s is not the file that was given", got)
	}
	return err
}

// measure counts the files of a tree and their bytes.
func measure(tree string) (files int, bytes int64, err error) {
	err = filepath.WalkDir(tree, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			files, bytes = files+1, bytes+info.Size()
		}
		return err
	})
	return files, bytes, err
}

// count counts the files of a tree whose name ends in suffix.
func count(tree, suffix string) (n int, err error) {
	err = filepath.WalkDir(tree, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && strings.HasSuffix(path, suffix) {
			n++
		}
		return err
	})
	return n, err
}
