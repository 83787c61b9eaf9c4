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

func TestCompare(t *testing.T) {
	dir := t.TempDir()
	report := func(name, perSecond, cpu string) string {
		t.Helper()
		path := filepath.Join(dir, name+".json")
		text := `{"target":"rekor1","concurrency":64,"operations":9,"operations_per_second":` + perSecond + `,"latency_ms":{"p50":1,"p95":2,"p99":3},"errors":{"total":1},"cpu":{` + cpu + `}}`
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	files := []string{
		report("1.other", "100", `"seconds_per_1000":10`), report("1.ours", "150", `"seconds_per_1000":0.5`),
		report("2.other", "100", `"seconds_per_1000":12`), report("2.ours", "90", `"seconds_per_1000":0.4`),
	}
	var out strings.Builder
	if err := compare("other", files, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| other | 2 | 100 (100 to 100) | 1.00 (1.00 to 1.00) | 1.0 (1.0 to 1.0) | 2.0 (2.0 to 2.0) | 3.0 (3.0 to 3.0) | 12.000 (10.000 to 12.000) | 1.0 (1.0 to 1.0) | 2 |",
		"| ours | 2 | 150 (90 to 150) | 1.50 (0.90 to 1.50) | 1.0 (1.0 to 1.0) | 2.0 (2.0 to 2.0) | 3.0 (3.0 to 3.0) | 0.500 (0.400 to 0.500) | 30.0 (20.0 to 30.0) | 2 |",
	} {
		if !strings.Contains(out.String(), want+"\n") {
			t.Errorf("got\n%s\nwant\n%s", out.String(), want)
		}
	}
	for name, bad := range map[string][]string{
		"a round too few": files[:3],
		"no base":         {files[1]},
		"no CPU time":     {report("3.other", "100", "")},
		"no name":         {report("4", "100", `"seconds_per_1000":10`)},
	} {
		if err := compare("other", bad, &out); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}
