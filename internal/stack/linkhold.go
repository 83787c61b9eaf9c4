package stack

import (
	"context"
	"time"

	"sigstack/internal/httpd"
)

// holdFor is how long requests wait for a process that has said that it stops: a
// restart is not noticed, but as a pause. One that is gone without a word is not
// waited for.
const holdFor = 20 * time.Second

// stopping reports whether a process has said in its report that it stops.
func stopping(report map[string]httpd.ServiceStatus) bool {
	for _, service := range report {
		if service.Status == httpd.Down && service.Detail == httpd.Stopping {
			return true
		}
	}
	return false
}

// hold waits until a process that has said that it stops answers again, and reports
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

// awaited reports whether the process may be about to come back.
func (l *link) awaited() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.left.IsZero() && time.Since(l.left) < holdFor
}
