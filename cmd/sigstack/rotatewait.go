package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/term"

	"sigstack/internal/rotate"
)

// waitingError is a rotation that is in order, and has to be gone on with.
type waitingError struct{ err error }

func (e *waitingError) Error() string { return e.err.Error() }
func (e *waitingError) Unwrap() error { return e.err }

// How often a wait says what is left: on a terminal, and elsewhere.
const (
	countEvery  = time.Second
	remindEvery = 10 * time.Minute
)

// wait counts down to the time of a step.
func (r *rotating) wait(ctx context.Context, s rotate.Step, until time.Time) error {
	if r.f.noWait {
		return &waitingError{fmt.Errorf("step %s has its time at %s: come back then, with sigstack rotate %s --dir %s", s.Name, stamp(until), r.what, r.l.Dir)}
	}
	f, ok := r.a.err.(*os.File)
	terminal, every, format := ok && term.IsTerminal(int(f.Fd())), remindEvery, "waiting until %s for step %s: %v left\n"
	if terminal {
		every, format = countEvery, "\r\x1b[Kwaiting until %s for step %s: %v left; Ctrl-C is safe"
	}
	for left := until.Sub(r.a.now()); left > 0; left = until.Sub(r.a.now()) {
		r.a.notef(format, stamp(until), s.Name, left.Round(time.Second))
		timer := time.NewTimer(min(left, every))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			if terminal {
				r.a.notef("\n")
			}
			return ctx.Err()
		}
	}
	if terminal {
		r.a.notef("\n")
	}
	return nil
}
