package signing_test

import (
	"errors"
	"strings"
	"testing"

	"sigstack/internal/signing"
)

// TestRefusedErrorText: a reason may quote what strangers wrote, and is printed to
// a terminal.
func TestRefusedErrorText(t *testing.T) {
	tests := []struct{ name, reason, want string }{
		{"lines", "one\n\ttwo", "refused: bundle: one two"},
		{"letters of all scripts", "größer, 大", "refused: bundle: größer, 大"},
		{"escape sequence", "\x1b[2Jverified", "refused: bundle: \ufffd[2Jverified"},
		{"text that runs backwards", "\u202eexe.txt", "refused: bundle: \ufffdexe.txt"},
		{"broken UTF-8", "a\xffb", "refused: bundle: a\ufffdb"},
		{"long", strings.Repeat("x", 5000), "refused: bundle: " + strings.Repeat("x", 2000) + "..."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := &signing.RefusedError{Check: signing.CheckBundle, Err: errors.New(tt.reason)}
			if got := err.Error(); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
