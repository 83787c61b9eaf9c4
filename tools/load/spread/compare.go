package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
)

// compare prints a table of systems, in the order of the files, and how much each does
// in a second, and for a second of CPU time, beside the base. Every system needs every round.
func compare(base string, files []string, w io.Writer) error {
	var names []string
	systems := map[string][]round{}
	for _, file := range files {
		_, name, ok := strings.Cut(strings.TrimSuffix(filepath.Base(file), ".json"), ".")
		if !ok {
			return fmt.Errorf("report %s is not named ROUND.SYSTEM.json", file)
		}
		r, err := readRound(file)
		if err != nil {
			return err
		}
		if r.CPU.PerThousand == nil || *r.CPU.PerThousand <= 0 {
			return fmt.Errorf("report %s tells no CPU time", file)
		}
		if systems[name] == nil {
			names = append(names, name)
		}
		systems[name] = append(systems[name], r)
	}
	rounds := systems[base]
	if rounds == nil {
		return fmt.Errorf("there is no report of %s", base)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "| system | rounds | per second | times %s | p50 ms | p95 ms | p99 ms | CPU s per 1,000 | per CPU second, times %s | errors |\n"+
		"|---|---|---|---|---|---|---|---|---|---|\n", base, base)
	for _, name := range names {
		list := systems[name]
		if len(list) != len(rounds) {
			return errors.New("some system lacks a round")
		}
		var perSecond, faster, p50, p95, p99, cpu, times []float64
		var wrong int64
		for i, r := range list {
			perSecond, faster = append(perSecond, r.PerSecond), append(faster, r.PerSecond/rounds[i].PerSecond)
			p50, p95, p99 = append(p50, r.Latency.P50), append(p95, r.Latency.P95), append(p99, r.Latency.P99)
			cpu, times = append(cpu, *r.CPU.PerThousand), append(times, *rounds[i].CPU.PerThousand / *r.CPU.PerThousand)
			wrong += r.Errors.Total
		}
		fmt.Fprintf(&b, "| %s | %d | %s | %s | %s | %s | %s | %s | %s | %d |\n", name, len(list),
			spread(0, perSecond), spread(2, faster), spread(1, p50), spread(1, p95), spread(1, p99), spread(3, cpu), spread(1, times), wrong)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
