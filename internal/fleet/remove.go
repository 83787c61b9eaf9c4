package fleet

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"sigstack/internal/pgdb"
)

// Errors of Remove.
var (
	ErrNoReplica = errors.New("there is no replica of that name")
	ErrAlive     = errors.New("it is alive: stop it first, or force it, if its machine cannot be reached")
	ErrOnly      = errors.New("it is the only replica: join another one first, or move the stack back into a directory")
)

// Remove takes a replica out of the fleet, for good: the others hear it no more, at
// once, and it signs and leads no more as soon as it hears of it, or its lease ends. One
// that is alive is refused unless forced. Name and pin of the configuration may be
// anything valid.
func Remove(ctx context.Context, cfg Config, name string, force bool) error {
	if err := cfg.check(); err != nil { // which has the default of the lease
		return err
	}
	return cfg.once(ctx, "remove replica "+name, func(tx pgx.Tx) error { return cfg.remove(ctx, tx, name, force) })
}

func (c Config) remove(ctx context.Context, tx pgx.Tx, name string, force bool) error {
	// In the order of the leader's own transactions: its row of Fleets first.
	if _, err := tx.Exec(ctx, "SELECT FROM Fleets WHERE Process = $1 FOR UPDATE", c.Process); err != nil {
		return err
	}
	all, err := c.list(ctx, tx)
	if err != nil {
		return err
	}
	var is *Replica
	for i := range all {
		if all[i].Name == name {
			is = &all[i]
		}
	}
	switch {
	case is == nil:
		return ErrNoReplica
	case len(all) == 1:
		return ErrOnly
	case is.Alive && !force:
		return ErrAlive
	}
	if _, err := tx.Exec(ctx, "DELETE FROM Replicas WHERE Process = $1 AND Name = $2", c.Process, name); err != nil {
		return err
	}
	if is.Leads {
		if err := c.deposeOther(ctx, tx); err != nil {
			return err
		}
	}
	_, err = tx.Exec(ctx, "SELECT pg_notify($1, '')", channel(c))
	return err
}

// deposeOther refuses whatever a leader still commits, and ends the connection that
// holds its lock, so that another one leads at once.
func (c Config) deposeOther(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, "UPDATE Fleets SET Term = Term + 1, Leader = NULL WHERE Process = $1", c.Process); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `SELECT pg_terminate_backend(pid) FROM pg_locks
		WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND ((classid::bigint << 32) | objid::bigint) = $1
		AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`, lockOf(c))
	return err
}

// Others reports whether the schema, which is there, has replicas of other processes of
// a split stack than that one.
func Others(ctx context.Context, url, schema, process string) (others bool, err error) {
	config, err := pgdb.Config(url, schema)
	if err != nil {
		return false, err
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return false, fmt.Errorf("look for other replicas: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM Replicas WHERE Process <> $1)", process).Scan(&others); err != nil {
		return false, fmt.Errorf("look for other replicas: %w", err)
	}
	return others, nil
}
