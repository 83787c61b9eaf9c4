package fleet

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
)

// beatEvery is the time between two signs of life, beatTimeout what one may take.
const (
	beatEvery   = time.Second
	beatTimeout = 3 * time.Second
)

// beats gives signs of life over one connection, and looks at once when the database
// tells of something.
func (f *Fleet) beats(ctx context.Context) error {
	config, err := connConfig(f.cfg.URL, f.cfg.Schema)
	if err != nil {
		return err
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), silence)
		defer cancel()
		_ = conn.Close(end) // broken or not, it is gone
	}()
	if _, err := conn.Exec(ctx, "LISTEN "+f.channel()); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	for {
		if err := f.beatOnce(ctx, conn); err != nil {
			return err
		}
		f.rest(ctx, conn)
		if ctx.Err() != nil {
			return nil
		}
	}
}

// rest waits for the next time, or for a word of the database or of Applied.
func (f *Fleet) rest(ctx context.Context, conn *pgx.Conn) {
	next, cancel := context.WithTimeout(ctx, beatEvery)
	defer cancel()
	woken := make(chan struct{})
	go func() {
		defer close(woken)
		select {
		case <-f.wake:
			cancel()
		case <-next.Done():
		}
	}()
	_, _ = conn.WaitForNotification(next) // whatever ended it, the next beat tells
	cancel()
	<-woken
}

// beatOnce gives a sign of life, and reads who leads and how far the files are.
func (f *Fleet) beatOnce(ctx context.Context, conn *pgx.Conn) error {
	ask, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	f.mu.Lock()
	applied := f.applied
	f.mu.Unlock()
	began := f.cfg.Now()
	var known bool
	var v view
	var name, address *string
	var pin []byte
	var pins [][]byte
	row := conn.QueryRow(ask, `WITH alive AS (
			UPDATE Replicas SET Applied = $3, Seen = clock_timestamp() WHERE Process = $1 AND Name = $2 AND Pin = $4 RETURNING 1)
		SELECT EXISTS (SELECT FROM alive), f.Revision, f.Term, r.Name, r.Address, r.Pin,
			(SELECT array_agg(m.Pin) FROM Replicas m WHERE m.Process = $1)
		FROM Fleets f LEFT JOIN Replicas r ON r.Process = f.Process AND r.Name = f.Leader WHERE f.Process = $1`,
		f.cfg.Process, f.cfg.Name, applied, f.cfg.Pin[:])
	if err := row.Scan(&known, &v.revision, &v.term, &name, &address, &pin, &pins); err != nil {
		return fmt.Errorf("give a sign of life: %w", err)
	}
	if !known {
		f.remove()
		return ErrUnknown
	}
	v.members = map[Pin]bool{}
	for _, p := range pins {
		if len(p) == len(Pin{}) {
			v.members[Pin(p)] = true
		}
	}
	if name != nil && address != nil && len(pin) == len(Pin{}) {
		v.leader = Replica{Name: *name, Address: *address, Pin: Pin(pin)}
	}
	f.note(ctx, began, applied, v)
	return nil
}

// remove ends what this replica does: somebody has taken it out of the fleet.
func (f *Fleet) remove() {
	f.update(func() {
		f.removed = true
		if f.held != nil {
			f.held.depose(ErrUnknown)
			f.held = nil
			f.doubts++
		}
	})
}

// note takes what a sign of life, which told of a revision, was answered.
func (f *Fleet) note(ctx context.Context, began time.Time, told int64, v view) {
	var lapsed bool
	f.update(func() {
		if !f.beat.IsZero() && !f.lapsed && began.Sub(f.beat) > f.cfg.Lease {
			f.lapsed, lapsed = true, true
		}
		f.beat, f.removed = began, false
		// What a leader pushes it has: the answer may be ahead of its own knowledge, and
		// to pull would undo what it has changed since.
		if v.revision = max(v.revision, f.seen.revision); f.leading() && v.term == f.held.term {
			v.revision = f.seen.revision
		}
		f.seen = v
		// Others may have ceased to wait for this replica. It is back once the database
		// has heard that it works with all there is.
		if f.lapsed && f.doubts == f.settled && told >= v.revision {
			f.lapsed = false
		}
	})
	if lapsed {
		f.cfg.Log.WarnContext(ctx, "lease ended", slog.Any("error", errLapsed))
	}
}

// leave tells that nobody needs to wait for this replica any more: it stops.
func (f *Fleet) leave(ctx context.Context) {
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), silence)
	defer cancel()
	f.mu.Lock()
	applied := f.applied
	f.mu.Unlock()
	_, err := f.pool.Exec(last, "UPDATE Replicas SET Seen = 'epoch', Applied = $4 WHERE Process = $1 AND Name = $2 AND Pin = $3",
		f.cfg.Process, f.cfg.Name, f.cfg.Pin[:], applied)
	if err != nil {
		f.cfg.Log.WarnContext(ctx, "the other replicas wait for this one until its lease ends", slog.Any("error", err))
	}
}
