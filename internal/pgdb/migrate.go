package pgdb

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

// Version is how far a schema has come. They are numbers of migrations; 0 is an
// empty schema, or none.
type Version struct {
	Current int64 // of the schema
	Target  int64 // of this program
}

// VersionError is a schema that has not the version of this program.
type VersionError struct{ Version }

// Older reports whether a migration is what the schema lacks.
func (e *VersionError) Older() bool { return e.Current < e.Target }

// Error names both versions.
func (e *VersionError) Error() string {
	if e.Older() {
		return fmt.Sprintf("it has version %d, this program needs %d: migrate it first", e.Current, e.Target)
	}
	return fmt.Sprintf("it has version %d, this program knows %d: it was migrated by a newer one", e.Current, e.Target)
}

// Check returns a *VersionError unless the schema has this program's version.
func (v Version) Check() error {
	if v.Current == v.Target {
		return nil
	}
	return &VersionError{v}
}

// Migrate brings a schema, which it makes if there is none, to the version of this
// program, and returns what it was and what it is for. The migrations are the .sql
// files in the root of a file system, in goose's form, numbered from 1 on. Processes
// that migrate one schema at once take turns. It refuses a schema that is newer.
func Migrate(ctx context.Context, url, schema string, migrations fs.FS) (v Version, err error) {
	config, err := Config(url, schema)
	if err != nil {
		return v, fmt.Errorf("migrate schema %s: %w", schema, err)
	}
	err = locked(ctx, config, schema, func() error {
		v, err = up(ctx, config, migrations)
		return err
	})
	if err != nil {
		return v, fmt.Errorf("migrate schema %s: %w", schema, err)
	}
	return v, nil
}

// locked runs f while it holds the lock of a schema's migrations, in the schema.
func locked(ctx context.Context, config *pgx.ConnConfig, schema string, f func() error) (err error) {
	lock, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	// Closing the connection gives the lock back, whatever happened.
	defer func() { err = errors.Join(err, lock.Close(context.WithoutCancel(ctx))) }()
	if _, err := lock.Exec(ctx, "SELECT pg_advisory_lock($1)", migrationLock(schema)); err != nil {
		return fmt.Errorf("wait for the lock of migrations: %w", err)
	}
	// Whoever may make no schemas may still be given one.
	var exists bool
	if err := lock.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", schema).Scan(&exists); err != nil {
		return fmt.Errorf("look for the schema: %w", err)
	}
	if !exists {
		if _, err := lock.Exec(ctx, "CREATE SCHEMA "+pgx.Identifier{schema}.Sanitize()); err != nil {
			return fmt.Errorf("create the schema: %w; whoever may can make it beforehand: CREATE SCHEMA %s AUTHORIZATION %s", err, schema, config.User)
		}
	}
	return f()
}

// up carries out the migrations that are missing.
func up(ctx context.Context, config *pgx.ConnConfig, migrations fs.FS) (v Version, err error) {
	db := stdlib.OpenDB(*config)
	defer func() { err = errors.Join(err, db.Close()) }()
	p, err := goose.NewProvider(goose.DialectPostgres, db, migrations, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return v, err
	}
	if v.Current, v.Target, err = p.GetVersions(ctx); err != nil {
		return v, err
	}
	if v.Current > v.Target {
		return v, v.Check()
	}
	_, err = p.Up(ctx)
	return v, err
}

// ReadVersion returns the version of a schema and changes nothing.
func ReadVersion(ctx context.Context, url, schema string, migrations fs.FS) (v Version, err error) {
	config, err := Config(url, schema)
	if err != nil {
		return v, fmt.Errorf("read version of schema %s: %w", schema, err)
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return v, fmt.Errorf("read version of schema %s: connect: %w", schema, err)
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	if v, err = readVersion(ctx, conn, migrations); err != nil {
		return v, fmt.Errorf("read version of schema %s: %w", schema, err)
	}
	return v, nil
}

// readVersion asks goose's table, which goose itself would make where it is
// missing.
func readVersion(ctx context.Context, conn *pgx.Conn, migrations fs.FS) (v Version, err error) {
	names, err := fs.Glob(migrations, "*.sql")
	if err != nil {
		return v, err
	}
	v.Target = int64(len(names)) // they are numbered from 1 on
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
