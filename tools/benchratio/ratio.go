package main

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// results gathers the runs of each benchmark in the order they were printed.
type results struct {
	pkg    string
	order  []name
	runs   map[name][]result
	failed bool // go test said so
}

type name struct{ pkg, bench string }

// A result is one line of output: its values by unit.
type result map[string]float64

// A ratio compares one benchmark with its floor, run by run.
type ratio struct {
	name
	unit                    string
	runs                    int
	median, lowest, highest float64
	value, floor            float64 // medians, in unit
}

func (r ratio) String() string {
	return fmt.Sprintf("%-60s %5.2f (%.2f to %.2f, %d runs)  %.0f / %.0f %s",
		strings.TrimPrefix(r.pkg+".", "sigstack/")+r.bench, r.median, r.lowest, r.highest, r.runs, r.value, r.floor, r.unit)
}

// procs is the GOMAXPROCS suffix that go test appends to a name.
var procs = regexp.MustCompile(`-\d+$`)

// add reads one line of output. Lines that are no results are passed over,
// but for the package that results belong to and a failure.
func (r *results) add(line string) error {
	if pkg, ok := strings.CutPrefix(line, "pkg: "); ok {
		r.pkg = pkg
	}
	if strings.HasPrefix(line, "FAIL") || strings.HasPrefix(line, "--- FAIL") {
		r.failed = true
	}
	fields := strings.Fields(line)
	if len(fields) < 4 || len(fields)%2 != 0 || !strings.HasPrefix(fields[0], "Benchmark") {
		return nil
	}
	values := result{}
	for i := 2; i < len(fields); i += 2 {
		v, err := strconv.ParseFloat(fields[i], 64)
		if err != nil {
			return fmt.Errorf("read %q: %w", line, err)
		}
		values[fields[i+1]] = v
	}
	n := name{pkg: r.pkg, bench: procs.ReplaceAllString(fields[0], "")}
	if r.runs == nil {
		r.runs = map[name][]result{}
	}
	if _, seen := r.runs[n]; !seen {
		r.order = append(r.order, n)
	}
	r.runs[n] = append(r.runs[n], values)
	return nil
}

// ratios pairs each benchmark that has a floor with it.
func (r *results) ratios() []ratio {
	var list []ratio
	for _, n := range r.order {
		if floor, ok := r.floorOf(n); ok {
			list = append(list, compare(n, r.runs[n], floor))
		}
	}
	return list
}

// floorOf finds the floor of BenchmarkX/case: BenchmarkXFloor/case, or one
// BenchmarkXFloor for all its cases.
func (r *results) floorOf(n name) ([]result, bool) {
	top, rest, sub := strings.Cut(n.bench, "/")
	if sub {
		if floor, ok := r.runs[name{n.pkg, top + "Floor/" + rest}]; ok {
			return floor, true
		}
	}
	floor, ok := r.runs[name{n.pkg, top + "Floor"}]
	return floor, ok
}

// compare takes CPU time where both benchmarks report it, since the targets
// are about CPU, and wall time otherwise. Runs are paired in order: the two
// of a pair ran closest together. Medians of odd and even counts alike take
// the upper of the middle.
func compare(n name, runs, floor []result) ratio {
	unit := "cpu-ns/op"
	if runs[0][unit] == 0 || floor[0][unit] == 0 {
		unit = "ns/op"
	}
	var each, values, floors []float64
	for i := range min(len(runs), len(floor)) {
		each = append(each, runs[i][unit]/floor[i][unit])
		values = append(values, runs[i][unit])
		floors = append(floors, floor[i][unit])
	}
	slices.Sort(each)
	return ratio{
		name: n, unit: unit, runs: len(each),
		median: median(each), lowest: each[0], highest: each[len(each)-1],
		value: median(values), floor: median(floors),
	}
}

func median(list []float64) float64 {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[len(sorted)/2]
}
