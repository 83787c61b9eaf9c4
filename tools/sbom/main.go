// Command sbom writes the SBOM of sigstack to standard output: an SPDX 2.3
// tag-value document of the modules that its binary is built from.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"time"
)

func main() {
	version := flag.String("version", "", "`version` of sigstack, for its package and the namespace")
	pkg := flag.String("package", "./cmd/sigstack", "`package` whose dependencies to list")
	flag.Parse()
	text, err := run(context.Background(), *pkg, *version, time.Now())
	if err == nil {
		_, err = os.Stdout.Write(text)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

// run asks the go command for the modules; it builds nothing and needs no network.
func run(ctx context.Context, pkg, version string, now time.Time) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-deps", "-json=Module,Standard", pkg)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list dependencies of %s: %w", pkg, err)
	}
	modules, err := parseModules(out)
	if err != nil {
		return nil, err
	}
	return document(modules, version, now).Encode()
}
