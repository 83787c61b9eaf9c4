package drive_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sigstack/tools/load/drive"
)

// sleeper is an operation that prepares for 1 ms, takes d, and is verified for 2
// ms, on a clock that stands still while somebody computes.
func sleeper(d time.Duration, fail func(n int64) error) func(context.Context) (drive.Call, error) {
	var n atomic.Int64
	return func(context.Context) (drive.Call, error) {
		time.Sleep(time.Millisecond)
		i := n.Add(1)
		return drive.Call{
			Send: func(ctx context.Context) error {
				select {
				case <-time.After(d):
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			},
			Verify: func() error {
				time.Sleep(2 * time.Millisecond)
				return fail(i)
			},
		}, nil
	}
}

func none(int64) error { return nil }

func kind(err error) string { return err.Error()[:3] }

func TestRun(t *testing.T) {
	tests := []struct {
		name          string
		config        drive.Config
		fail          func(n int64) error
		ok, errors    int64
		elapsed, took time.Duration
	}{
		{"count", drive.Config{Concurrency: 4, Count: 20}, none, 20, 0, 50 * time.Millisecond, 7 * time.Millisecond},
		{"count that does not divide", drive.Config{Concurrency: 4, Count: 21}, none, 21, 0, 60 * time.Millisecond, 7 * time.Millisecond},
		{"duration", drive.Config{Concurrency: 3, Duration: 95 * time.Millisecond}, none, 30, 0, 100 * time.Millisecond, 7 * time.Millisecond},
		{"warm-up", drive.Config{Concurrency: 2, Duration: 50 * time.Millisecond, WarmUp: 100 * time.Millisecond}, none, 10, 0, 50 * time.Millisecond, 7 * time.Millisecond},
		{"errors", drive.Config{Concurrency: 1, Count: 10}, func(n int64) error {
			if n%5 == 0 {
				return fmt.Errorf("odd %d", n)
			}
			return nil
		}, 8, 2, 100 * time.Millisecond, 7 * time.Millisecond},
		{"errors of the warm-up", drive.Config{Concurrency: 1, Count: 5, WarmUp: 30 * time.Millisecond}, func(n int64) error {
			if n == 1 {
				return errors.New("cold")
			}
			return nil
		}, 5, 1, 50 * time.Millisecond, 7 * time.Millisecond},
		{"timeout", drive.Config{Concurrency: 1, Count: 3, Timeout: 5 * time.Millisecond}, none, 0, 3, 18 * time.Millisecond, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := tt.config
				c.Prepare, c.KindOf, c.Now = sleeper(7*time.Millisecond, tt.fail), kind, time.Now
				got, err := drive.Run(t.Context(), c)
				if err != nil {
					t.Fatal(err)
				}
				if got.Operations != tt.ok || got.Errors.Total() != tt.errors || got.Latency.Count() != tt.ok {
					t.Errorf("got %d operations, %d latencies and errors %v; want %d and %d errors", got.Operations, got.Latency.Count(), got.Errors, tt.ok, tt.errors)
				}
				if got.Elapsed != tt.elapsed || got.Interrupted {
					t.Errorf("got %v, interrupted %t, want %v", got.Elapsed, got.Interrupted, tt.elapsed)
				}
				if max, min := got.Latency.Max(), got.Latency.Min(); max != tt.took || min != tt.took {
					t.Errorf("got latencies of %v to %v, want %v: preparing and verifying do not count", min, max, tt.took)
				}
				if want := time.Duration(tt.ok) * time.Millisecond; got.Preparing != want || got.Verifying != 2*want {
					t.Errorf("got %v of preparing, %v of verifying, want %v and %v", got.Preparing, got.Verifying, want, 2*want)
				}
			})
		})
	}
}

func TestRunErrorsByKind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got, err := drive.Run(t.Context(), drive.Config{
			Prepare: sleeper(time.Millisecond, func(n int64) error {
				return fmt.Errorf("%s: call %d", []string{"abc", "xyz", "xyz"}[n%3], n)
			}),
			KindOf: kind, Now: time.Now, Concurrency: 1, Count: 9,
		})
		if err != nil {
			t.Fatal(err)
		}
		want := drive.Errors{{Kind: "xyz", Count: 6, First: "xyz: call 1"}, {Kind: "abc", Count: 3, First: "abc: call 3"}}
		if !slices.Equal(got.Errors, want) {
			t.Errorf("got %v, want %v", got.Errors, want)
		}
	})
}

func TestRunInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 25*time.Millisecond)
		defer cancel()
		got, err := drive.Run(ctx, drive.Config{
			Prepare: sleeper(7*time.Millisecond, none), KindOf: kind, Now: time.Now, Concurrency: 2, Duration: time.Hour,
		})
		if err != nil || !got.Interrupted || got.Operations != 4 || len(got.Errors) != 0 || got.Elapsed != 25*time.Millisecond {
			t.Errorf("got %d operations in %v, interrupted %t, errors %v, %v; want 4 in 25ms, interrupted", got.Operations, got.Elapsed, got.Interrupted, got.Errors, err)
		}
	})
}

func TestRunCannotPrepare(t *testing.T) {
	broken := errors.New("broken")
	_, err := drive.Run(t.Context(), drive.Config{
		Prepare: func(context.Context) (drive.Call, error) { return drive.Call{}, broken },
		KindOf:  kind, Now: time.Now, Concurrency: 2, Count: 3,
	})
	if !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
}

func TestRunProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []int64
		_, err := drive.Run(t.Context(), drive.Config{
			Prepare: sleeper(7*time.Millisecond, none), KindOf: kind, Now: time.Now, Concurrency: 1, Count: 10,
			Every: 33 * time.Millisecond, Progress: func(ok, _ int64) { seen = append(seen, ok) },
		})
		if want := []int64{3, 6, 9}; err != nil || !slices.Equal(seen, want) {
			t.Errorf("got %v, %v, want %v", seen, err, want)
		}
	})
}

func TestRunConfig(t *testing.T) {
	for _, c := range []drive.Config{{Concurrency: 0, Count: 1}, {Concurrency: 1}, {Concurrency: 1, Count: 1, Duration: 1}} {
		if _, err := drive.Run(t.Context(), c); err == nil {
			t.Errorf("%+v: got no error", c)
		}
	}
}

// TestHistogram compares quantiles with those of the sorted values themselves.
func TestHistogram(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, most := range []int64{1, 100, 1000, 1e6, 1e9, 1e13, 1 << 62} {
		var h drive.Histogram
		var values []time.Duration
		var sum time.Duration
		for range 2001 {
			v := time.Duration(random.Int64N(most) / 2001)
			h.Add(v)
			values, sum = append(values, v), sum+v
		}
		slices.Sort(values)
		for _, q := range []float64{0, 0.5, 0.95, 0.99, 1} {
			exact := values[min(int(q*2001), 2000)]
			got := h.Quantile(q)
			if got < exact || float64(got-exact) > float64(exact)*drive.Resolution {
				t.Errorf("quantile %v below %d: got %d, want %d", q, most, got, exact)
			}
		}
		if h.Max() != values[2000] || h.Min() != values[0] || h.Mean() != sum/2001 || h.Count() != 2001 {
			t.Errorf("below %d: got %d to %d, mean %d; want %d to %d, mean %d", most, h.Min(), h.Max(), h.Mean(), values[0], values[2000], sum/2001)
		}
	}
	var empty drive.Histogram
	if empty.Quantile(0.5) != 0 || empty.Min() != 0 || empty.Mean() != 0 {
		t.Error("an empty histogram has durations")
	}
}
