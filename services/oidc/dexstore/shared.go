package dexstore

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"time"

	"github.com/dexidp/dex/storage"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"sigstack/internal/pgdb"
)

//go:embed migrations/*.sql
var files embed.FS

// Database is a schema in PostgreSQL in which processes share their rows.
type Database struct {
	URL         string // see pgdb.Config
	Schema      string
	Connections int // for rows, and as many again for updates under way; at least 1
}

// Migrate brings the schema, which it makes if there is none, to the version of this
// program.
func Migrate(ctx context.Context, url, schema string) (pgdb.Version, error) {
	migrations, err := fs.Sub(files, "migrations")
	if err != nil {
		return pgdb.Version{}, err
	}
	return pgdb.Migrate(ctx, url, schema, migrations)
}

// ReadVersion returns the version of the schema and changes nothing.
func ReadVersion(ctx context.Context, url, schema string) (pgdb.Version, error) {
	migrations, err := fs.Sub(files, "migrations")
	if err != nil {
		return pgdb.Version{}, err
	}
	return pgdb.ReadVersion(ctx, url, schema, migrations)
}

// patience bounds what is asked of the database for one row. It is not the request's
// to cut short: Dex undoes half-made changes after a client went away.
const patience = 10 * time.Second

// OpenShared opens the rows in a schema that Migrate has made. They are encrypted
// with the secret as those in a directory are, so that every process needs the same.
// It fails while the database is away. Options.FS has no meaning.
func OpenShared(ctx context.Context, d Database, opts Options) (*Store, error) {
	if opts.Turn == 0 {
		opts.Turn = defaultTurn
	}
	seal, err := newSeal(opts.Secret)
	if err != nil {
		return nil, fmt.Errorf("open oidc storage: %w", err)
	}
	v, err := ReadVersion(ctx, d.URL, d.Schema)
	if err == nil {
		err = v.Check()
	}
	if err != nil {
		return nil, fmt.Errorf("open oidc storage in schema %s: %w", d.Schema, err)
	}
	e := &shared{lock: lockOf("rows of " + d.Schema)}
	for _, pool := range []**pgxpool.Pool{&e.rows, &e.updates} {
		if *pool, err = d.pool(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("open oidc storage: %w", err), e.close())
		}
	}
	s := &Store{rows: e, seal: seal, turns: &sharedTurns{newTurns(), e.updates, d.Schema}, turn: opts.Turn}
	s.tables = newTables(s)
	return s, nil
}

func (d Database) pool(ctx context.Context) (*pgxpool.Pool, error) {
	conn, err := pgdb.Config(d.URL, d.Schema)
	if err != nil {
		return nil, err
	}
	config, err := pgxpool.ParseConfig("")
	if err != nil {
		return nil, err
	}
	config.ConnConfig, config.MaxConns = conn, int32(max(1, min(d.Connections, 100)))
	return pgxpool.NewWithConfig(context.WithoutCancel(ctx), config)
}

// shared is the engine in a database.
type shared struct {
	rows    *pgxpool.Pool
	updates *pgxpool.Pool // a connection for each update under way, whose updater uses rows
	lock    int64         // held by a write until it is committed
}

func (e *shared) read(f func(reader) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return pgx.BeginTxFunc(ctx, e.rows, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		return f(sharedRows{ctx, tx})
	})
}

func (e *shared) write(f func(writer) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return pgx.BeginFunc(ctx, e.rows, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", e.lock); err != nil {
			return fmt.Errorf("wait for other writes: %w", err)
		}
		return f(sharedRows{ctx, tx})
	})
}

func (e *shared) close() error {
	for _, pool := range []*pgxpool.Pool{e.rows, e.updates} {
		if pool != nil {
			pool.Close()
		}
	}
	return nil
}

// sharedRows are those that a transaction sees.
type sharedRows struct {
	ctx context.Context //nolint:containedctx // lives as long as the transaction
	tx  pgx.Tx
}

func (r sharedRows) get(key []byte) (box []byte, err error) {
	err = r.tx.QueryRow(r.ctx, "SELECT Box FROM Issuer WHERE Key = $1", string(key)).Scan(&box)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, storage.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read row: %w", err)
	}
	return box, nil
}

func (r sharedRows) scan(lower, upper []byte, visit func(key, box []byte) error) error {
	type row struct {
		Key string
		Box []byte
	}
	rows, err := r.tx.Query(r.ctx, "SELECT Key, Box FROM Issuer WHERE Key >= $1 AND Key < $2 ORDER BY Key", string(lower), string(upper))
	if err != nil {
		return err
	}
	// All at once: visiting may write on the same connection.
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[row])
	if err != nil {
		return err
	}
	for _, v := range all {
		if err := visit([]byte(v.Key), v.Box); err != nil {
			return err
		}
	}
	return nil
}

func (r sharedRows) set(key, box []byte) error {
	const upsert = "INSERT INTO Issuer (Key, Box) VALUES ($1, $2) ON CONFLICT (Key) DO UPDATE SET Box = excluded.Box"
	if _, err := r.tx.Exec(r.ctx, upsert, string(key), box); err != nil {
		return fmt.Errorf("write row: %w", err)
	}
	return nil
}

func (r sharedRows) delete(key []byte) error {
	if _, err := r.tx.Exec(r.ctx, "DELETE FROM Issuer WHERE Key = $1", string(key)); err != nil {
		return fmt.Errorf("delete row: %w", err)
	}
	return nil
}

// sharedTurns are turns that processes take with one another: first here, so that a
// process waits on one connection for a row, then in the database.
type sharedTurns struct {
	here   *turns
	pool   *pgxpool.Pool
	schema string
}

func (t *sharedTurns) take(ctx context.Context, key string, limit time.Duration) (done func(), err error) {
	leave, err := t.here.take(ctx, key, limit)
	if err != nil {
		return nil, err
	}
	wait, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	conn, err := t.pool.Acquire(wait)
	if err != nil {
		leave()
		return nil, fmt.Errorf("wait for row: %w", err)
	}
	// The lock is the transaction's: it ends with it, however that ends.
	tx, err := conn.Begin(wait)
	if err == nil {
		_, err = tx.Exec(wait, "SELECT pg_advisory_xact_lock($1)", lockOf("row of "+t.schema+" "+key))
	}
	done = func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		if tx != nil {
			_ = tx.Rollback(end) // a connection that cannot is closed, and the lock with it
		}
		conn.Release()
		leave()
	}
	if err != nil {
		done()
		return nil, fmt.Errorf("wait for row: %w", err)
	}
	return done, nil
}

func lockOf(name string) int64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte("sigstack issuer: " + name)) // never fails
	return int64(h.Sum64())
}
