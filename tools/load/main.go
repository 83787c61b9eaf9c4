// Command load drives any implementation of Sigstore's services over their public
// protocols, verifies every answer, and prints how many there were, how long they
// took, what was wrong, and the CPU time that it cost. See docs/performance.md.
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
	"time"

	"sigstack/tools/load/check"
	"sigstack/tools/load/drive"
	"sigstack/tools/load/target"
	"sigstack/tools/load/usage"
)

// Exit codes.
const (
	exitDone        = 0
	exitWrong       = 1 // an answer was wrong, or none came; or the run could not be made
	exitUsage       = 2
	exitUnreachable = 3
)

// progressEvery is how often progress is told.
const progressEvery = 5 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the program, and returns its exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parseOptions(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return exitDone
	}
	if err != nil {
		say(stderr, err)
		return exitUsage
	}
	r, err := o.measure(ctx, stderr)
	if err != nil {
		say(stderr, err)
		return codeOf(err)
	}
	if err := r.write(stdout, o.output); err != nil {
		say(stderr, err)
		return exitWrong
	}
	return r.code()
}

// say tells an error. That standard error takes nothing can be told to nobody.
func say(stderr io.Writer, err error) { _, _ = fmt.Fprintln(stderr, "load:", err) }

// usageError is a mistake of the command line.
type usageError struct{ error }

func codeOf(err error) int {
	var mistake usageError
	switch {
	case errors.As(err, &mistake):
		return exitUsage
	case check.KindOf(err) == check.Unreachable:
		return exitUnreachable
	default:
		return exitWrong
	}
}

// measure sets the target up and runs it.
func (o *options) measure(ctx context.Context, stderr io.Writer) (report, error) {
	c, err := o.config()
	if err != nil {
		return report{}, err
	}
	processes, err := watch(o.pids, usage.Watch)
	if err != nil {
		return report{}, usageError{fmt.Errorf("--pid: %w", err)}
	}
	families, err := watch(o.families, usage.WatchFamily)
	if err != nil {
		return report{}, usageError{fmt.Errorf("--family-pid: %w", err)}
	}
	prepare, err := target.New(ctx, o.target, c)
	if err != nil {
		return report{}, fmt.Errorf("set up target %s: %w", o.target, err)
	}
	defer c.HTTP.CloseIdleConnections()
	m := &meter{processes: append(processes, families...)}
	started := time.Now()
	machine := usage.ThisMachine()
	result, err := drive.Run(ctx, drive.Config{
		Prepare: prepare, KindOf: target.KindOf, Concurrency: o.concurrency,
		Count: o.count, Duration: o.duration, WarmUp: o.warmUp, Timeout: o.timeout,
		Measured: m.mark, Progress: o.progress(stderr, started), Every: progressEvery, Now: time.Now,
	})
	if err != nil {
		return report{}, err
	}
	return newReport(o, started, machine, result, m.read()), nil
}

// progress tells how far a run is, unless nobody wants to know.
func (o *options) progress(stderr io.Writer, started time.Time) func(ok, wrong int64) {
	if o.quiet {
		return nil
	}
	return func(ok, wrong int64) {
		_, _ = fmt.Fprintf(stderr, "%4.0f s: %d operations, %d errors\n", time.Since(started).Seconds(), ok, wrong)
	}
}

// meter measures CPU time from the end of the warm-up on.
type meter struct {
	processes []*usage.Process
	self      time.Duration
	problem   error
}

func watch(pids []int, begin func(int) (*usage.Process, error)) ([]*usage.Process, error) {
	var out []*usage.Process
	for _, pid := range pids {
		p, err := begin(pid)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

func (m *meter) mark() {
	for _, p := range m.processes {
		m.problem = errors.Join(m.problem, p.Mark())
	}
	var err error
	m.self, err = usage.Self()
	m.problem = errors.Join(m.problem, err)
}

// cpuUsed is what a run cost. A process that ended is in Problem, and its time in
// no sum.
type cpuUsed struct {
	driver    time.Duration
	processes []processUsed
	problem   error
}

type processUsed struct {
	PID     int     `json:"pid"`
	Command string  `json:"command"`
	Seconds float64 `json:"seconds"`
}

func (m *meter) read() cpuUsed {
	used := cpuUsed{problem: m.problem}
	self, err := usage.Self()
	used.driver, used.problem = self-m.self, errors.Join(used.problem, err)
	for _, p := range m.processes {
		cpu, err := p.Used()
		if err != nil {
			used.problem = errors.Join(used.problem, err)
			continue
		}
		used.processes = append(used.processes, processUsed{p.PID, p.Command, cpu.Seconds()})
	}
	return used
}
