package sct

import (
	"errors"
	"sync"
	"time"
)

// How long a log that has failed is left alone: it doubles with each failure.
const (
	firstRest   = time.Second
	longestRest = 30 * time.Second
	longestAsk  = time.Minute // of what a log asks for itself
)

// circuit remembers whether a log is worth asking before others.
type circuit struct {
	mu       sync.Mutex
	failures uint      // guarded by mu: in a row
	until    time.Time // guarded by mu: it is left alone until then
}

// allows reports whether the log is to be asked before those that fail. Of one that
// has rested, one caller at a time finds out how it is.
func (c *circuit) allows(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.failures == 0:
		return true
	case now.Before(c.until):
		return false
	}
	c.until = now.Add(firstWait)
	return true
}

// succeed reports whether the log had failed before.
func (c *circuit) succeed() (was bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	was, c.failures, c.until = c.failures > 0, 0, time.Time{}
	return was
}

// fail reports whether the log had been well before. rest is what it asks for.
func (c *circuit) fail(now time.Time, rest time.Duration) (first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	own := longestRest
	if c.failures < 5 {
		own = firstRest << c.failures
	}
	c.failures++
	if end := now.Add(max(own, min(rest, longestAsk))); end.After(c.until) {
		c.until = end
	}
	return c.failures == 1
}

// restError is the error of a log that says when to come again.
type restError struct {
	error
	after time.Duration
}

// Unwrap is for errors.As.
func (e restError) Unwrap() error { return e.error }

// retryAfter is when the log that err is of wants to be asked again.
func retryAfter(err error) time.Duration {
	var rest restError
	if errors.As(err, &rest) {
		return max(rest.after, 0)
	}
	return 0
}
