package main

import (
	"strings"
	"testing"
	"time"

	"sigstack/internal/stack"
)

// TestRoleCountdown: from a third of its life on a role says how near its end is, and
// who is to do what.
func TestRoleCountdown(t *testing.T) {
	const life = 300 * 24 * time.Hour
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		role            string
		left            time.Duration
		words, warnings string
	}{
		{"root", life, "300 days", ""},
		{"root", life/3 + time.Second, "100 days", ""},
		{"root", life / 3, "100 days (ageing)", "root: a third of its life, or less, is left: sigstack tuf ceremony start --renew"},
		{"targets", life / 10, "30 days (ending)", "targets: a tenth of its life, or less, is left: sigstack tuf ceremony start --renew"},
		{"targets", -time.Second, "EXPIRED", "targets: EXPIRED: sigstack tuf ceremony"},
		{"timestamp", life / 3, "100 days (ageing)", "sigstack tuf refresh"},
	} {
		r := stack.TUFRole{Role: tt.role, Expires: now.Add(tt.left), Life: int64(life.Seconds())}
		if got := countdown(r, now); got != tt.words {
			t.Errorf("%s with %v left: got %q, want %q", tt.role, tt.left, got, tt.words)
		}
		if got := roleWarning(r, now); (got == "") != (tt.warnings == "") || !strings.Contains(got, tt.warnings) {
			t.Errorf("%s with %v left: got warning %q, want %q", tt.role, tt.left, got, tt.warnings)
		}
	}
}
