package stack

import (
	"context"
	"time"

	"sigstack/internal/httpd"
)

// How long requests wait for a process. One that has said that it stops is about to
// come back: a restart is noticed as a pause alone. When this one has just started it
// has not asked the others yet. One that is gone without a word is not waited for.
const (
	holdFor   = 20 * time.Second
	firstHold = 10 * time.Second
)

// stopping reports whether a process has said in its report that it stops.
func stopping(report map[string]httpd.ServiceStatus) bool {
	for _, service := range report {
		if service.Status == httpd.Down && service.Detail == httpd.Stopping {
			return true
		}
	}
	return false
}

// hold waits until the process answers, as long as it is about to, and reports
// whether another try is worth it.
func (l *link) hold(ctx context.Context) bool {
	for l.awaited() {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(soughtEvery):
		}
		if l.isUp() {
			return true
		}
	}
	return false
}

// holdUntil says how long requests wait for the process to come.
func (l *link) holdUntil(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = at
}

// awaited reports whether the process may be about to come back.
func (l *link) awaited() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Now().Before(l.until)
}
