// Command demo shows the whole of sigstack at work on real input: it builds the
// binary, starts a stack, makes a release out of its own cross-compiled
// binaries, source and SBOM, with images in a registry, signs and verifies it,
// and proves that tampering is refused for the right reason. It exits 1 if anything is otherwise.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// version of the release that the demo makes.
const version = "v0.1.0"

func main() {
	keep := flag.Bool("keep", false, "leave the stack's directory and the release behind, and say where")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *keep)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "\ndemo: FAILED:", err)
		os.Exit(1)
	}
	fmt.Println("\ndemo: every signature verified, every tampering refused")
}

func run(ctx context.Context, keep bool) (err error) {
	work, err := os.MkdirTemp("", "sigstack-demo-")
	if err != nil {
		return err
	}
	d := &demo{work: work}
	defer func() {
		d.summary()
		if keep {
			fmt.Println("\nkept", work)
			return
		}
		err = errors.Join(err, os.RemoveAll(work))
	}()
	return d.play(ctx)
}

// A demo is one run. Everything it makes is below work, but for bin/sigstack.
type demo struct {
	work string
	rows []row
}

// A row is a line of the summary.
type row struct {
	step, result string
	took         time.Duration
}

func (d *demo) path(elem ...string) string {
	return filepath.Join(append([]string{d.work}, elem...)...)
}

// play runs the scenes in order; the stack is stopped on every way out.
func (d *demo) play(ctx context.Context) (err error) {
	if err := d.build(ctx); err != nil {
		return err
	}
	s := stack{bin: filepath.Join("bin", "sigstack"), dir: d.path("stack"), log: d.path("stack.log")}
	if err := d.step("start the stack", func() (string, error) { return s.start(ctx) }); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, d.step("stop the stack", func() (string, error) { return "cleanly", s.stop() }))
	}()
	var shelf *shelf
	err = d.step("start a registry", func() (what string, err error) {
		shelf, what, err = startRegistry(ctx, d.path("registry"))
		return what, err
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, shelf.stop()) }()
	r := releaser{stack: &s, dir: d.path("out"), token: d.path("token"), registry: shelf.address}
	if err := d.release(ctx, &r); err != nil {
		return err
	}
	if err := d.tamperImages(ctx, &r); err != nil {
		return err
	}
	return d.tamper(ctx, &r)
}

// step runs one scene, announces it, and keeps its time and result.
func (d *demo) step(name string, f func() (string, error)) error {
	fmt.Printf("%-52s ", name)
	start := time.Now()
	result, err := f()
	took := time.Since(start)
	if err != nil {
		fmt.Println("FAILED")
		d.rows = append(d.rows, row{name, "FAILED", took})
		return fmt.Errorf("%s: %w", name, err)
	}
	fmt.Printf("%8s\n", seconds(took))
	d.rows = append(d.rows, row{name, result, took})
	return nil
}

func (d *demo) summary() {
	fmt.Printf("\n%-52s %8s  %s\n%s\n", "step", "time", "result", strings.Repeat("-", 100))
	var total time.Duration
	for _, r := range d.rows {
		fmt.Printf("%-52s %8s  %s\n", r.step, seconds(r.took), r.result)
		total += r.took
	}
	fmt.Printf("%-52s %8s\n", "total", seconds(total))
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }
