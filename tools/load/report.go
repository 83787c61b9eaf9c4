package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"sigstack/tools/load/check"
	"sigstack/tools/load/drive"
	"sigstack/tools/load/usage"
)

// report is what a run came to; its JSON form is for programs.
type report struct {
	Target      string    `json:"target"`
	By          string    `json:"by,omitempty"`
	Concurrency int       `json:"concurrency"`
	Started     time.Time `json:"started"`
	WarmUp      float64   `json:"warm_up_seconds"`
	Duration    float64   `json:"duration_seconds"`
	Interrupted bool      `json:"interrupted"`

	Operations int64   `json:"operations"` // with right answers
	PerSecond  float64 `json:"operations_per_second"`
	Latency    latency `json:"latency_ms"`
	Errors     struct {
		Total  int64        `json:"total"`
		ByKind drive.Errors `json:"by_kind"`
	} `json:"errors"`
	CPU     cpu           `json:"cpu"`
	Driver  driverTime    `json:"driver"`
	Machine usage.Machine `json:"machine"`
}

// latency of the operations with right answers, in milliseconds.
type latency struct {
	Min  float64 `json:"min"`
	Mean float64 `json:"mean"`
	P50  float64 `json:"p50"`
	P95  float64 `json:"p95"`
	P99  float64 `json:"p99"`
	Max  float64 `json:"max"`
	// Resolution is the fraction by which quantiles are too large at most; the
	// others are exact.
	Resolution float64 `json:"resolution"`
}

// cpu is CPU time, in seconds; of processes in steps of 0.01.
type cpu struct {
	Processes     []processUsed `json:"processes"`
	PerThousand   *float64      `json:"seconds_per_1000,omitempty"` // of all processes together
	Driver        float64       `json:"driver_seconds"`
	DriverPer1000 float64       `json:"driver_seconds_per_1000"`
	Problem       string        `json:"problem,omitempty"` // why a process is missing
}

// driverTime is what latency does not hold, over all goroutines, in seconds of
// the clock.
type driverTime struct {
	Preparing float64 `json:"preparing_seconds"`
	Verifying float64 `json:"verifying_seconds"`
}

func newReport(o *options, started time.Time, m usage.Machine, result drive.Result, used cpuUsed) report {
	r := report{
		Target: o.target, By: o.by, Concurrency: o.concurrency, Started: started.UTC().Truncate(time.Second),
		WarmUp: o.warmUp.Seconds(), Duration: result.Elapsed.Seconds(), Interrupted: result.Interrupted,
		Operations: result.Operations, Latency: latencyOf(result.Latency), Machine: m,
		Driver: driverTime{result.Preparing.Seconds(), result.Verifying.Seconds()},
		CPU:    cpu{Processes: used.processes, Driver: used.driver.Seconds()},
	}
	r.Errors.Total, r.Errors.ByKind = result.Errors.Total(), result.Errors
	if r.Duration > 0 {
		r.PerSecond = float64(r.Operations) / r.Duration
	}
	if used.problem != nil {
		r.CPU.Problem = used.problem.Error()
	}
	if r.Operations > 0 {
		r.CPU.DriverPer1000 = r.CPU.Driver / float64(r.Operations) * 1000
	}
	if r.Operations > 0 && len(used.processes) > 0 && used.problem == nil {
		var sum float64
		for _, p := range used.processes {
			sum += p.Seconds
		}
		sum = sum / float64(r.Operations) * 1000
		r.CPU.PerThousand = &sum
	}
	return r
}

func latencyOf(h *drive.Histogram) latency {
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	return latency{
		Min: ms(h.Min()), Mean: ms(h.Mean()), Max: ms(h.Max()), Resolution: drive.Resolution,
		P50: ms(h.Quantile(0.5)), P95: ms(h.Quantile(0.95)), P99: ms(h.Quantile(0.99)),
	}
}

// code is the exit code: any error is one, and nothing but failed connections is
// a service that is not there.
func (r report) code() int {
	switch {
	case r.Errors.Total == 0:
		return exitDone
	case r.Operations == 0 && len(r.Errors.ByKind) == 1 && r.Errors.ByKind[0].Kind == string(check.Unreachable):
		return exitUnreachable
	default:
		return exitWrong
	}
}

func (r report) write(w io.Writer, format string) error {
	if format == "json" {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(r)
	}
	_, err := io.WriteString(w, r.text())
	return err
}

// text is the form for people: one line, and one for each kind of error.
func (r report) text() string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	p("%s ×%d: %d operations in %.1f s, %.1f/s, p50 %.2f p95 %.2f p99 %.2f max %.2f ms, %d errors",
		strings.TrimSpace(r.Target+" "+r.By), r.Concurrency, r.Operations, r.Duration, r.PerSecond,
		r.Latency.P50, r.Latency.P95, r.Latency.P99, r.Latency.Max, r.Errors.Total)
	if r.CPU.PerThousand != nil {
		p(", CPU %.3f s per 1,000", *r.CPU.PerThousand)
	}
	p(", driver %.3f", r.CPU.DriverPer1000)
	if r.Interrupted {
		p(", interrupted")
	}
	p("\n")
	for _, e := range r.Errors.ByKind {
		p("  %d × %s: %s\n", e.Count, e.Kind, e.First)
	}
	if r.CPU.Problem != "" {
		p("  CPU time is not complete: %s\n", strings.ReplaceAll(r.CPU.Problem, "\n", "; "))
	}
	return b.String()
}
