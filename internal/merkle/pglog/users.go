package pglog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"sigstack/internal/pgdb"
)

// linger is how long a connection that was closed may still be seen.
const linger = 2 * time.Second

// Users counts the connections of programs like this one to a schema, those of this
// process among them. The database shows those of its own user only, unless that may
// see all.
func Users(ctx context.Context, url, schema string) (n int, err error) {
	config, err := pgdb.Config(url, schema)
	if err != nil {
		return 0, fmt.Errorf("count the users of schema %s: %w", schema, err)
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return 0, fmt.Errorf("count the users of schema %s: connect: %w", schema, err)
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	ctx, cancel := context.WithTimeout(ctx, linger)
	defer cancel()
	ticks := time.NewTicker(linger / 20)
	defer ticks.Stop()
	for {
		row := conn.QueryRow(context.WithoutCancel(ctx), "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "+
			"AND application_name = current_setting('application_name') AND pid <> pg_backend_pid()")
		if err := row.Scan(&n); err != nil {
			return 0, fmt.Errorf("count the users of schema %s: %w", schema, err)
		}
		if n == 0 {
			return 0, nil
		}
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return n, nil
		}
	}
}
