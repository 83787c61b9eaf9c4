package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	dir := t.TempDir()
	var files []string
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for i, cpu := range []float64{0.3, 0.2, 0.6} {
		files = append(files, write(fmt.Sprintf("%d.json", i), fmt.Sprintf(`{"target":"rekor1","concurrency":64,"operations":9,
			"operations_per_second":%d,"latency_ms":{"p50":1,"p95":%d,"p99":3,"max":4},"errors":{"total":%d},
			"cpu":{"seconds_per_1000":%v,"driver_seconds_per_1000":0.1}}`, 1000+i, 50+i, i, cpu)))
	}
	files = append(files, write("s.json", `{"target":"search","by":"hash","concurrency":1,"operations":9,"operations_per_second":7,"latency_ms":{},"errors":{},"cpu":{}}`))
	floors := write("floors", `cpu: fast
BenchmarkAddEntryFloor-2   	 100	 1 ns/op	    100000 cpu-ns/op	 0 B/op
BenchmarkAddEntryFloor-2   	 100	 1 ns/op	    200000 cpu-ns/op	 0 B/op
BenchmarkAddEntryFloor-2   	 100	 1 ns/op	    150000 cpu-ns/op	 0 B/op
BenchmarkOther-2   	 100	 1 ns/op
PASS
`)
	var out strings.Builder
	if err := run(floors, files, &out); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"| rekor1 ×64 | 3 | 1001 (1000 to 1002) | 1.00 (1.00 to 1.00) | 51.0 (50.0 to 52.0) | 3.0 (3.0 to 3.0) | 4 (4 to 4) | 0.300 (0.200 to 0.600) | 0.1500 (0.1000 to 0.2000) | 3.0 (1.0 to 4.0) | 0.100 (0.100 to 0.100) | 3 |",
		"| search hash ×1 | 1 | 7 (7 to 7) | 0.00 (0.00 to 0.00) | 0.0 (0.0 to 0.0) | 0.0 (0.0 to 0.0) | 0 (0 to 0) | – | – | – | 0.000 (0.000 to 0.000) | 0 |",
	}
	got := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(got) != 4 || got[2] != want[0] || got[3] != want[1] {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, bad := range []string{"{", `{"target":"x"}`, `[]`} {
		if err := run("", []string{write("bad", bad)}, &out); err == nil {
			t.Errorf("%s: got no error", bad)
		}
	}
	if err := run(write("bad", "BenchmarkX 1 0 cpu-ns/op"), nil, &out); err == nil {
		t.Error("bad floors: got no error")
	}
}
