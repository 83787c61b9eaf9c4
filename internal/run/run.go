// Package run owns the long-running parts of a process: it starts them in
// order, stops them in reverse, and waits for each one under a deadline.
package run

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Group is a set of components that live and end together. Components are added
// before Run; a Group runs once.
type Group struct {
	Log  *slog.Logger
	Stop time.Duration // how long one component may take to end; 0: 10 s

	parts []component
}

type component struct {
	name string
	run  func(context.Context) error
}

// Add registers a component. Its run must end soon after its context does, and
// return nil then; any other return ends the whole group.
func (g *Group) Add(name string, run func(context.Context) error) {
	g.parts = append(g.parts, component{name, run})
}

// ended is what a component's goroutine reports.
type ended struct {
	part int
	err  error
}

// Run starts every component and waits until ctx ends or one component returns.
// Then it stops them, the last added first, so that a component may rely on
// those added before it until it is done. It returns the first failure, or nil
// if ctx ended and all stopped in time.
func (g *Group) Run(ctx context.Context) error {
	done := make(chan ended, len(g.parts))
	stops := make([]context.CancelFunc, len(g.parts))
	for i, p := range g.parts {
		// Not a child of ctx: the order of stopping is ours.
		partCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		stops[i] = cancel
		go func() { done <- ended{i, p.run(partCtx)} }()
	}
	running := make([]bool, len(g.parts))
	for i := range running {
		running[i] = true
	}

	var first error
	select {
	case <-ctx.Done():
	case e := <-done:
		running[e.part] = false
		first = g.unexpected(e)
	}
	for i := len(g.parts) - 1; i >= 0; i-- {
		stops[i]()
		if err := g.wait(i, running, done); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// unexpected words the end of a component that was not asked to end.
func (g *Group) unexpected(e ended) error {
	if e.err == nil {
		return fmt.Errorf("%s ended by itself", g.parts[e.part].name)
	}
	return fmt.Errorf("%s: %w", g.parts[e.part].name, e.err)
}

// wait collects ended components until part has ended or its time is up.
func (g *Group) wait(part int, running []bool, done <-chan ended) error {
	limit := g.Stop
	if limit == 0 {
		limit = 10 * time.Second
	}
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	var first error
	for running[part] {
		select {
		case e := <-done:
			running[e.part] = false
			if e.err != nil && !errors.Is(e.err, context.Canceled) && first == nil {
				first = fmt.Errorf("%s: %w", g.parts[e.part].name, e.err)
			}
		case <-deadline.C:
			return fmt.Errorf("%s did not stop within %v", g.parts[part].name, limit)
		}
	}
	g.Log.Debug("stopped", slog.String("component", g.parts[part].name))
	return first
}
