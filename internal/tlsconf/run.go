package tlsconf

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// Run looks after files, renewal and expiry until ctx ends, and then returns nil.
func (s *Source) Run(ctx context.Context) error {
	ticker := time.NewTicker(s.cfg.Interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			s.look(ctx)
		}
	}
}

// Reload reads the files again, or issues a new certificate, now. The error says
// what was not taken; what was in use stays then.
func (s *Source) Reload(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	renew := s.issue
	kind := renewalProblem
	if s.pair != nil {
		renew, kind = s.pair.Now, pairProblem
	}
	err := renew()
	took := err == nil
	s.note(ctx, kind, err)
	if s.clients != nil {
		clientsErr := s.clients.Now()
		took = took || clientsErr == nil
		s.note(ctx, clientsProblem, clientsErr)
		err = errors.Join(err, clientsErr)
	}
	if took {
		s.changed(ctx)
	}
	s.rate(ctx)
	return err
}

func (s *Source) look(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	took := false
	if s.pair != nil {
		took = s.pair.Look()
		s.note(ctx, pairProblem, s.pair.Err())
	} else if s.due(s.cfg.Now()) {
		err := s.issue()
		took = err == nil
		s.note(ctx, renewalProblem, err)
	}
	if s.clients != nil {
		took = s.clients.Look() || took
		s.note(ctx, clientsProblem, s.clients.Err())
	}
	if took {
		s.changed(ctx)
	}
	s.rate(ctx)
}

// changed makes what was taken the answer to later handshakes.
func (s *Source) changed(ctx context.Context) {
	s.publish()
	if now := s.identity.authorities; !slices.EqualFunc(s.told, now, (*x509.Certificate).Equal) {
		s.told = now
		if s.cfg.NewAuthorities != nil {
			s.cfg.NewAuthorities(now)
		}
	}
	leaf := s.identity.chain[0]
	s.cfg.Log.InfoContext(ctx, "tls reloaded", slog.String("serial", fmt.Sprintf("%x", leaf.SerialNumber)),
		slog.Time("not_after", leaf.NotAfter), slog.Bool("client_ca", s.issuers != nil))
}
