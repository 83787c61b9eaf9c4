package tuf

import (
	"context"
	"crypto/rand"
	"log/slog"
	"math/big"
	"time"
)

const (
	// checkEvery bounds every wait: timers stand still while a machine sleeps,
	// and the stack's clock may be set.
	checkEvery = time.Minute
	// The first repetition after a failure comes within retryFirst; each further
	// one after up to twice the time, in the end retryMost. A role that is due
	// still has two thirds of its life before it.
	retryFirst = time.Second
	retryMost  = 5 * time.Minute
)

// Run keeps snapshot and timestamp fresh until ctx ends, and then returns nil. A
// failed refresh is logged, counted and tried again.
func (s *Service) Run(ctx context.Context) error {
	retry := retryFirst
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		if s.refresh(ctx) {
			retry = retryFirst
			timer.Reset(s.untilDue())
		} else {
			timer.Reset(jitter(retry))
			retry = min(2*retry, retryMost)
		}
		if s.cfg.Report != nil {
			s.cfg.Report(s.Health())
		}
	}
}

// refresh reports whether nothing remains to be done now.
func (s *Service) refresh(ctx context.Context) bool {
	done, err := s.cfg.Repository.Refresh(s.cfg.Online)
	s.setFailing(err != nil)
	if err != nil {
		s.metrics.refreshes.WithLabelValues("failed").Inc()
		s.cfg.Log.ErrorContext(ctx, "tuf metadata not refreshed", slog.Any("error", err))
		return false
	}
	if done {
		s.metrics.refreshes.WithLabelValues("done").Inc()
		st := s.Status()
		s.cfg.Log.InfoContext(ctx, "tuf metadata refreshed",
			slog.Int64("snapshot", st.Roles[2].Version), slog.Int64("timestamp", st.Roles[3].Version),
			slog.Time("expires", st.Roles[3].Expires), slog.Time("next_refresh", st.NextRefresh))
	}
	return true
}

// untilDue is at least a second, so that a lifetime of seconds cannot spin.
func (s *Service) untilDue() time.Duration {
	wait := s.cfg.Repository.NextRefresh().Sub(s.cfg.Now())
	return max(time.Second, min(wait, checkEvery))
}

// jitter returns a random time from d/2 to d.
func jitter(d time.Duration) time.Duration {
	n, err := rand.Int(rand.Reader, big.NewInt(int64(d/2)))
	if err != nil {
		return d // crypto/rand documents that this cannot happen
	}
	return d/2 + time.Duration(n.Int64())
}
