// Package dexpebble is Dex's storage on an embedded Pebble database of its own:
// every write is on disk before it is answered or can be read, and updates of
// one row take turns. The semantics are those of Dex's storage.Storage and its
// conformance suites; what the rows mean is Dex's business.
package dexpebble

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
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
	db    *pebble.DB
	seal  seal
	turns *turns
	log   *slog.Logger
	turn  time.Duration

	// mu is held shared by reads and alone by a write until it is on disk, so
	// nobody acts on a row that a power cut could take back.
	mu     sync.RWMutex
	closed bool

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
	s := &Store{db: db, seal: seal, turns: newTurns(), log: opts.Log, turn: opts.Turn}
	s.tables = newTables(s)
	return s, nil
}

// Close waits for operations under way and closes the database; later ones fail.
// A second Close does nothing.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	if err := s.db.Close(); err != nil {
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
func (s *Store) read(key []byte) ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, errClosed
	}
	return s.get(key)
}

// get needs s.mu, shared or alone.
func (s *Store) get(key []byte) ([]byte, error) {
	value, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, storage.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read row: %w", err)
	}
	box := append([]byte(nil), value...)
	if err := closer.Close(); err != nil {
		return nil, fmt.Errorf("read row: %w", err)
	}
	return s.seal.open(key, box)
}

// put adds a row to b.
func (s *Store) put(b *pebble.Batch, key, row []byte) error {
	return b.Set(key, s.seal.close(key, row), nil)
}

// write runs change alone and makes what it put in the batch durable, or drops
// it all when change fails.
func (s *Store) write(change func(*pebble.Batch) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	batch := s.db.NewBatch()
	if err := change(batch); err != nil {
		if closeErr := batch.Close(); closeErr != nil {
			return errors.Join(err, closeErr)
		}
		return err // unwrapped: it may be one of Dex's sentinels
	}
	if batch.Empty() {
		return batch.Close()
	}
	if err := batch.Commit(pebble.Sync); err != nil {
		return fmt.Errorf("write row: %w", err)
	}
	return batch.Close()
}

// scan calls visit for each row of table in key order, under s.mu (shared or
// alone). Key and row are valid during the call only.
func (s *Store) scan(table string, visit func(key, row []byte) error) (err error) {
	lower, upper := tableBounds(table)
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return fmt.Errorf("scan %s: %w", table, err)
	}
	defer func() { err = errors.Join(err, iter.Close()) }()
	for ok := iter.First(); ok; ok = iter.Next() {
		box, err := iter.ValueAndErr()
		if err != nil {
			return fmt.Errorf("scan %s: %w", table, err)
		}
		row, err := s.seal.open(iter.Key(), box)
		if err != nil {
			return fmt.Errorf("scan %s: %w", table, err)
		}
		if err := visit(iter.Key(), row); err != nil {
			return err
		}
	}
	return iter.Error()
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
	panic("dexpebble: " + fmt.Sprintf(format, args...))
}
