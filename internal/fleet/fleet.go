// Package fleet makes replicas of one process out of several data directories: the
// database holds their files, who leads and who belongs to them, and decides who may
// change what (docs/decisions/0030). What a changed file means is left to the stack.
package fleet

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"regexp"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"sigstack/internal/pgdb"
)

//go:embed migrations/*.sql
var embedded embed.FS

// Migrations are those of the schema.
func Migrations() (fs.FS, error) { return fs.Sub(embedded, "migrations") }

// Schema is the name of the fleet's schema of a stack whose schemas begin so.
func Schema(prefix string) string { return prefix + "_fleet" }

// Migrate brings the schema, which it makes if there is none, to the version of this
// program.
func Migrate(ctx context.Context, url, schema string) (pgdb.Version, error) {
	files, err := Migrations()
	if err != nil {
		return pgdb.Version{}, err
	}
	return pgdb.Migrate(ctx, url, schema, files)
}

// ReadVersion returns the version of a schema and changes nothing.
func ReadVersion(ctx context.Context, url, schema string) (pgdb.Version, error) {
	files, err := Migrations()
	if err != nil {
		return pgdb.Version{}, err
	}
	return pgdb.ReadVersion(ctx, url, schema, files)
}

// Pin is the SHA-256 of a replica's public key (DER SubjectPublicKeyInfo).
type Pin [32]byte

// DefaultLease is how long a replica goes on without the database.
const DefaultLease = 10 * time.Second

// Config configures Open. Every field but Process and Lease is required.
type Config struct {
	URL    string // of the database
	Schema string // of the fleet
	// Process of a split stack; "" is a stack of one process.
	Process string
	// Name of this replica, which Join has put down with its pin.
	Name string
	Pin  Pin
	// Dir is the data directory, a copy of what the database has.
	Dir string
	// Paths lists what else than Replicated files are pushed, below Dir with slashes.
	Paths func() []string
	// Lease is how long a replica that does not reach the database goes on; the
	// same for all. 0: DefaultLease.
	Lease time.Duration
	// Now must be monotonic.
	Now func() time.Time
	Log *slog.Logger
}

// Fleet is this process as one of the replicas. It is safe for concurrent use.
type Fleet struct {
	cfg  Config
	pool *pgxpool.Pool
	wake chan struct{} // holds one: beat at once

	pushing sync.Mutex // one push at a time

	mu      sync.Mutex    // guards what follows
	changed chan struct{} // closed, and replaced, when any of it changes
	seen    view
	applied int64     // revision that this process works with
	doubts  int64     // how often Dir has become doubtful: it may differ from the database's files
	pulled  int64     // doubts that the last pull found
	settled int64     // doubts that are settled: what was pulled is worked with
	beat    time.Time // when the last sign of life that succeeded was begun
	lapsed  bool      // the lease ended, and what happened meanwhile is not applied yet
	removed bool      // the database does not know this replica any more
	held    *held     // nil: another one has the lock, or nobody
}

// view is what the database last said.
type view struct {
	revision, term int64
	leader         Replica
	members        map[Pin]bool // nil: not read yet
}

// held is the lock of the leader, for as long as one connection lasts.
type held struct {
	term     int64
	revision int64 // that must be applied before anything is led
	lead     context.Context
	depose   context.CancelCauseFunc
}

// Errors of a replica.
var (
	// ErrDeposed: the database knows another leader, or another revision.
	ErrDeposed = errors.New("another replica may lead by now")
	// ErrUnknown: the database does not know a replica of that name with that key.
	ErrUnknown = errors.New("this replica is not one of the fleet: join it")
	// ErrBehind: a replica has not taken a change in time.
	ErrBehind = errors.New("not every replica has taken the change")
)

var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{0,62}$`)

// CheckName refuses names of replicas that are hard to tell apart or to write.
func CheckName(name string) error {
	if !nameForm.MatchString(name) {
		return fmt.Errorf("replica name %q: want lower-case letters, digits, dots and hyphens, at most 63", name)
	}
	return nil
}

func (c *Config) check() error {
	if c.Lease == 0 {
		c.Lease = DefaultLease
	}
	switch {
	case c.Dir == "" || c.Pin == Pin{} || c.Paths == nil || c.Now == nil || c.Log == nil:
		return errors.New("fleet: directory, pin, paths, clock and log are required")
	case c.Lease < time.Second:
		return errors.New("fleet: a lease is a second or more")
	}
	return CheckName(c.Name)
}

// Open connects to a fleet that this replica has joined. Nothing is pulled, and no
// sign of life given yet. The caller closes the Fleet.
func Open(ctx context.Context, cfg Config) (_ *Fleet, err error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if err := checkVersion(ctx, cfg.URL, cfg.Schema); err != nil {
		return nil, err
	}
	f := &Fleet{cfg: cfg, wake: make(chan struct{}, 1), changed: make(chan struct{}), doubts: 1, lapsed: true}
	if f.pool, err = newPool(ctx, cfg.URL, cfg.Schema); err != nil {
		return nil, fmt.Errorf("open fleet: %w", err)
	}
	if err := f.known(ctx); err != nil {
		f.pool.Close()
		return nil, fmt.Errorf("open fleet: %w", err)
	}
	return f, nil
}

// Close ends the connections.
func (f *Fleet) Close() { f.pool.Close() }

// Name is that of this replica.
func (f *Fleet) Name() string { return f.cfg.Name }

func checkVersion(ctx context.Context, url, schema string) error {
	v, err := ReadVersion(ctx, url, schema)
	if err != nil {
		return err
	}
	if err := v.Check(); err != nil {
		return fmt.Errorf("schema %s: %w", schema, err)
	}
	return nil
}

// Bounds of the connections.
const (
	connections  = 3
	pingTimeout  = 2 * time.Second
	queryTimeout = 5 * time.Second
)

func newPool(ctx context.Context, url, schema string) (*pgxpool.Pool, error) {
	conn, err := connConfig(url, schema)
	if err != nil {
		return nil, err
	}
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, errors.New("the database's address cannot be read")
	}
	config.ConnConfig, config.MaxConns, config.MinConns = conn, connections, 0
	config.PingTimeout = pingTimeout // of one that was idle for a second: it may be cut off
	return pgxpool.NewWithConfig(ctx, config)
}

// connConfig bounds what a connection that is cut off leaves waiting, on both sides.
func connConfig(url, schema string) (*pgx.ConnConfig, error) {
	config, err := pgdb.Config(url, schema)
	if err != nil {
		return nil, err
	}
	for name, value := range map[string]string{
		"statement_timeout":                   "5s",
		"lock_timeout":                        "4s",
		"idle_in_transaction_session_timeout": "4s",
		"tcp_keepalives_idle":                 "1",
		"tcp_keepalives_interval":             "1",
		"tcp_keepalives_count":                "3",
	} {
		config.RuntimeParams[name] = value
	}
	return config, nil
}

// update changes what mu guards, and tells who waits.
func (f *Fleet) update(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
	close(f.changed)
	f.changed = make(chan struct{})
}

// State is what this replica knows of the fleet.
type State struct {
	Name              string
	Leader            string // "": nobody has led yet
	LeaderAddress     string
	LeaderPin         Pin
	Leading           bool // this replica leads
	Term              int64
	Revision, Applied int64
	Fenced            bool // it may not sign: the database is away, or went on without it
	Removed           bool // it is none of the fleet any more
}

// State returns what is known now.
func (f *Fleet) State() State {
	f.mu.Lock()
	defer f.mu.Unlock()
	term := f.seen.term
	if f.held != nil { // the next sign of life tells it
		term = max(term, f.held.term)
	}
	return State{
		Name: f.cfg.Name, Leader: f.seen.leader.Name, LeaderAddress: f.seen.leader.Address, LeaderPin: f.seen.leader.Pin,
		Leading: f.leading(), Term: term, Revision: f.seen.revision, Applied: f.applied, Fenced: f.fenced(), Removed: f.removed,
	}
}

// Member reports whether a replica with that key was one of the fleet at the last sign
// of life.
func (f *Fleet) Member(pin Pin) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seen.members[pin]
}

// Removed reports whether the database does not know this replica any more.
func (f *Fleet) Removed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.removed
}

// Leading reports whether this replica leads, as far as it can know.
func (f *Fleet) Leading() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.leading()
}

// leading needs mu.
func (f *Fleet) leading() bool {
	return f.held != nil && f.doubts == f.settled && f.applied >= f.held.revision
}

// Fenced reports whether this replica has lost touch with the others for longer than
// its lease, and has not caught up since: they may have gone on without it.
func (f *Fleet) Fenced() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fenced()
}

// fenced needs mu.
func (f *Fleet) fenced() bool { return f.removed || f.lapsed || f.cfg.Now().Sub(f.beat) > f.cfg.Lease }

// Changed returns a channel that is closed when the State may have changed since the
// call.
func (f *Fleet) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

// Wanting reports whether there is something to pull.
func (f *Fleet) Wanting() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.doubts > f.settled || f.seen.revision > f.applied
}

// Applied notes that this process works with the files of a revision, the last that
// was pulled.
func (f *Fleet) Applied(revision int64) {
	f.update(func() { f.applied, f.settled = revision, f.pulled })
	select {
	case f.wake <- struct{}{}:
	default: // it is told already
	}
}
