// Package audittest stands in for the audit record in tests of what is put on it.
// It keeps events in memory and fails when a test says so; it is for tests only.
package audittest

import (
	"context"
	"sync"
	"testing"

	"sigstack/internal/audit"
)

// Record is a record that starts empty and well. It is safe for concurrent use.
type Record struct {
	mu     sync.Mutex
	events []audit.Event // guarded by mu, as is what follows
	full   error         // fails what is added
	down   error         // is not ready
}

// Add puts an event on record, as services are given audit.Log's Record.
func (r *Record) Add(_ context.Context, e audit.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.full == nil {
		r.events = append(r.events, e)
	}
	return r.full
}

// Ready says whether events can be recorded, as audit.Log's does.
func (r *Record) Ready(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.down
}

// Fail makes Add fail with full and Ready with down; nil ends that.
func (r *Record) Fail(full, down error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.full, r.down = full, down
}

// Take returns the events since the last call.
func (r *Record) Take() []audit.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	events := r.events
	r.events = nil
	return events
}

// Only returns the one event on record, which stays there.
func (r *Record) Only(t testing.TB) audit.Event {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.events) != 1 {
		t.Fatalf("got %d events on record, want 1: %v", len(r.events), r.events)
	}
	return r.events[0]
}
