package pgdb

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// reachWithin bounds Reach, however many addresses and ways of encryption a connection
// string names.
const reachWithin = 4 * time.Second

// oldest is the least version of a server, as PostgreSQL numbers them.
const oldest = 140000

// AwayError is a database that did not answer, or not now. Its text shows no more of a
// connection string than user, hosts and database.
type AwayError struct{ Err error }

// Error says why, in one line.
func (e *AwayError) Error() string {
	return "the database does not answer: " + strings.ReplaceAll(e.Err.Error(), "\n\t", " ")
}

// Unwrap returns the reason.
func (e *AwayError) Unwrap() error { return e.Err }

// Away reports whether an error is that of a server that gave no answer, or that says
// that it is starting, stopping or full, rather than one that it turned down.
func Away(err error) bool {
	var away *AwayError
	var said *pgconn.PgError
	var connect *pgconn.ConnectError
	switch {
	case errors.As(err, &away):
		return true
	case errors.As(err, &said):
		class := said.Code[:min(2, len(said.Code))]
		return said.Code == "57P01" || said.Code == "57P02" || said.Code == "57P03" || said.Code == "53300" || class == "08"
	default:
		return errors.As(err, &connect) || errors.Is(err, pgconn.ErrConnClosed)
	}
}

// Reach asks a database for its server's version, such as "15.4", and for leave to keep
// the schemas in it: each is there, or may be made. It takes at most four seconds, and
// changes nothing. The error of a database that is away is an *AwayError.
func Reach(ctx context.Context, url string, schemas ...string) (version string, err error) {
	config, err := Config(url, "public")
	if err != nil {
		return "", err
	}
	until, cancel := context.WithTimeout(ctx, reachWithin)
	defer cancel()
	// A host that swallows packets leaves time for the next one.
	config.ConnectTimeout = min(config.ConnectTimeout, max(reachWithin/time.Duration(1+len(config.Fallbacks)), time.Second))
	conn, err := pgx.ConnectConfig(until, config)
	if err == nil {
		defer func() {
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			_ = conn.Close(end) // nothing was written
		}()
		version, err = ask(until, conn, schemas)
	}
	switch {
	case err == nil:
		return version, nil
	case ctx.Err() != nil:
		return "", ctx.Err()
	case Away(err) || until.Err() != nil:
		return "", &AwayError{err}
	}
	return "", fmt.Errorf("ask the database: %w", err)
}

func ask(ctx context.Context, conn *pgx.Conn, schemas []string) (version string, err error) {
	var number string
	row := conn.QueryRow(ctx, "SELECT current_setting('server_version'), current_setting('server_version_num')")
	if err := row.Scan(&version, &number); err != nil {
		return "", err
	}
	if n, err := strconv.Atoi(number); err == nil && n < oldest {
		return "", fmt.Errorf("its server is PostgreSQL %s: version 14 or a later one is needed", version)
	}
	for _, schema := range schemas {
		if err := CheckSchema(schema); err != nil {
			return "", err
		}
		var may bool
		row := conn.QueryRow(ctx, `SELECT coalesce((SELECT has_schema_privilege(oid, 'CREATE') AND has_schema_privilege(oid, 'USAGE') FROM pg_namespace WHERE nspname = $1),
			has_database_privilege(current_database(), 'CREATE'))`, schema)
		if err := row.Scan(&may); err != nil {
			return "", err
		}
		if !may {
			return "", fmt.Errorf("user %s may not make schema %s, or not use it: whoever may can make it beforehand: CREATE SCHEMA %s AUTHORIZATION %s",
				conn.Config().User, schema, schema, conn.Config().User)
		}
	}
	return version, nil
}

// Existing returns those of some schemas that are there.
func Existing(ctx context.Context, url string, schemas ...string) (there []string, err error) {
	config, err := Config(url, "public")
	if err != nil {
		return nil, err
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("look for schemas: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	for _, schema := range schemas {
		var is bool
		if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", schema).Scan(&is); err != nil {
			return nil, fmt.Errorf("look for schema %s: %w", schema, err)
		}
		if is {
			there = append(there, schema)
		}
	}
	return there, nil
}
