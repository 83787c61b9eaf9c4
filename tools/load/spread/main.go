// Command spread reads reports of the load driver, several rounds of each
// operation, and prints a table: the median round, the lowest and the highest.
// Beside an operation's CPU time stands its floor's, a benchmark of the bare
// cryptography that was run in the same rounds. With --base each file is of one system,
// which its name tells (ROUND.SYSTEM.json), and beside each stands how much more it
// does for a second of CPU time than the system that is the base.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

func main() {
	floors := flag.String("floors", "", "file: output of `go test -bench`, with cpu-ns/op of the floors")
	base := flag.String("base", "", "system that the others are compared with, round by round")
	flag.Parse()
	run := func(w io.Writer) error { return run(*floors, flag.Args(), w) }
	if *base != "" {
		run = func(w io.Writer) error { return compare(*base, flag.Args(), w) }
	}
	if err := run(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "spread:", err)
		os.Exit(1)
	}
}

// round is what is read of a report.
type round struct {
	Target      string  `json:"target"`
	By          string  `json:"by"`
	Concurrency int     `json:"concurrency"`
	Operations  int64   `json:"operations"`
	PerSecond   float64 `json:"operations_per_second"`
	Latency     struct {
		P50 float64 `json:"p50"`
		P95 float64 `json:"p95"`
		P99 float64 `json:"p99"`
		Max float64 `json:"max"`
	} `json:"latency_ms"`
	Errors struct {
		Total int64 `json:"total"`
	} `json:"errors"`
	CPU struct {
		PerThousand *float64 `json:"seconds_per_1000"`
		Driver      float64  `json:"driver_seconds_per_1000"`
	} `json:"cpu"`
}

func (r round) name() string {
	return strings.TrimSpace(fmt.Sprintf("%s %s", r.Target, r.By)) + " ×" + strconv.Itoa(r.Concurrency)
}

// floorOf names the benchmark of a target's bare cryptography, if it has any: a
// search needs no more than one hash.
func floorOf(target string) string {
	return map[string]string{"ca": "BenchmarkCertificateFloor", "rekor1": "BenchmarkAddEntryFloor", "get": "BenchmarkGetEntryFloor"}[target]
}

func run(floorFile string, files []string, w io.Writer) error {
	floors := map[string][]float64{}
	if floorFile != "" {
		data, err := os.ReadFile(floorFile)
		if err != nil {
			return fmt.Errorf("read floors: %w", err)
		}
		if floors, err = parseFloors(string(data)); err != nil {
			return err
		}
	}
	rounds := map[string][]round{}
	for _, name := range files {
		r, err := readRound(name)
		if err != nil {
			return err
		}
		rounds[r.name()] = append(rounds[r.name()], r)
	}
	return table(rounds, floors, w)
}

func readRound(name string) (r round, err error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return r, fmt.Errorf("read report: %w", err)
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("read report %s: %w", name, err)
	}
	if r.Target == "" || r.Operations == 0 {
		return r, fmt.Errorf("read report %s: it is none of a run", name)
	}
	return r, nil
}

// parseFloors reads CPU time, in seconds per 1,000 operations, by benchmark.
func parseFloors(text string) (map[string][]float64, error) {
	floors := map[string][]float64{}
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		at := slices.Index(fields, "cpu-ns/op")
		if len(fields) < 4 || at < 1 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		ns, err := strconv.ParseFloat(fields[at-1], 64)
		if err != nil || ns <= 0 {
			return nil, fmt.Errorf("read floors: %q", lines.Text())
		}
		name, _, _ := strings.Cut(fields[0], "-")
		floors[name] = append(floors[name], ns*1000/1e9)
	}
	return floors, lines.Err()
}

func table(rounds map[string][]round, floors map[string][]float64, w io.Writer) error {
	var b strings.Builder
	b.WriteString("| operation | rounds | per second | p50 ms | p95 ms | p99 ms | max ms | server CPU s per 1,000 | floor | ratio | driver CPU s per 1,000 | errors |\n" +
		"|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	var names []string
	for name := range rounds {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		list := rounds[name]
		column := func(digits int, value func(r round) float64) string {
			var values []float64
			for _, r := range list {
				values = append(values, value(r))
			}
			return spread(digits, values)
		}
		var errors int64
		var cpu []float64
		for _, r := range list {
			errors += r.Errors.Total
			if r.CPU.PerThousand != nil {
				cpu = append(cpu, *r.CPU.PerThousand)
			}
		}
		floor := floors[floorOf(list[0].Target)]
		fmt.Fprintf(&b, "| %s | %d | %s | %s | %s | %s | %s | %s | %s | %s | %s | %d |\n", name, len(list),
			column(0, func(r round) float64 { return r.PerSecond }),
			column(2, func(r round) float64 { return r.Latency.P50 }),
			column(1, func(r round) float64 { return r.Latency.P95 }),
			column(1, func(r round) float64 { return r.Latency.P99 }),
			column(0, func(r round) float64 { return r.Latency.Max }),
			spread(3, cpu), spread(4, floor), ratio(cpu, floor),
			column(3, func(r round) float64 { return r.CPU.Driver }), errors)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// spread is the median, the lowest and the highest. The median of an even number
// is the upper of the middle.
func spread(digits int, values []float64) string {
	if len(values) == 0 {
		return "–"
	}
	sorted := slices.Sorted(slices.Values(values))
	return fmt.Sprintf("%.*f (%.*f to %.*f)", digits, sorted[len(sorted)/2], digits, sorted[0], digits, sorted[len(sorted)-1])
}

// ratio pairs rounds with the floors that were measured after them.
func ratio(cpu, floor []float64) string {
	if len(cpu) != len(floor) {
		return "–"
	}
	var ratios []float64
	for i := range cpu {
		ratios = append(ratios, cpu[i]/floor[i])
	}
	return spread(1, ratios)
}
