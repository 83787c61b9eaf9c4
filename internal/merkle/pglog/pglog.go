// Package pglog keeps a log in a schema of a PostgreSQL database, by Trillian's own
// driver on its direct path: one transaction stores and integrates a batch, with the
// rows that services add. It owns the schema, its guards against forks and the lock
// that elects who writes; batching, clocks and proofs are the engine's.
package pglog

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/google/trillian"
	"github.com/google/trillian/storage"
	"github.com/google/trillian/storage/postgresql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"sigstack/internal/pgdb"
)

// Options of a Store.
type Options struct {
	// URL says where the database is and who asks, as a postgres:// URL or as
	// words like "host=/run/postgresql dbname=logs". Required.
	URL string
	// Schema is the log's own: at most 63 lower-case letters, digits and
	// underscores, the first a letter. Required.
	Schema string
	// Now stamps the creation and change of trees. Required.
	Now func() time.Time
	// Readers and Writers bound the connections that are open at a time. A
	// tree's batches need one writer; the others are for changes of trees.
	// Zero: 8 and 2.
	Readers, Writers int32
	// Timeout bounds each statement, and what is waited for an answer. Zero: 10 s.
	Timeout time.Duration
	// LockTimeout bounds how long a batch waits for the one of another process.
	// Zero: 3 s.
	LockTimeout time.Duration
	// Pause bounds how long a writer may leave its transaction idle: then the
	// database ends it, so that a process that hangs is in nobody's way.
	// Zero: 2 s.
	Pause time.Duration
}

func (o *Options) check() error {
	switch {
	case o.URL == "":
		return errors.New("no database given")
	case o.Now == nil:
		return errors.New("no clock given")
	case pgdb.CheckSchema(o.Schema) != nil:
		return pgdb.CheckSchema(o.Schema)
	case o.Readers < 0 || o.Writers < 0 || o.Timeout < 0 || o.LockTimeout < 0 || o.Pause < 0:
		return errors.New("numbers of connections and time-outs must not be negative")
	}
	set := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	set(&o.Timeout, 10*time.Second)
	set(&o.LockTimeout, 3*time.Second)
	set(&o.Pause, 2*time.Second)
	if o.Readers == 0 {
		o.Readers = 8
	}
	if o.Writers == 0 {
		o.Writers = 2
	}
	return nil
}

// Store is an open schema. It is safe for concurrent use, here and in any number of
// processes. It implements Trillian's storage.LogStorage; Admin gives its
// storage.AdminStorage. Database loss fails what is under way, and heals.
type Store struct {
	storage.LogStorage // on the writers; Snapshot and transactions are the Store's

	o       Options
	admin   storage.AdminStorage
	readers *pgxpool.Pool
	reads   storage.LogStorage // on the readers
	writers *pgxpool.Pool
	closed  atomic.Bool
}

// Open connects to a schema that Migrate has brought to this program's version, and
// refuses any other.
func Open(ctx context.Context, o Options) (*Store, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("open log storage: %w", err)
	}
	s := &Store{o: o}
	if err := s.connect(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open log storage in schema %s: %w", o.Schema, err), s.Close())
	}
	return s, nil
}

func (s *Store) connect(ctx context.Context) (err error) {
	v, err := ReadVersion(ctx, s.o.URL, s.o.Schema)
	if err != nil {
		return err
	}
	if err := v.Check(); err != nil {
		return err
	}
	// A view is one snapshot, which READ COMMITTED does not give.
	if s.readers, err = s.pool(ctx, s.o.Readers, map[string]string{
		"default_transaction_isolation": "repeatable read",
		"default_transaction_read_only": "on",
	}); err != nil {
		return err
	}
	// The guards have to see what others committed in the meantime.
	if s.writers, err = s.pool(ctx, s.o.Writers, map[string]string{
		"default_transaction_isolation": "read committed",
		"lock_timeout":                  millis(s.o.LockTimeout),
	}); err != nil {
		return err
	}
	s.LogStorage = postgresql.NewLogStorage(s.writers, nil)
	s.reads = postgresql.NewLogStorage(s.readers, nil)
	s.admin = adminStorage{postgresql.NewAdminStorage(s.writers), s}
	return nil
}

func (s *Store) pool(ctx context.Context, size int32, params map[string]string) (*pgxpool.Pool, error) {
	conn, err := pgdb.Config(s.o.URL, s.o.Schema)
	if err != nil {
		return nil, err
	}
	config, err := pgxpool.ParseConfig(s.o.URL)
	if err != nil {
		return nil, errors.New("the database's address has settings of a pool that cannot be read (pool_...)")
	}
	config.ConnConfig = conn
	for name, value := range params {
		config.ConnConfig.RuntimeParams[name] = value
	}
	// Every query here has an index. A plan that was made for a young table, and kept,
	// reads all of it when it has grown.
	config.ConnConfig.RuntimeParams["plan_cache_mode"] = "force_custom_plan"
	config.ConnConfig.RuntimeParams["enable_seqscan"] = "off"
	config.ConnConfig.RuntimeParams["jit"] = "off"
	config.ConnConfig.RuntimeParams["statement_timeout"] = millis(s.o.Timeout)
	config.ConnConfig.RuntimeParams["idle_in_transaction_session_timeout"] = millis(s.o.Pause)
	config.MaxConns = size
	config.PrepareConn = func(ctx context.Context, conn *pgx.Conn) (bool, error) {
		if l, ok := ctx.Value(lentKey{}).(*lent); ok {
			l.conn = conn
		}
		return true, nil
	}
	return pgxpool.NewWithConfig(ctx, config)
}

func millis(d time.Duration) string { return strconv.FormatInt(max(d.Milliseconds(), 1), 10) }

// Close ends the connections, after the transactions that use them.
func (s *Store) Close() error {
	s.closed.Store(true)
	for _, p := range []*pgxpool.Pool{s.readers, s.writers} {
		if p != nil {
			p.Close()
		}
	}
	return nil
}

// Admin returns the Store's list of trees.
func (s *Store) Admin() storage.AdminStorage { return s.admin }

// TreeType is that of the trees whose leaves come with their index.
func (s *Store) TreeType() trillian.TreeType { return trillian.TreeType_PREORDERED_LOG }

// CheckDatabaseAccessible fails once the Store is closed: nothing less is for good.
// Ping asks whether the database answers now.
func (s *Store) CheckDatabaseAccessible(context.Context) error {
	if s.closed.Load() {
		return errors.New("log storage is closed")
	}
	return nil
}

// Ping asks the database for an answer.
func (s *Store) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	if err := s.readers.Ping(ctx); err != nil {
		return fmt.Errorf("ask the database: %w", err)
	}
	return nil
}
