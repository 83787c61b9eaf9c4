package pglog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"sigstack/internal/pgdb"
)

// How leaders are watched: one that hangs, or whose machine is gone, is replaced
// within silence of its last sign of life.
const (
	signOfLife = 500 * time.Millisecond
	silence    = 2 * time.Second
	tryAgain   = 200 * time.Millisecond
)

// ErrDeposed is the cause of the end of a leader's context when the database does
// not know it as the leader any more, or does not answer.
var ErrDeposed = errors.New("another process may lead the log by now")

// Lead runs f whenever this process leads the tree, until ctx ends, which is no
// error, or f returns one. At most one process leads a tree, as far as it can know:
// a leader that stands still is replaced and finds out late. That costs speed, for two
// that write are in each other's way; what they write stays one log by the guards of
// the schema. The context of f ends, with ErrDeposed, as soon as the lead is lost, and
// Lead waits for f. Then, and when the database is lost, it stands for election again.
func (s *Store) Lead(ctx context.Context, tree int64, log *slog.Logger, f func(context.Context) error) error {
	for ctx.Err() == nil {
		err := s.leadOnce(ctx, tree, log, f)
		if own := (*ownError)(nil); errors.As(err, &own) {
			return own.error
		}
		if err != nil && ctx.Err() == nil {
			log.WarnContext(ctx, "not leading the log", slog.Any("error", err))
		}
		timer := time.NewTimer(tryAgain)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
	return nil
}

// ownError is an error of who leads, and not of leading.
type ownError struct{ error }

func (e *ownError) Unwrap() error { return e.error }

// leadOnce waits for the lock, and runs f while a connection holds it.
func (s *Store) leadOnce(ctx context.Context, tree int64, log *slog.Logger, f func(context.Context) error) (err error) {
	conn, err := s.candidate(ctx)
	if err != nil {
		return err
	}
	// The connection's end gives the lock back.
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), silence)
		defer cancel()
		_ = conn.Close(end) // broken or not, it is gone
	}()
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock($1)", leaderLock(tree)); err != nil {
		return fmt.Errorf("wait for the leader's lock: %w", err)
	}
	log.InfoContext(ctx, "leading the log", slog.Int64("tree", tree))
	lead, depose := context.WithCancelCause(ctx)
	defer depose(nil)
	running, ended := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { defer ended(); done <- f(lead) }()
	return watch(running, conn, depose, done)
}

// watch gives signs of life until f is done, and deposes it when the connection has
// ended or there is no answer.
func watch(running context.Context, conn *pgx.Conn, depose context.CancelCauseFunc, done <-chan error) error {
	for {
		next, cancel := context.WithTimeout(running, signOfLife)
		// Nobody notifies: this returns when it is time, or the connection ends.
		_, _ = conn.WaitForNotification(next)
		cancel()
		if running.Err() != nil {
			if err := <-done; err != nil {
				return &ownError{err}
			}
			return nil
		}
		ask, cancel := context.WithTimeout(running, silence)
		err := conn.Ping(ask)
		cancel()
		if err != nil && running.Err() == nil {
			depose(fmt.Errorf("%w: %w", ErrDeposed, err))
			return errors.Join(err, <-done)
		}
	}
}

// candidate is a connection that may hold the lock of a leader: the database ends it
// when it hears nothing, and its machine when that is cut off.
func (s *Store) candidate(ctx context.Context) (*pgx.Conn, error) {
	config, err := pgdb.Config(s.o.URL, s.o.Schema)
	if err != nil {
		return nil, err
	}
	for name, value := range map[string]string{
		"idle_session_timeout":    millis(silence),
		"tcp_keepalives_idle":     "1",
		"tcp_keepalives_interval": "1",
		"tcp_keepalives_count":    "2",
		"statement_timeout":       "0", // whoever waits for the lock waits long
		"lock_timeout":            "0",
	} {
		config.RuntimeParams[name] = value
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connect as a candidate: %w", err)
	}
	return conn, nil
}

// leaderLock keeps the lock of who leads a tree apart from that of its batches,
// which is the tree's id.
func leaderLock(tree int64) int64 { return tree ^ 0x6c65616465720000 }
