package tuf

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"math/big"
	"time"

	"sigstack/internal/trust"
	tufroot "sigstack/tuf-root"
)

const (
	// checkEvery bounds every wait, unless Config says otherwise: timers stand still
	// while a machine sleeps, and the stack's clock may be set.
	checkEvery = time.Second
	// The first repetition after a failure comes within retryFirst; each further
	// one after up to twice the time, in the end retryMost. Both are less where
	// metadata lives for seconds. A role that is due still has two thirds of its life
	// before it.
	retryFirst = time.Second
	retryMost  = 5 * time.Minute
)

// Run says what has expired while nothing ran, and keeps snapshot and timestamp fresh
// until ctx ends, and then returns nil. A failed refresh is logged, counted and tried
// again.
func (s *Service) Run(ctx context.Context) error {
	s.sayWhatExpired(ctx)
	b := s.newBackoff()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		switch {
		case s.cfg.Leads != nil && !s.cfg.Leads():
			b.next(true) // another process does
			s.setFailing(nil)
		case b.left <= 0:
			b.next(s.refresh(ctx))
		}
		s.sayStages(ctx)
		if s.cfg.Report != nil {
			s.cfg.Report(s.Health())
		}
		timer.Reset(b.wait(s))
	}
}

// sayWhatExpired tells of a stack that was stopped for too long.
func (s *Service) sayWhatExpired(ctx context.Context) {
	now := s.cfg.Now()
	for i, r := range s.cfg.Repository.Roles() {
		if now.Before(r.Expires) {
			continue
		}
		next := "it is signed again now"
		if offline(i) {
			s.stages[i] = trust.Expired
			next = "clients refuse the repository until it is signed again with its offline keys: docs/operations/expiry.md"
		}
		s.cfg.Log.WarnContext(ctx, "tuf metadata expired while the stack was stopped", slog.String("role", r.Role),
			slog.Time("expired", r.Expires), slog.Duration("ago", now.Sub(r.Expires).Round(time.Second)), slog.String("next", next))
	}
}

// sayStages logs when the end of what people sign comes nearer.
func (s *Service) sayStages(ctx context.Context) {
	now := s.cfg.Now()
	for i, r := range s.cfg.Repository.Roles() {
		if !offline(i) {
			continue
		}
		stage := trust.StageOf(r.Life, r.Expires.Sub(now))
		if was := s.stages[i]; stage > was {
			s.cfg.Log.WarnContext(ctx, "tuf metadata nears its end and needs its offline keys", slog.String("role", r.Role),
				slog.String("stage", stage.String()), slog.Time("expires", r.Expires))
		}
		s.stages[i] = stage
	}
}

// backoff is how long is waited before refreshing is tried again.
type backoff struct {
	first, most time.Duration
	retry       time.Duration // the next pause, before jitter
	left        time.Duration // of the present one
}

func (s *Service) newBackoff() *backoff {
	life := s.cfg.Repository.Roles()[3].Life
	first := min(retryFirst, life/20)
	return &backoff{first: first, most: min(retryMost, life/10), retry: first}
}

// next notes how a try went.
func (b *backoff) next(ok bool) {
	if ok {
		b.retry = b.first
		return
	}
	b.left = jitter(b.retry)
	b.retry = min(2*b.retry, b.most)
}

// wait is how long to sleep now. Without a failure it is until the next refresh, but
// at least a sixth of a life of seconds, so that such a life cannot spin.
func (b *backoff) wait(s *Service) time.Duration {
	if b.left > 0 {
		d := min(b.left, s.cfg.CheckEvery)
		b.left -= d
		return d
	}
	due := s.cfg.Repository.NextRefresh().Sub(s.cfg.Now())
	return min(s.cfg.CheckEvery, max(due, min(time.Second, b.most*10/6)))
}

// refresh reports whether nothing remains to be done now.
func (s *Service) refresh(ctx context.Context) bool {
	done, err := s.cfg.Repository.Refresh(s.Online())
	s.note(ctx, done, err)
	return err == nil
}

// RefreshNow signs snapshot and timestamp again, due or not. It may be called while
// Run runs. An error leaves to clients what they had.
func (s *Service) RefreshNow(ctx context.Context) error {
	err := s.cfg.Repository.Resign(s.Online())
	s.note(ctx, err == nil, err)
	if err != nil {
		return fmt.Errorf("refresh metadata: %w", err)
	}
	return nil
}

// Online returns the keys that are signed with.
func (s *Service) Online() tufroot.Online {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cfg.Online
}

// SetOnline takes other keys from now on, which the root must trust.
func (s *Service) SetOnline(keys tufroot.Online) error {
	if err := s.cfg.Repository.CheckOnline(keys); err != nil {
		return fmt.Errorf("take online keys: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cfg.Online = keys
	return nil
}

// note keeps, counts and logs how a refresh went.
func (s *Service) note(ctx context.Context, done bool, err error) {
	was := s.setFailing(err)
	switch {
	case err != nil:
		s.metrics.refreshes.WithLabelValues("failed").Inc()
		s.cfg.Log.ErrorContext(ctx, "tuf metadata not refreshed: tried again", slog.Any("error", err))
	case done:
		s.metrics.refreshes.WithLabelValues("done").Inc()
		st := s.Status()
		attrs := []any{
			slog.Int64("snapshot", st.Roles[2].Version), slog.Int64("timestamp", st.Roles[3].Version),
			slog.Time("expires", st.Roles[3].Expires), slog.Time("next_refresh", st.NextRefresh),
		}
		if !was.IsZero() {
			attrs = append(attrs, slog.Time("failing_since", was))
		}
		s.cfg.Log.InfoContext(ctx, "tuf metadata refreshed", attrs...)
	}
}

// setFailing returns since when it had been failing, zero: it had not.
func (s *Service) setFailing(err error) (was time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was = s.failingSince
	switch {
	case err == nil:
		s.failingSince = time.Time{}
	case was.IsZero():
		s.failingSince = s.cfg.Now()
	}
	return was
}

// jitter returns a random time from d/2 to d.
func jitter(d time.Duration) time.Duration {
	n, err := rand.Int(rand.Reader, big.NewInt(max(int64(d/2), 1)))
	if err != nil {
		return d // crypto/rand documents that this cannot happen
	}
	return d/2 + time.Duration(n.Int64())
}
