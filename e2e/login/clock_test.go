package login

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
	"sigstack/internal/config"
	"sigstack/internal/stack"
)

// clocked is a stack in this process, for its clock.
type clocked struct {
	*e2etest.Stack // its address and directory; there is no process to stop

	ahead atomic.Int64 // nanoseconds that its clock is ahead by
}

func (c *clocked) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clocked) advance(d time.Duration) { c.ahead.Add(int64(d)) }

func startClocked(t *testing.T) *clocked {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &clocked{Stack: &e2etest.Stack{
		URL: fmt.Sprintf("%s://localhost:%d", e2etest.Scheme(), listener.Addr().(*net.TCPAddr).Port),
		Dir: filepath.Join(t.TempDir(), "data"),
	}}
	if err := stack.Init(t.Context(), stack.InitConfig{
		Dir: c.Dir, Profile: config.ProfileUp, URL: c.URL, Listen: listener.Addr().String(), Now: c.now, Log: log,
	}); err != nil {
		t.Fatal(err)
	}
	s, err := stack.Open(t.Context(), stack.Options{
		Dir: c.Dir, Profile: config.ProfileUp, Listener: listener, Now: c.now, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	e2etest.Adopt(t, c.Dir)
	run(t, s)
	return c
}

// run runs the stack until the test ends, and returns when it is ready.
func run(t *testing.T, s *stack.Stack) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- s.Run(ctx, func() { close(ready) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("stack ended: %v", err)
		}
	})
	select {
	case <-ready:
	case <-time.After(e2etest.ReadyWithin):
		t.Fatalf("stack is not ready after %v", e2etest.ReadyWithin)
	}
}
