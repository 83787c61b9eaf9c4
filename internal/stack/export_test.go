package stack

import (
	"context"
	"net/http"
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

// Door is the server of a replica that outlives its Stacks, without the server.
type Door struct{ *door }

// NewDoor returns one that is shut.
func NewDoor() Door { return Door{&door{opened: make(chan struct{})}} }

// Open is open.
func (d Door) Open(h http.Handler) any { return d.open(h) }

// Shut is shut, of what Open has returned.
func (d Door) Shut(v any, limit time.Duration) { d.shut(v.(*visit), limit) }

// IsOpen reports whether requests are let in.
func (d Door) IsOpen() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.visit != nil
}
