package fleet

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
)

// How the leader is watched: one that hangs, or whose machine is gone, is replaced
// within silence of its last sign of life.
const (
	signOfLife = 500 * time.Millisecond
	silence    = 2 * time.Second
	tryAgain   = 200 * time.Millisecond
)

// Run gives signs of life and stands for election until ctx ends, and then gives the
// lead back. Nothing is led before what the database has is pulled and Applied.
func (f *Fleet) Run(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.again(ctx, f.beats)
	}()
	f.again(ctx, f.stand)
	<-done
	f.leave(ctx)
	return nil
}

// again calls do until ctx ends, with a pause after each time. The same error is told
// once.
func (f *Fleet) again(ctx context.Context, do func(context.Context) error) {
	told := ""
	for ctx.Err() == nil {
		if err := do(ctx); err != nil && ctx.Err() == nil && err.Error() != told {
			told = err.Error()
			f.cfg.Log.WarnContext(ctx, "this replica is out of touch with the others", slog.Any("error", err))
		}
		pause := tryAgain
		if f.Removed() { // it takes the lock for a moment each time
			pause = beatTimeout
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// stand waits for the lock, and holds it for as long as the connection lasts.
func (f *Fleet) stand(ctx context.Context) error {
	conn, err := f.candidate(ctx)
	if err != nil {
		return err
	}
	// The connection's end gives the lock back.
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), silence)
		defer cancel()
		_ = conn.Close(end) // broken or not, it is gone
	}()
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock($1)", f.lock()); err != nil {
		return fmt.Errorf("wait for the leader's lock: %w", err)
	}
	h := &held{}
	// From here on every leader before is refused.
	row := conn.QueryRow(ctx, `UPDATE Fleets SET Term = Term + 1, Leader = $2 WHERE Process = $1
		AND EXISTS (SELECT FROM Replicas WHERE Process = $1 AND Name = $2 AND Pin = $3) RETURNING Term, Revision`, f.cfg.Process, f.cfg.Name, f.cfg.Pin[:])
	if err := row.Scan(&h.term, &h.revision); errors.Is(err, pgx.ErrNoRows) {
		return ErrUnknown
	} else if err != nil {
		return fmt.Errorf("take the lead: %w", err)
	}
	if _, err := conn.Exec(ctx, "SELECT pg_notify($1, '')", f.channel()); err != nil {
		return fmt.Errorf("tell of the lead: %w", err)
	}
	h.lead, h.depose = context.WithCancelCause(context.WithoutCancel(ctx))
	defer h.depose(nil)
	f.update(func() {
		f.held = h
		f.doubts++ // of what this directory has that was never pushed
		f.seen.revision = max(f.seen.revision, h.revision)
	})
	defer f.update(func() {
		f.held = nil
		f.doubts++
	})
	f.cfg.Log.InfoContext(ctx, "leading the fleet", slog.Int64("term", h.term), slog.Int64("revision", h.revision))
	return f.hold(ctx, conn, h)
}

// hold gives signs of life until ctx ends, or the lead is lost or given up.
func (f *Fleet) hold(ctx context.Context, conn *pgx.Conn, h *held) error {
	until, cancel := context.WithCancel(h.lead)
	defer cancel()
	stop := context.AfterFunc(ctx, cancel)
	defer stop()
	for {
		next, cancelNext := context.WithTimeout(until, signOfLife)
		_, _ = conn.WaitForNotification(next) // nobody notifies: this returns when it is time, or the connection ends
		cancelNext()
		if ctx.Err() != nil {
			h.depose(ctx.Err())
			return nil
		}
		if h.lead.Err() != nil {
			return context.Cause(h.lead)
		}
		ask, cancelAsk := context.WithTimeout(until, silence)
		err := conn.Ping(ask)
		cancelAsk()
		if err != nil {
			err = fmt.Errorf("%w: %w", ErrDeposed, err)
			h.depose(err)
			return err
		}
	}
}

// giveUp ends a lead that may be lost: another one, or this one anew, begins with what
// the database has.
func (f *Fleet) giveUp(h *held, err error) {
	h.depose(err)
	f.update(func() {
		if f.held == h {
			f.held = nil
			f.doubts++
		}
	})
}

// Lead runs lead whenever this replica leads, until ctx ends, which is no error, or it
// returns one. Its context ends, with a cause that matches ErrDeposed or says why, as
// soon as the lead is lost; Lead waits for it then.
func (f *Fleet) Lead(ctx context.Context, lead func(context.Context) error) error {
	for ctx.Err() == nil {
		f.mu.Lock()
		h, leading, changed := f.held, f.leading(), f.changed
		f.mu.Unlock()
		if !leading {
			select {
			case <-changed:
			case <-ctx.Done():
			}
			continue
		}
		if err := f.leadOnce(ctx, h, lead); err != nil {
			return err
		}
	}
	return nil
}

func (f *Fleet) leadOnce(ctx context.Context, h *held, lead func(context.Context) error) error {
	run, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(h.lead, func() { cancel(context.Cause(h.lead)) })
	defer stop()
	if err := lead(run); err != nil {
		return err
	}
	select { // who returns early is not asked again at once
	case <-run.Done():
	case <-time.After(tryAgain):
	}
	return nil
}

// candidate is a connection that may hold the lock: the database ends it when it hears
// nothing, and its machine when that is cut off.
func (f *Fleet) candidate(ctx context.Context) (*pgx.Conn, error) {
	config, err := connConfig(f.cfg.URL, f.cfg.Schema)
	if err != nil {
		return nil, err
	}
	config.RuntimeParams["idle_session_timeout"] = "2s"
	config.RuntimeParams["statement_timeout"] = "0" // whoever waits for the lock waits long
	config.RuntimeParams["lock_timeout"] = "0"
	config.RuntimeParams["tcp_keepalives_count"] = "2"
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connect as a candidate: %w", err)
	}
	return conn, nil
}

// lock is the number of the leader's advisory lock, apart from others in the database.
func (f *Fleet) lock() int64 { return lockOf(f.cfg) }

func lockOf(cfg Config) int64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte("sigstack fleet " + cfg.Schema + "\x00" + cfg.Process)) // never fails
	return int64(h.Sum64())
}

// channel is where the database tells replicas to look.
func (f *Fleet) channel() string { return channel(f.cfg) }

func channel(cfg Config) string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(cfg.Schema + "\x00" + cfg.Process)) // never fails
	return fmt.Sprintf("sigstack_fleet_%016x", h.Sum64())
}

// errLapsed is what the log says of a lease.
var errLapsed = errors.New("the database was out of reach for longer than the lease: what signs stopped, and goes on once this replica has caught up")
