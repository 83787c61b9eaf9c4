package stack

import (
	"context"

	"sigstack/internal/trust"
)

// Material is the public half of the services.
func (s *Stack) Material() trust.Material { return s.material() }

// Flaws are what a publication of m would be refused for. With sign something is
// signed and verified, if all else is well.
func (s *Stack) Flaws(ctx context.Context, m trust.Material, sign bool, unchecked ...string) ([]trust.Flaw, error) {
	targets, err := m.Targets(s.opts.Now())
	if err != nil {
		return nil, err
	}
	return s.flaws(ctx, targets, Publication{Targets: []byte("signed targets"), Unchecked: unchecked}, sign), nil
}
