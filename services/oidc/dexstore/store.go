// Package dexstore is Dex's storage on an embedded Pebble database of its own, or
// in a PostgreSQL schema that processes share, encrypted in both:
// every write is on disk before it is answered or can be read, and updates of
// one row take turns. The semantics are those of Dex's storage.Storage and its
// conformance suites; what the rows mean is Dex's business.
package dexstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/dexidp/dex/storage"
)

var (
	errClosed   = errors.New("storage is closed")
	errConflict = errors.New("row changed during the update")
)

// defaultTurn is how long an update waits for the one before it. An updater may
// ask an upstream identity provider, so this is longer than any disk needs.
const defaultTurn = 20 * time.Second

// flushPause is how long a failed flush waits for the next try.
const flushPause = time.Second

// cacheSize and memTableSize are bytes. Rows are few and small: a stack in use
// holds some keys, sessions and the logins of the last minutes.
const (
	cacheSize    = 1 << 20
	memTableSize = 1 << 20
)

// Options configures Open. All but Secret may be left out.
type Options struct {
	FS     vfs.FS        // nil: the disk
	Log    *slog.Logger  // nil: discard
	Turn   time.Duration // how long an update waits for its turn on a row; 0: 20 s
	Secret []byte        // 32 bytes, which rows are encrypted with; required
}

// Store implements storage.Storage. It is safe for concurrent use; one process
// at a time can hold a directory.
type Store struct {
	rows  engine
	seal  seal
	turns turnTaker
	turn  time.Duration

	tables tables
}

var _ storage.Storage = (*Store)(nil)

// Open opens the database in dir, creating it if there is none.
func Open(dir string, opts Options) (*Store, error) {
	if opts.FS == nil {
		opts.FS = vfs.Default
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Turn == 0 {
		opts.Turn = defaultTurn
	}
	seal, err := newSeal(opts.Secret)
	if err != nil {
		return nil, fmt.Errorf("open oidc storage: %w", err)
	}
	db, err := pebble.Open(dir, &pebble.Options{
		FS:                 opts.FS,
		FormatMajorVersion: pebble.FormatNewest, // its WAL chunks tell a torn middle from a torn tail
		CacheSize:          cacheSize,
		MemTableSize:       memTableSize,
		Logger:             pebbleLog{opts.Log},
		// Pebble tries a failed flush again at once, and for ever: on a full disk
		// it would spin.
		EventListener: &pebble.EventListener{BackgroundError: func(err error) {
			opts.Log.Error("oidc storage", slog.Any("error", err))
			time.Sleep(flushPause)
		}},
	})
	if err != nil {
		return nil, fmt.Errorf("open oidc storage: %w", err)
	}
	s := &Store{rows: &embedded{db: db}, seal: seal, turns: newTurns(), turn: opts.Turn}
	s.tables = newTables(s)
	return s, nil
}

// Close waits for operations under way and closes the database; later ones fail.
// A second Close does nothing.
func (s *Store) Close() error {
	if err := s.rows.close(); err != nil {
		return fmt.Errorf("close oidc storage: %w", err)
	}
	return nil
}

// Check reports whether the storage answers, by reading a row.
func (s *Store) Check(ctx context.Context) error {
	if _, err := s.GetKeys(ctx); err != nil && !errors.Is(err, storage.ErrNotFound) {
		return fmt.Errorf("read oidc storage: %w", err)
	}
	return nil
}

// read returns the row at key; ErrNotFound is Dex's sentinel, never wrapped,
// because Dex compares it with ==.
func (s *Store) read(key []byte) (row []byte, err error) {
	err = s.rows.read(func(r reader) error {
		row, err = s.get(r, key)
		return err
	})
	return row, err
}

func (s *Store) get(r reader, key []byte) ([]byte, error) {
	box, err := r.get(key)
	if err != nil {
		return nil, err
	}
	return s.seal.open(key, box)
}

// put writes a row.
func (s *Store) put(w writer, key, row []byte) error {
	return w.set(key, s.seal.close(key, row))
}

// scan calls visit for each row of table in key order. Key and row are valid
// during the call only.
func (s *Store) scan(r reader, table string, visit func(key, row []byte) error) error {
	lower, upper := tableBounds(table)
	err := r.scan(lower, upper, func(key, box []byte) error {
		row, err := s.seal.open(key, box)
		if err != nil {
			return err
		}
		return visit(key, row)
	})
	if err != nil {
		return fmt.Errorf("scan %s: %w", table, err)
	}
	return nil
}

// pebbleLog hands Pebble's messages to our log.
type pebbleLog struct{ log *slog.Logger }

func (l pebbleLog) Infof(format string, args ...any) {
	l.log.Debug("oidc storage", slog.String("detail", fmt.Sprintf(format, args...)))
}

func (l pebbleLog) Errorf(format string, args ...any) {
	l.log.Error("oidc storage", slog.String("detail", fmt.Sprintf(format, args...)))
}

// Fatalf is called when the disk no longer takes writes; Pebble cannot go on and
// must not return from here.
func (l pebbleLog) Fatalf(format string, args ...any) {
	panic("dexstore: " + fmt.Sprintf(format, args...))
}
