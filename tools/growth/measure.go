package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	smallSize = 1000   // entries of the log that another is measured beside
	clients   = 32     // requests at once
	reads     = 10_000 // of each kind, per round
	smallAdds = 1000   // per round
	largeAdds = 40_000 // per round, or the addShare-th part of a log
	addShare  = 25
)

// measurement is one run.
type measurement struct {
	bin, work string
	rounds    int
	out       io.Writer
}

// grow measures at from entries and at every power of ten more, up to limit.
func (m *measurement) grow(ctx context.Context, from, limit uint64) error {
	signers, err := newSigners()
	if err != nil {
		return err
	}
	for size := from; size <= limit; size *= 10 {
		large, err := m.prepare(ctx, "large", size, min(max(size/addShare, smallAdds), largeAdds))
		if err != nil {
			return err
		}
		small, err := m.prepare(ctx, "small", smallSize, smallAdds)
		if err != nil {
			return err
		}
		small.signers, large.signers = signers, signers
		err = m.compare(ctx, small, large)
		if err := errors.Join(err, small.stop(), large.stop(), os.RemoveAll(small.dir)); err != nil {
			return fmt.Errorf("at %d entries: %w", size, err)
		}
	}
	return nil
}

// prepare starts a stack on a log of that size.
func (m *measurement) prepare(ctx context.Context, name string, size, adds uint64) (_ *target, err error) {
	dir, log := filepath.Join(m.work, name), filepath.Join(m.work, name+".log")
	first, err := startServer(ctx, m.bin, dir, log) // makes the directory
	if err != nil {
		return nil, err
	}
	if err := first.stop(); err != nil {
		return nil, err
	}
	if err := prefill(ctx, dir, size, io.Discard); err != nil {
		return nil, err
	}
	stored, err := bytesIn(filepath.Join(dir, "db", "log"))
	if err != nil {
		return nil, err
	}
	t := newTarget(dir, size, adds)
	if t.server, err = startServer(ctx, m.bin, dir, log); err != nil {
		return nil, err
	}
	ready, err := t.memory("VmRSS")
	m.printf("\n%d entries: %d bytes on disk each; ready after %v with %d MB\n",
		size, uint64(stored)/size, t.started.Round(time.Millisecond), ready)
	return t, err
}

// compare measures each operation. Adds come last: they change the sizes.
func (m *measurement) compare(ctx context.Context, small, large *target) error {
	operations := []struct {
		name  string
		count func(*target) uint64
		do    func(*target, context.Context, uint64) error
	}{
		{"get by index", (*target).reads, (*target).getByIndex},
		{"get by uuid", (*target).reads, (*target).getByID},
		{"search", (*target).reads, (*target).search},
		{"consistency proof", (*target).reads, (*target).consistency},
		{"add", (*target).adds, (*target).add},
	}
	for _, op := range operations {
		var costs [2][]time.Duration
		var ratios []float64
		for range m.rounds {
			for i, t := range []*target{small, large} {
				cost, err := t.cost(ctx, op.count(t), op.do)
				if err != nil {
					return fmt.Errorf("%s: %w", op.name, err)
				}
				costs[i] = append(costs[i], cost)
			}
			ratios = append(ratios, float64(last(costs[1]))/float64(last(costs[0])))
		}
		slices.Sort(ratios)
		m.printf("  %-18s %s µs of CPU at %d, %s at %d: %.2f times (%.2f to %.2f)\n", op.name,
			spread(costs[0]), small.size, spread(costs[1]), large.size, ratios[len(ratios)/2], ratios[0], last(ratios))
	}
	most, err := large.memory("VmHWM")
	m.printf("  memory under load: at most %d MB\n", most)
	return err
}

func last[T any](s []T) T { return s[len(s)-1] }

// spread is the median, and the lowest and highest, in microseconds.
func spread(d []time.Duration) string {
	d = slices.Sorted(slices.Values(d))
	return fmt.Sprintf("%d (%d to %d)", d[len(d)/2].Microseconds(), d[0].Microseconds(), last(d).Microseconds())
}

func (m *measurement) printf(format string, args ...any) {
	_, _ = fmt.Fprintf(m.out, format, args...) // for who watches
}
