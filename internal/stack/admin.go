package stack

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"time"

	"sigstack/internal/admin"
	"sigstack/internal/audit"
	"sigstack/internal/fault"
	"sigstack/internal/keys"
	"sigstack/internal/run"
)

// Paths of the acts, for clients of the admin channel.
const (
	AdminStatus  = "/v1/status"           // GET: Status
	AdminReload  = "/v1/reload"           // POST: Reloaded
	AdminKeyTest = "/v1/keys/{name}/test" // POST: KeyStatus
	AdminAnchor  = "/v1/audit/anchor"     // POST: AuditStatus
	AdminNoted   = "/v1/rotations/noted"  // POST: nothing
)

// addAdmin adds the admin channel, bound already when this returns.
func (s *Stack) addAdmin(ctx context.Context, g *run.Group) error {
	server, err := admin.New(ctx, admin.Config{
		Lock: s.lock, Version: s.opts.Version, Ready: s.audit.Ready, Record: s.recordAct,
		May: s.mayAct, Done: s.actDone,
		Now: s.opts.Now, Log: s.opts.Log,
	})
	if err != nil {
		return err
	}
	s.onClose(server.Close)
	s.handleActs(server)
	s.admin.Store(server)
	g.Add("admin channel", server.Run)
	return nil
}

// handleActs is the list of everything that can be asked of a running stack. An
// act that changes something has a name, under which it is recorded.
func (s *Stack) handleActs(a *admin.Server) {
	a.Handle(http.MethodGet, AdminStatus, "", func(context.Context, *http.Request) (any, error) { return s.Status(), nil })
	a.Handle(http.MethodPost, AdminReload, "reload", func(ctx context.Context, _ *http.Request) (any, error) {
		return s.reload(ctx, "command")
	})
	a.Handle(http.MethodPost, AdminKeyTest, "key-test", s.testKey)
	a.Handle(http.MethodPost, AdminAnchor, "audit-anchor", s.anchorAudit)
	// The command has written the journal of a rotation: as after any act, replicas get it.
	a.Handle(http.MethodPost, AdminNoted, "rotation-noted", func(context.Context, *http.Request) (any, error) { return struct{}{}, nil })
	s.handleShardActs(a)
	s.handleCTLogActs(a)
	s.handleChainActs(a)
	s.handleCompromiseActs(a)
	s.handleReindex(a)
	s.handleTUFActs(a)
}

// recordAct puts an act on record.
func (s *Stack) recordAct(ctx context.Context, a admin.Act) error {
	s.opts.Log.InfoContext(ctx, "administrative act", slog.String("act", a.Name), slog.String("outcome", a.Outcome), slog.String("by", a.By))
	detail := map[string]string{"by": a.By}
	maps.Copy(detail, a.Detail)
	return s.record(ctx, audit.Event{
		Action: "admin." + a.Name, Outcome: a.Outcome, Service: "admin", RequestID: a.RequestID, Detail: detail,
	})
}

// anchorTimeout bounds an anchor that is asked for.
const anchorTimeout = 30 * time.Second

// anchorAudit enters the head of the audit record in the transparency log now.
func (s *Stack) anchorAudit(ctx context.Context, _ *http.Request) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, anchorTimeout)
	defer cancel()
	if _, err := s.audit.Anchor(ctx); err != nil {
		return nil, fault.Wrap(fault.Unavailable, err, "nothing was anchored")
	}
	return s.auditStatus(), nil
}

// testKey signs with a key in use, and verifies.
func (s *Stack) testKey(_ context.Context, r *http.Request) (any, error) {
	name := r.PathValue("name")
	all := s.services.allKeys()
	i := slices.IndexFunc(all, func(k keys.Key) bool { return k.Name == name })
	if i < 0 {
		return nil, fault.Newf(fault.NotFound, "this process has no key %q", name)
	}
	key := all[i]
	if err := key.Test(); err != nil {
		return nil, fault.Wrap(fault.Unavailable, err, "key does not work")
	}
	return keyStatus(key), nil
}

// RunActs answers on the admin channel of a directory that nothing serves, for as
// long as do takes: its acts are the same, and so is their record. Then it closes
// the stack.
func (s *Stack) RunActs(ctx context.Context, do func(context.Context) error) error {
	g := &run.Group{Log: s.opts.Log}
	if err := s.addAdmin(ctx, g); err != nil {
		return errors.Join(err, s.Close())
	}
	var failed error
	ctx, done := context.WithCancel(ctx)
	defer done()
	g.Add("acts", func(ctx context.Context) error {
		failed = do(ctx)
		done()
		<-ctx.Done()
		return nil
	})
	return errors.Join(g.Run(ctx), failed, s.Close())
}
