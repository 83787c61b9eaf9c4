// Command growth fills the transparency log of a data directory with entries, and
// measures what operations of a log cost while it grows: over HTTP, against a
// running bin/sigstack, in CPU time of that process, in turns with another one that
// serves a log of a thousand entries. Or it fills a log in a PostgreSQL database, and
// measures bytes by table and index, CPU time and latency while it grows.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

const synopsis = `usage:
  growth prefill -dir DIR [-size N]    fill the log of a stopped stack
  growth measure [-max N] [-rounds N]  grow a log, and measure it beside one of a thousand
  growth database -url-file FILE [-max N] [-rounds N] [-family-pid PID]
                                       grow a log in an empty PostgreSQL database, and say what each entry takes`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "growth:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return errors.New(synopsis)
	}
	flags := flag.NewFlagSet("growth", flag.ContinueOnError)
	switch args[0] {
	case "prefill":
		dir := flags.String("dir", "", "data directory of a stack, stopped")
		size := flags.Uint64("size", 1_000_000, "entries that the log is to have, those that are there included")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return prefill(ctx, *dir, *size, out)
	case "measure":
		from := flags.Uint64("from", 10_000, "entries to measure at first")
		limit := flags.Uint64("max", 1_000_000, "entries to grow to")
		rounds := flags.Int("rounds", 3, "how often to measure each operation at each size")
		bin := flags.String("bin", "bin/sigstack", "the binary")
		work := flags.String("work", "", "directory to work in, kept, where the log that grows is in large; default: one of its own, removed")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return inside(*work, func(dir string) error {
			m := &measurement{bin: *bin, work: dir, rounds: *rounds, out: out}
			return m.grow(ctx, *from, *limit)
		})
	case "database":
		m := &dbMeasurement{out: out}
		flags.StringVar(&m.urlFile, "url-file", "", "file with the URL of a database without a log of this measurement")
		flags.Uint64Var(&m.from, "from", 1000, "entries to measure at first")
		flags.Uint64Var(&m.limit, "max", 1_000_000, "entries to grow to")
		flags.IntVar(&m.rounds, "rounds", 3, "how often to measure each operation at each size")
		flags.IntVar(&m.reads, "reads", 5000, "reads of each kind, per round")
		flags.IntVar(&m.adds, "adds", 2000, "adds at least, per round")
		flags.IntVar(&m.pid, "family-pid", 0, "the server's main process, whose CPU time counts with that of its children")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return m.run(ctx)
	default:
		return errors.New(synopsis)
	}
}

// inside calls f with dir or, if that is empty, with a directory that does not
// outlast it.
func inside(dir string, f func(dir string) error) (err error) {
	if dir != "" {
		return f(dir)
	}
	if dir, err = os.MkdirTemp("", "sigstack-growth-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	return f(dir)
}
