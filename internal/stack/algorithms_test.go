package stack

import (
	"slices"
	"testing"

	"sigstack/internal/config"
	"sigstack/services/ca"
)

// TestSigningAlgorithms: what a configuration may name is what the authority knows.
func TestSigningAlgorithms(t *testing.T) {
	if got, want := config.SigningAlgorithms, ca.Algorithms(); !slices.Equal(got, want) {
		t.Errorf("signing algorithms of the configuration are %q, the authority's %q", got, want)
	}
}
