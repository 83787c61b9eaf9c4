package stack

import "context"

// LookAtFiles is what a running stack does every few seconds.
func (s *Stack) LookAtFiles(ctx context.Context) { s.lookAtFiles(ctx) }
