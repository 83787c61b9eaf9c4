package e2e

import (
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
)

// open is how many connections the server holds.
func (s *floodedStack) open(t *testing.T) float64 {
	all := 0.
	for _, m := range s.metrics(t) {
		all += openOf(m)
	}
	return all
}

func openOf(m map[string]float64) float64 {
	return m[`sigstack_connections{state="busy"}`] + m[`sigstack_connections{state="waiting"}`]
}

// The metrics that tell of leaks.
const (
	goroutines = "go_goroutines"
	heap       = "go_memstats_heap_inuse_bytes"
	resident   = "process_resident_memory_bytes"
)

// peaks is the most memory that each process with a public listener has had, in bytes.
func (s *floodedStack) peaks(t *testing.T) (all []int64) {
	t.Helper()
	for _, dir := range s.ServiceDirs("tuf") {
		all = append(all, peak(t, dir))
	}
	return all
}

func peak(t *testing.T, dir string) int64 {
	t.Helper()
	pid := strings.TrimSpace(e2etest.ReadFile(t, filepath.Join(dir, "run", "pid")))
	match := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindStringSubmatch(e2etest.ReadFile(t, "/proc/"+pid+"/status"))
	if match == nil {
		t.Fatal("the system does not tell how much memory a process has had")
	}
	kB, err := strconv.ParseInt(match[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kB << 10
}

// metrics reads those of each process with a public listener.
func (s *floodedStack) metrics(t *testing.T) (all []map[string]float64) {
	t.Helper()
	for _, dir := range s.ServiceDirs("tuf") {
		all = append(all, metricsIn(t, dir))
	}
	return all
}

func metricsIn(t *testing.T, dir string) map[string]float64 {
	t.Helper()
	address := strings.TrimSpace(e2etest.ReadFile(t, filepath.Join(dir, "run", "metrics")))
	status, text := e2etest.Get(t, e2etest.Scheme()+"://"+address+"/metrics")
	if status != http.StatusOK {
		t.Fatalf("metrics: %d", status)
	}
	out := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "} ")
		if ok {
			name += "}"
		} else {
			name, value, _ = strings.Cut(strings.TrimSpace(line), " ")
		}
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			out[name] = v
		}
	}
	return out
}

// settle waits until connections are gone and, compared with before, goroutines
// and memory as well. Garbage goes when new one comes.
func (s *floodedStack) settle(t *testing.T, before []map[string]float64) []map[string]float64 {
	t.Helper()
	client := s.from(t, "127.0.0.3", len(s.at) == 1) // else each replica has its turn
	search := strings.Repeat(" ", 120<<10)
	for end := time.Now().Add(settleWithin); ; {
		for range 100 * len(s.at) {
			if _, err := send(client, http.MethodPost, s.URL+"/api/v1/index/retrieve", search); err != nil {
				t.Fatal(err)
			}
		}
		all := s.metrics(t)
		remains := ""
		for i, m := range all {
			var first map[string]float64
			if before != nil {
				first = before[i]
			}
			remains += left(m, first)
		}
		if remains == "" {
			return all
		}
		if time.Now().After(end) {
			t.Errorf("%v after the flood: %s", settleWithin, remains)
			return all
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// left says what a flood has left behind, "" if nothing.
func left(m, before map[string]float64) string {
	switch open := openOf(m); {
	case open > 20: // the kept ones of good clients
		return fmt.Sprintf("%v connections are open", open)
	case before == nil:
		return ""
	case m[goroutines] > before[goroutines]+goroutinesLeft:
		return fmt.Sprintf("%v goroutines, %v before", m[goroutines], before[goroutines])
	case m[heap] > before[heap]+heapLeft:
		return fmt.Sprintf("heap of %.0f MB, %.0f MB before", m[heap]/1e6, before[heap]/1e6)
	case m[resident] > before[resident]+residentLeft:
		return fmt.Sprintf("%.0f MB resident, %.0f MB before", m[resident]/1e6, before[resident]/1e6)
	}
	return ""
}
