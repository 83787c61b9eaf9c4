package run_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sigstack/internal/run"
)

// journal records the order of events.
type journal struct {
	mu     sync.Mutex
	events []string // guarded by mu
}

func (j *journal) add(e string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events = append(j.events, e)
}

func (j *journal) part(name string) func(context.Context) error {
	return func(ctx context.Context) error {
		<-ctx.Done()
		j.add(name)
		return nil
	}
}

func TestStopsInReverseOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		g := run.Group{Log: slog.New(slog.DiscardHandler)}
		for _, name := range []string{"storage", "service", "listener"} {
			g.Add(name, j.part(name))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := g.Run(ctx); err != nil {
			t.Fatalf("Run: %v", err)
		}
		if want := []string{"listener", "service", "storage"}; !slices.Equal(j.events, want) {
			t.Errorf("stopped %v, want %v", j.events, want)
		}
	})
}

func TestOneFailureEndsAll(t *testing.T) {
	boom := errors.New("boom")
	for _, tt := range []struct {
		name string
		ret  error
		want string
	}{{"failure", boom, "bad: boom"}, {"early end", nil, "bad ended by itself"}} {
		t.Run(tt.name, func(t *testing.T) {
			var j journal
			g := run.Group{Log: slog.New(slog.DiscardHandler)}
			g.Add("good", j.part("good"))
			g.Add("bad", func(context.Context) error { return tt.ret })
			err := g.Run(t.Context())
			if err == nil || err.Error() != tt.want {
				t.Errorf("Run: %v, want %q", err, tt.want)
			}
			if !slices.Equal(j.events, []string{"good"}) {
				t.Errorf("the good one was not stopped: %v", j.events)
			}
		})
	}
}

func TestAPartThatWillNotStopIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		g := run.Group{Log: slog.New(slog.DiscardHandler), Stop: time.Second}
		g.Add("stuck", func(context.Context) error { <-release; return nil })
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := g.Run(ctx)
		if err == nil || !strings.Contains(err.Error(), "stuck did not stop within 1s") {
			t.Errorf("Run: %v, want the stuck part named", err)
		}
		close(release)
	})
}
