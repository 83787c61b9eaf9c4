package stack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Serve opens a data directory and runs it until ctx ends or a part fails. A replica
// is opened anew whenever the leader has changed what more than the trust root depends
// on; the listener stays open meanwhile. Each Stack is told to opened before it runs,
// which returns what is to be called afterwards; ready is called once, by the first.
func Serve(ctx context.Context, opts Options, opened func(*Stack) func(), ready func(*Stack)) error {
	m, err := newMember(ctx, opts)
	if err != nil {
		return err
	}
	if m == nil {
		s, err := Open(ctx, opts)
		if err != nil {
			return err
		}
		defer opened(s)()
		return s.Run(ctx, func() { ready(s) })
	}
	return errors.Join(m.serve(ctx, opened, sync.OnceFunc(func() { ready(m.now.Load()) })), m.close())
}

// serve runs one Stack after the other beside the replica's own parts, which end last:
// what stops still has a leader to ask, or is one.
func (m *member) serve(ctx context.Context, opened func(*Stack) func(), ready func()) error {
	edited, err := m.fleet.TakeEdits(ctx)
	if err != nil {
		return err
	}
	if len(edited) > 0 {
		m.opts.Log.InfoContext(ctx, "what was edited while no replica ran holds for all of them now", slog.Any("files", edited))
	}
	_, revision, err := m.fleet.Pull(ctx)
	if err != nil {
		return err
	}
	peers, err := m.listen(ctx)
	if err != nil {
		return err
	}
	own, stop := context.WithCancel(context.WithoutCancel(ctx))
	var parts sync.WaitGroup
	defer parts.Wait()
	defer stop()
	server := m.peerServer()
	server.Handler = m.membersOnly(server.Handler)
	parts.Go(func() { _ = m.fleet.Run(own) }) // it always returns nil
	parts.Go(func() {
		if err := server.Serve(peers); !errors.Is(err, http.ErrServerClosed) {
			m.opts.Log.ErrorContext(own, "other replicas cannot reach this one any more", slog.Any("error", err))
		}
	})
	parts.Go(func() {
		<-own.Done()
		_ = server.Close() // whatever still runs has ended for its caller
	})
	for {
		next, err := m.runOnce(ctx, revision, opened, ready)
		if err != nil || ctx.Err() != nil {
			return err
		}
		revision = next
	}
}

// runOnce runs a Stack on the files of a revision until they have changed, and returns
// the next one.
func (m *member) runOnce(ctx context.Context, revision int64, opened func(*Stack) func(), ready func()) (int64, error) {
	opts := m.opts
	opts.member = m
	var err error
	if opts.Listener, err = m.lend(); err != nil {
		return 0, err
	}
	s, err := Open(ctx, opts)
	if err != nil {
		return 0, err
	}
	if err := m.keep(s.listener); err != nil {
		return 0, errors.Join(err, s.Close())
	}
	m.now.Store(s)
	defer m.now.Store(nil)
	m.anew, m.root = false, false
	m.fleet.Applied(revision)
	defer opened(s)()
	run, end := context.WithCancel(ctx)
	defer end()
	done := make(chan error, 1)
	go func() { done <- s.Run(run, ready) }()
	next, changed := m.follow(run, s, done)
	s.anew.Store(changed)
	end()
	if changed {
		m.opts.Log.InfoContext(ctx, "the leader has changed what a start reads: opening anew", slog.Int64("revision", next))
	}
	return next, <-done
}

// follow takes what the leader changes, until ctx or the Stack ends, or it is to be
// opened anew for a revision.
func (m *member) follow(ctx context.Context, s *Stack, done chan error) (revision int64, anew bool) {
	look := time.NewTicker(followAgain)
	defer look.Stop()
	for {
		changed := m.fleet.Changed()
		if m.fleet.Wanting() {
			revision, anew, err := m.take(ctx, s)
			if err != nil {
				m.opts.Log.WarnContext(ctx, "what the leader has changed cannot be taken yet", slog.Any("error", err))
			}
			if anew {
				return revision, true
			}
			if err == nil {
				continue
			}
		}
		select {
		case <-changed:
		case <-look.C:
			if m.fleet.Leading() {
				continue
			}
			moved, err := s.movedOn(ctx)
			if err != nil || !moved && !s.stale.Load() {
				continue // that the database is away is told elsewhere
			}
			_, next, err := m.fleet.Pull(ctx) // which replaces what was edited here
			if err == nil {
				return next, true
			}
			m.opts.Log.WarnContext(ctx, "what has changed cannot be taken yet", slog.Any("error", err))
		case err := <-done:
			done <- err
			return 0, false
		case <-ctx.Done():
			return 0, false
		}
	}
}

// followAgain is how soon a change that could not be taken is tried again, and one that
// the leader did not come to tell of is noticed.
const followAgain = time.Second

// take pulls what there is. Trust root and kit are taken at once.
func (m *member) take(ctx context.Context, s *Stack) (revision int64, anew bool, err error) {
	changed, revision, err := m.fleet.Pull(ctx)
	// Part of it may have been written even so, and is not changed any more next time.
	m.anew = m.anew || slices.ContainsFunc(changed, func(p string) bool { return !live(p) })
	m.root = m.root || len(changed) > 0
	switch {
	case err != nil:
		return 0, false, err
	case m.anew:
		return revision, true, nil
	}
	// Whoever led may have ended before it could tell.
	moved, err := s.movedOn(ctx)
	switch {
	case err != nil:
		return 0, false, err
	case moved:
		return revision, true, nil
	case m.root:
		if err := s.takeTrustRoot(); err != nil {
			return 0, false, err
		}
		m.root = false
	}
	m.fleet.Applied(revision)
	return revision, false, nil
}

// takeTrustRoot takes what the leader has published. The kit came with it.
func (s *Stack) takeTrustRoot() error {
	if s.repo == nil {
		return nil
	}
	if err := s.repo.Reload(); err != nil {
		return fmt.Errorf("take the trust root: %w", err)
	}
	return nil
}
