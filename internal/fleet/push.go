package fleet

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// pushTimeout bounds a push.
const pushTimeout = 10 * time.Second

// Push makes the directory's files those of the fleet, as the leader alone may: those
// that only names, or all if it is nil, with instead in place of what is on disk. It
// returns the revision in which they are. The database refuses a leader that another
// one has followed, whatever this process believes. After any error the lead is
// given up, so that what the database has is taken again.
func (f *Fleet) Push(ctx context.Context, instead map[string][]byte, only func(path string) bool) (int64, error) {
	f.pushing.Lock()
	defer f.pushing.Unlock()
	f.mu.Lock()
	h, base, leading := f.held, f.applied, f.leading()
	f.mu.Unlock()
	if !leading {
		return 0, ErrDeposed
	}
	local, err := scan(f.cfg.Dir, f.cfg.Paths())
	if err != nil {
		return 0, err
	}
	for p, content := range instead {
		local[p] = file{content, local[p].mode | 0o600}
	}
	ctx, cancel := context.WithTimeout(ctx, pushTimeout)
	defer cancel()
	revision, err := f.push(ctx, h.term, base, local, only)
	if err != nil {
		err = fmt.Errorf("push files: %w", err)
		f.giveUp(h, err)
		return 0, err
	}
	f.update(func() {
		if f.held == h {
			f.applied, f.seen.revision = revision, revision
		}
	})
	return revision, nil
}

func (f *Fleet) push(ctx context.Context, term, base int64, local map[string]file, only func(string) bool) (revision int64, err error) {
	tx, err := f.pool.Begin(ctx)
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil || revision == base {
			_ = tx.Rollback(context.WithoutCancel(ctx)) // nothing was changed, or there is a better error
		}
	}()
	// The row is locked until the commit: whoever comes to lead waits, and a leader of
	// old finds another term.
	row := tx.QueryRow(ctx, `UPDATE Fleets SET Revision = Revision + 1
		WHERE Process = $1 AND Term = $2 AND Leader = $3 AND Revision = $4 RETURNING Revision`,
		f.cfg.Process, term, f.cfg.Name, base)
	if err := row.Scan(&revision); errors.Is(err, pgx.ErrNoRows) {
		return 0, ErrDeposed
	} else if err != nil {
		return 0, err
	}
	stored, err := listFiles(ctx, tx, f.cfg.Process)
	if err != nil {
		return 0, err
	}
	batch := f.differences(stored, local, revision, only)
	if batch.Len() == 0 {
		return base, nil
	}
	batch.Queue("SELECT pg_notify($1, '')", f.channel())
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return 0, err
	}
	if err := tx.Commit(ctx); err != nil {
		return 0, err
	}
	return revision, f.cfg.agree(after(stored, local, only))
}

// after is what is stored once the differences are.
func after(was map[string]stored, local map[string]file, only func(string) bool) map[string]stored {
	out := map[string]stored{}
	for p, is := range was {
		if only != nil && !only(p) || p == configFile {
			out[p] = is
		}
	}
	for p, is := range local {
		if only == nil || only(p) {
			sum := is.sum()
			out[p] = stored{true, sum[:], is.mode}
		}
	}
	return out
}

// differences are the changes that make what is stored what is there.
func (f *Fleet) differences(stored map[string]stored, local map[string]file, revision int64, only func(string) bool) *pgx.Batch {
	batch := &pgx.Batch{}
	for p, have := range local {
		if only != nil && !only(p) {
			continue
		}
		was, ok := stored[p]
		if sum := have.sum(); ok && was.there && bytes.Equal(was.sum, sum[:]) && was.mode == have.mode {
			continue
		}
		batch.Queue(`INSERT INTO Files (Process, Path, Content, Mode, Revision) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (Process, Path) DO UPDATE SET Content = excluded.Content, Mode = excluded.Mode, Revision = excluded.Revision`,
			f.cfg.Process, p, nonNil(have.content), int32(have.mode), revision)
	}
	for p, was := range stored {
		if _, ok := local[p]; ok || !was.there || only != nil && !only(p) || p == configFile {
			continue // without config.yaml there is no stack: one that is missing is no change
		}
		batch.Queue("UPDATE Files SET Content = NULL, Revision = $3 WHERE Process = $1 AND Path = $2", f.cfg.Process, p, revision)
	}
	return batch
}

// nonNil keeps an empty file from being taken for one that is gone.
func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// Await returns when every replica that is alive has applied a revision: one that has
// given no sign of life for longer than its lease has stopped signing by itself. The
// error matches ErrBehind and names the replicas that ctx did not leave time to.
func (f *Fleet) Await(ctx context.Context, revision int64) error {
	behind := []string{}
	for {
		rows, err := f.pool.Query(ctx, `SELECT Name FROM Replicas WHERE Process = $1 AND Applied < $2 AND Name <> $3
			AND Seen > clock_timestamp() - make_interval(secs => $4) ORDER BY Name`,
			f.cfg.Process, revision, f.cfg.Name, (f.cfg.Lease + leaseMargin).Seconds())
		if err == nil {
			var names []string
			if names, err = pgx.CollectRows(rows, pgx.RowTo[string]); err == nil {
				behind = names
			}
		}
		if err == nil && len(behind) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("%w: %v", ErrBehind, behind), err)
		case <-time.After(askAgain):
		}
	}
}

// askAgain is how often replicas are asked whether they have followed, and leaseMargin
// what a request that began within a lease may take until it has signed.
const (
	askAgain    = 50 * time.Millisecond
	leaseMargin = 2 * time.Second
)

// stored is a file in the database.
type stored struct {
	there bool // else it is gone
	sum   []byte
	mode  fileMode
}

// listFiles reads what the fleet has, without the content.
func listFiles(ctx context.Context, q queryer, process string) (map[string]stored, error) {
	rows, err := q.Query(ctx, "SELECT Path, Content IS NOT NULL, sha256(coalesce(Content, '')), Mode FROM Files WHERE Process = $1", process)
	if err != nil {
		return nil, err
	}
	out := map[string]stored{}
	var p string
	var s stored
	var mode int32
	_, err = pgx.ForEachRow(rows, []any{&p, &s.there, &s.sum, &mode}, func() error {
		if len(s.sum) != sha256.Size {
			return fmt.Errorf("hash of %s has %d bytes", p, len(s.sum))
		}
		out[p] = stored{s.there, bytes.Clone(s.sum), fileMode(mode) & 0o777}
		return nil
	})
	return out, err
}
