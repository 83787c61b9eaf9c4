package stack

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"

	"sigstack/internal/config"
	"sigstack/internal/fleet"
	"sigstack/internal/peer"
	"sigstack/internal/pgdb"
)

// Replicas lists the replicas of a directory's fleet, whether it is served or not, and
// the name of its own. The error is a *signing.UnreachableError if the database is away.
func (l Layout) Replicas(ctx context.Context) (list []fleet.Replica, own string, err error) {
	err = l.ofFleet(ctx, func(cfg fleet.Config) error {
		own = cfg.Name
		list, err = fleet.List(ctx, cfg)
		return err
	})
	return list, own, err
}

// RemoveReplica takes a replica out of the fleet of a directory, as fleet.Remove does.
func (l Layout) RemoveReplica(ctx context.Context, name string, force bool) error {
	return l.ofFleet(ctx, func(cfg fleet.Config) error { return fleet.Remove(ctx, cfg, name, force) })
}

// ofFleet does something with the fleet of a directory, which needs to be no member of
// it for that.
func (l Layout) ofFleet(ctx context.Context, do func(fleet.Config) error) error {
	r, err := config.LoadReplica(l.Dir)
	if err != nil {
		return err
	}
	if r == nil {
		return fmt.Errorf("directory %s is not one of replicas: sigstack replica join makes it one", l.Dir)
	}
	conf, err := config.Load(l.Config())
	if err != nil {
		return err
	}
	cfg, err := l.fleetOf(r, conf)
	if err != nil {
		return err
	}
	cfg.Pin, cfg.Log = fleet.Pin{1}, slog.New(slog.DiscardHandler)
	if _, err = pgdb.Reach(ctx, cfg.URL); err == nil {
		err = do(cfg)
	}
	return l.unreachable(r.Apply(conf).Database, err)
}

// membersOnly refuses the requests of a replica that was removed from the fleet, on
// connections that it has had since before.
func (m *member) membersOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS != nil && len(r.TLS.PeerCertificates) == 1 {
			if !m.knows(peer.PinOf(r.TLS.PeerCertificates[0].RawSubjectPublicKeyInfo)) {
				http.Error(w, "this replica is none of the fleet", http.StatusForbidden)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}
