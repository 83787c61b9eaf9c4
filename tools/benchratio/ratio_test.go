package main

import (
	"strings"
	"testing"
)

const output = `goos: linux
pkg: sigstack/services/ca
BenchmarkIssue-2        	    2000	    300000 ns/op	  1000 B/op	  10 allocs/op
BenchmarkIssue-2        	    2000	    330000 ns/op	  1000 B/op	  10 allocs/op
BenchmarkIssue-2        	    2000	    600000 ns/op	  1000 B/op	  10 allocs/op
BenchmarkIssueFloor-2   	    4000	    200000 ns/op
BenchmarkIssueFloor-2   	    4000	    220000 ns/op
BenchmarkIssueFloor-2   	    4000	    200000 ns/op
PASS
ok  	sigstack/services/ca	1.0s
pkg: sigstack/services/tsa
BenchmarkIssue/small-2  	    2000	    500 ns/op	  200 cpu-ns/op
BenchmarkIssue/big-2    	    2000	    600 ns/op
BenchmarkIssueFloor/small-2	    2000	    100 ns/op	  100 cpu-ns/op
BenchmarkIssueFloor-2   	    2000	    200 ns/op
BenchmarkAlone-2        	    2000	    200 ns/op
`

func TestRun(t *testing.T) {
	tests := []struct {
		name, input string
		limit       float64
		want        []string // of the report, in order
		wantErr     string
	}{
		{"ratios", output, 0, []string{
			"services/ca.BenchmarkIssue", "1.50 (1.50 to 3.00, 3 runs)  330000 / 200000 ns/op",
			"services/tsa.BenchmarkIssue/small", "2.00 (2.00 to 2.00, 1 runs)  200 / 100 cpu-ns/op",
			"services/tsa.BenchmarkIssue/big", "3.00 (3.00 to 3.00, 1 runs)  600 / 200 ns/op",
		}, ""},
		{"at the limit", output, 3, nil, ""},
		{"above the limit", output, 2.5, nil, "1 benchmarks above 2.50"},
		{"failed run", output + "FAIL\tsigstack/services/tlog [build failed]\n", 0, nil, "go test failed"},
		{"bad number", "BenchmarkX-2 1 2x ns/op\n", 0, nil, "read"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			err := run(strings.NewReader(tt.input), &out, tt.limit)
			if (err == nil) != (tt.wantErr == "") || err != nil && !strings.Contains(err.Error(), tt.wantErr) {
				t.Fatalf("got error %v, want %q", err, tt.wantErr)
			}
			_, rest, _ := strings.Cut(out.String(), "Ratio to the floor")
			if strings.Contains(rest, "Alone") || strings.Contains(rest, "Floor ") {
				t.Errorf("report lists a benchmark without a floor, or a floor:\n%s", rest)
			}
			for _, want := range tt.want {
				_, after, found := strings.Cut(rest, want)
				if !found {
					t.Fatalf("got report\n%s\nwant %q in it", rest, want)
				}
				rest = after
			}
		})
	}
}
