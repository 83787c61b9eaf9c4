package stack

import (
	"context"
	"os"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/httpd"
	"sigstack/services/oidc"
)

// SetDrainTimeout shortens how long a stopping stack waits for slow clients.
func (s *Stack) SetDrainTimeout(d time.Duration) { s.drainTimeout = d }

// TryConnectors reads the secrets of conf's connectors below dir, and opens them.
func TryConnectors(dir string, conf *config.Config) error {
	l := Layout{dir}
	conns, err := l.connectors(conf.OIDC.Connectors, l.secret)
	if err != nil {
		return err
	}
	return oidc.TryConnectors(conf.IssuerURL(), conns)
}

// ReloadTLS is what an operator's reload does.
func (s *Stack) ReloadTLS(ctx context.Context) error { return s.reloadTLS(ctx) }

// Acts returns the table of the admin channel of a running stack.
func (s *Stack) Acts() []httpd.Route { return s.admin.Load().Routes() }

// CheckShards reports whether the content of shards.json is taken, and what it is
// when it is written again.
func CheckShards(dir string, data []byte) ([]byte, error) {
	shards, err := decodeShards(data)
	if err != nil {
		return nil, err
	}
	l := Layout{dir}
	if err := l.writeShards(shards); err != nil {
		return nil, err
	}
	return os.ReadFile(l.Shards())
}
