package stack_test

import (
	"slices"
	"testing"

	"sigstack/internal/config"
	"sigstack/services/tlog/rekorv1"
)

// TestLogNames: what a configuration may name is what the log has.
func TestLogNames(t *testing.T) {
	if got, want := config.EntryKinds, rekorv1.Kinds(); !slices.Equal(got, want) {
		t.Errorf("kinds of entries: got %q, want %q", got, want)
	}
	if got, want := config.LogOperations, rekorv1.Operations(); !slices.Equal(got, want) {
		t.Errorf("operations: got %q, want %q", got, want)
	}
}
