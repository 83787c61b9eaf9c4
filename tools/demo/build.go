package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// platforms that the release has binaries for.
var platforms = []string{"linux/amd64", "linux/arm64", "darwin/arm64"}

// build makes bin/sigstack, and the contents of the release in work/from.
func (d *demo) build(ctx context.Context) error {
	err := d.step("build bin/sigstack", func() (string, error) {
		if err := command(ctx, "make", "-s", "build").run(); err != nil {
			return "", err
		}
		return fileSize(filepath.Join("bin", "sigstack"))
	})
	if err != nil {
		return err
	}
	for _, platform := range platforms {
		err := d.step("cross-compile "+platform, func() (string, error) { return d.crossCompile(ctx, platform) })
		if err != nil {
			return err
		}
	}
	if err := d.step("archive the source", func() (string, error) { return d.archive(ctx) }); err != nil {
		return err
	}
	return d.step("write the SBOM", func() (string, error) { return d.sbom(ctx) })
}

func (d *demo) crossCompile(ctx context.Context, platform string) (string, error) {
	goos, goarch, _ := strings.Cut(platform, "/")
	out := d.path("from", "bin", goos, goarch, "sigstack")
	c := command(ctx, "make", "-s", "build", "OUT="+out, "VERSION="+version)
	c.Env = append(os.Environ(), "GOOS="+goos, "GOARCH="+goarch)
	if err := c.run(); err != nil {
		return "", err
	}
	return fileSize(out)
}

func (d *demo) archive(ctx context.Context) (string, error) {
	out := d.path("from", "kubernetes-src.tar.gz")
	err := command(ctx, "git", "archive", "--format=tar.gz", "--prefix=sigstack-"+version+"/", "--output="+out, "HEAD").run()
	if err != nil {
		return "", err
	}
	return fileSize(out)
}

func (d *demo) sbom(ctx context.Context) (string, error) {
	out := d.path("from", "kubernetes-source.spdx")
	c := command(ctx, "go", "run", "./tools/sbom", "-version", version)
	var document bytes.Buffer
	c.Stdout = &document
	if err := c.run(); err != nil {
		return "", err
	}
	if err := os.WriteFile(out, document.Bytes(), 0o600); err != nil {
		return "", err
	}
	return fileSize(out)
}

// cmd is a command that explains itself when it fails.
type cmd struct {
	*exec.Cmd
	stderr bytes.Buffer
}

func command(ctx context.Context, name string, args ...string) *cmd {
	c := &cmd{Cmd: exec.CommandContext(ctx, name, args...)}
	c.Stderr = &c.stderr
	return c
}

func (c *cmd) run() error {
	if err := c.Run(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(c.Args, " "), err, c.stderr.Bytes())
	}
	return nil
}

func fileSize(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	return size(info.Size()), nil
}

func size(bytes int64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/1e6) }
