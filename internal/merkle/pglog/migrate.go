package pglog

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Version is how far a schema has come. They are numbers of migrations; 0 is an
// empty schema, or none.
type Version struct {
	Current int64 // of the schema
	Target  int64 // of this program
}

// Migrate brings the schema of one log, which it makes if there is none, to the
// version of this program, and returns what it was and what it is for. Processes
// that migrate one schema at once take turns. It refuses a schema that is newer.
func Migrate(ctx context.Context, url, schema string) (v Version, err error) {
	err = withMigrations(ctx, url, schema, func(p *goose.Provider) error {
		if v.Current, v.Target, err = p.GetVersions(ctx); err != nil {
			return err
		}
		if v.Current > v.Target {
			return newer(v)
		}
		_, err := p.Up(ctx)
		return err
	})
	if err != nil {
		return v, fmt.Errorf("migrate schema %s: %w", schema, err)
	}
	return v, nil
}

func newer(v Version) error {
	return fmt.Errorf("it has version %d, this program knows %d: it was migrated by a newer one", v.Current, v.Target)
}

// withMigrations runs f in the schema, holding the lock of its migrations.
func withMigrations(ctx context.Context, url, schema string, f func(*goose.Provider) error) (err error) {
	config, err := connConfig(url, schema)
	if err != nil {
		return err
	}
	lock, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	// Closing the connection gives the lock back, whatever happened.
	defer func() { err = errors.Join(err, lock.Close(context.WithoutCancel(ctx))) }()
	if _, err := lock.Exec(ctx, "SELECT pg_advisory_lock($1)", migrationLock(schema)); err != nil {
		return fmt.Errorf("wait for the lock of migrations: %w", err)
	}
	if _, err := lock.Exec(ctx, "CREATE SCHEMA IF NOT EXISTS "+pgx.Identifier{schema}.Sanitize()); err != nil {
		return fmt.Errorf("create the schema: %w", err)
	}
	return provide(config, f)
}

func provide(config *pgx.ConnConfig, f func(*goose.Provider) error) (err error) {
	db := stdlib.OpenDB(*config)
	defer func() { err = errors.Join(err, db.Close()) }()
	p, err := newProvider(db)
	if err != nil {
		return err
	}
	return f(p)
}

func newProvider(db *sql.DB) (*goose.Provider, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(goose.DialectPostgres, db, files, goose.WithDisableGlobalRegistry(true))
}

// ReadVersion returns the version of a schema and changes nothing.
func ReadVersion(ctx context.Context, url, schema string) (v Version, err error) {
	config, err := connConfig(url, schema)
	if err != nil {
		return v, fmt.Errorf("read version of schema %s: %w", schema, err)
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return v, fmt.Errorf("read version of schema %s: connect: %w", schema, err)
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	if v, err = readVersion(ctx, conn); err != nil {
		return v, fmt.Errorf("read version of schema %s: %w", schema, err)
	}
	return v, nil
}

// readVersion asks goose's table, which goose itself would make where it is
// missing.
func readVersion(ctx context.Context, conn *pgx.Conn) (v Version, err error) {
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return v, err
	}
	v.Target = int64(len(names)) // they are numbered from 1 on, as a test checks
	var exists bool
	row := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_tables WHERE schemaname = current_schema() AND tablename = $1)", goose.DefaultTablename)
	if err := row.Scan(&exists); err != nil || !exists {
		return v, err
	}
	row = conn.QueryRow(ctx, "SELECT coalesce(max(version_id), 0) FROM "+goose.DefaultTablename+" WHERE is_applied")
	return v, row.Scan(&v.Current)
}

// migrationLock is the advisory lock of a schema's migrations.
func migrationLock(schema string) int64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte("sigstack migrations of " + schema)) // never fails
	return int64(h.Sum64())
}
