// Command benchratio reads the output of `go test -bench`, passes it on, and
// ends with each benchmark's ratio to its floor: the benchmark of the same
// package that is named <name>Floor and does only the cryptography that the
// operation cannot do without.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	limit := flag.Float64("max", 0, "fail when a median ratio is above this; 0: never")
	flag.Parse()
	if err := run(os.Stdin, os.Stdout, *limit); err != nil {
		fmt.Fprintln(os.Stderr, "benchratio:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer, limit float64) error {
	var found results
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		if _, err := fmt.Fprintln(out, lines.Text()); err != nil {
			return err
		}
		if err := found.add(lines.Text()); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	if found.failed {
		return fmt.Errorf("go test failed")
	}
	return report(out, found.ratios(), limit)
}

func report(out io.Writer, ratios []ratio, limit float64) error {
	if _, err := fmt.Fprintln(out, "\nRatio to the floor: median (lowest to highest run)"); err != nil {
		return err
	}
	above := 0
	for _, r := range ratios {
		if limit > 0 && r.median > limit {
			above++
		}
		if _, err := fmt.Fprintln(out, r); err != nil {
			return err
		}
	}
	if above > 0 {
		return fmt.Errorf("%d benchmarks above %.2f times their floor", above, limit)
	}
	return nil
}
