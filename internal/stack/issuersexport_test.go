package stack

import (
	"sigstack/internal/config"
	"sigstack/services/ca/identity"
)

// IssuersOf is issuersOf in a pod with these files.
func (l Layout) IssuersOf(conf *config.Config, authority, token string) ([]identity.Issuer, []config.Problem) {
	return l.issuersOf(conf, clusterFiles{authority, token})
}
