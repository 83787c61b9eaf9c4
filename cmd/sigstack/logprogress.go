package main

import (
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/term"
)

// counter shows how far the steps of a long run are: redrawn on a terminal, a line
// now and then elsewhere, nothing in JSON format. It is safe for concurrent use.
type counter struct {
	a        *app
	terminal bool

	mu    sync.Mutex // guards the rest
	step  string
	start time.Time // of the step
	last  time.Time // of the latest drawing
	drawn bool
}

func (a *app) newCounter() *counter {
	f, ok := a.err.(*os.File)
	now := a.now()
	return &counter{a: a, terminal: ok && term.IsTerminal(int(f.Fd())), start: now, last: now}
}

// set says how far a step is; a total of 0 is not known.
func (c *counter) set(step string, done, total uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.a.now()
	if step != c.step {
		c.step, c.start = step, now
	}
	every := lineEvery
	if c.terminal {
		every = redrawEvery
	}
	if now.Sub(c.last) < every {
		return
	}
	c.last = now
	rate := float64(done) / max(now.Sub(c.start).Seconds(), 1e-3)
	line := fmt.Sprintf("%s: %d, %.0f/s", step, done, rate)
	if total > 0 {
		left := time.Duration(float64(total-done) / max(rate, 1e-9) * float64(time.Second))
		line = fmt.Sprintf("%s: %d of %d, %.0f/s, %s left", step, done, total, rate, left.Round(time.Second))
	}
	if !c.terminal {
		c.a.notef("%s\n", line)
		return
	}
	c.a.notef("\r\x1b[K%s", line)
	c.drawn = true
}

// end leaves the last drawing on a line of its own.
func (c *counter) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.drawn {
		c.a.notef("\n")
	}
}
