// Package pebblelog is an embedded, durable Trillian storage driver on Pebble:
// one directory, any number of trees, no server. It stores what Trillian hands
// it; batching, clocks, proofs and de-duplication policy are the engine's.
package pebblelog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Memory and file sizes, kept small because the whole stack shares one process
// with a budget of 150 MB: at most two memtables and the cache are resident.
const (
	memTableBytes = 8 << 20
	cacheBytes    = 48 << 20
	maxOpenFiles  = 500
	bloomBits     = 10 // per key: one useless block read in a hundred absent keys

	indexBlockBytes = 256 << 10 // a whole table's index
)

// ErrFailed marks every use of a Store after a write-ahead log write or sync
// failed. What the disk holds is then unknown, so nothing more is read or
// written: the process has to end, and the next Open recovers.
var ErrFailed = errors.New("storage failed; restart to recover")

// Options of a Store. The zero value is safe for production but lacks Now.
type Options struct {
	// FS is where the directory lies; nil: the operating system's files.
	FS vfs.FS
	// NoSync acknowledges commits before they are on disk. A power cut then
	// loses acknowledged entries: for tests that prove they would notice.
	NoSync bool
	// Now stamps the creation and change of trees. Required.
	Now func() time.Time
	// Log receives the database's own messages; nil: discarded.
	Log *slog.Logger
}

// Store is an open directory. It is safe for concurrent use. It implements
// Trillian's storage.LogStorage; Admin gives its storage.AdminStorage.
type Store struct {
	db      *pebble.DB
	write   *pebble.WriteOptions
	now     func() time.Time
	fs      vfs.FS
	dir     string
	flushes *flushWatch
	lost    chan struct{} // closed once failed is set

	mu       sync.Mutex // guards the rest
	closed   bool
	failed   error                 // first fatal error, matches ErrFailed
	writers  map[int64]*sync.Mutex // held during a tree's read-write transaction
	rooted   map[int64]bool        // trees known to have a root, which they keep until deleted
	inFlight sync.WaitGroup        // open transactions; Add only under mu while not closed
	admin    sync.Mutex            // held during an admin read-write transaction
}

// Open opens dir, creating it if absent. It fails when the directory is open
// already, here or in another process, or was written by another layout.
func Open(dir string, o Options) (*Store, error) {
	if o.Now == nil {
		return nil, errors.New("open log storage: no clock given")
	}
	if o.FS == nil {
		o.FS = vfs.Default
	}
	o.FS = orderedFS{o.FS}
	if err := checkSpace(o.FS, dir); err != nil {
		return nil, fmt.Errorf("open log storage in %s: %w", dir, err)
	}
	s := newStore(o)
	s.fs, s.dir = o.FS, dir
	if err := s.unlessLost(func() (err error) {
		s.db, err = openRecovered(dir, s.pebbleOptions(o))
		return err
	}); err != nil {
		return nil, fmt.Errorf("open log storage in %s (is it open already?): %w", dir, err)
	}
	s.flushes.patient.Store(true)
	if err := s.checkLayout(); err != nil {
		return nil, errors.Join(fmt.Errorf("open log storage in %s: %w", dir, err), s.db.Close())
	}
	return s, nil
}

func newStore(o Options) *Store {
	s := &Store{lost: make(chan struct{}), write: pebble.Sync, now: o.Now, writers: map[int64]*sync.Mutex{}, rooted: map[int64]bool{}}
	if o.NoSync {
		s.write = pebble.NoSync
	}
	return s
}

func (s *Store) pebbleOptions(o Options) *pebble.Options {
	log := newLogger(o.Log)
	s.flushes = &flushWatch{log: log, giveUp: func(cause error) {
		_ = s.fail(cause) // remembered; the next commit returns it
	}}
	po := &pebble.Options{
		FS: o.FS,
		// The newest format frames WAL chunks so that a torn middle is told
		// from a torn end.
		FormatMajorVersion: pebble.FormatNewest,
		MemTableSize:       memTableBytes,
		CacheSize:          cacheBytes,
		MaxOpenFiles:       maxOpenFiles,
		Logger:             log,
		// By default a damaged table ends the process. Here the read that met
		// it fails, and whatever does not need it goes on.
		EventListener: &pebble.EventListener{
			DataCorruption:  func(info pebble.DataCorruptionInfo) { log.Errorf("%s", info) },
			BackgroundError: s.flushes.failure,
			FlushEnd:        func(info pebble.FlushInfo) { s.flushes.ended(info.Err) },
			CompactionEnd:   func(info pebble.CompactionInfo) { s.flushes.ended(info.Err) },
		},
	}
	// Every add asks for an identity that is not there. An index in one piece
	// spares a second block read where the filter says it may be.
	useFilters(po)
	for i := range po.Levels {
		po.Levels[i].IndexBlockSize = indexBlockBytes
	}
	return po
}

// checkLayout refuses rows of another layout and marks a new directory. A crash
// before the mark leaves an empty directory, which the next Open marks.
func (s *Store) checkLayout() error {
	got, found, err := get(s.db, layoutKey())
	if err != nil {
		return err
	}
	if !found {
		return s.db.Set(layoutKey(), []byte{layoutVersion}, s.write)
	}
	if len(got) != 1 || got[0] != layoutVersion {
		return fmt.Errorf("rows have layout %x, this version reads %x", got, layoutVersion)
	}
	return nil
}

// Close waits for open transactions and releases the directory. A Store that
// failed stays locked until the process ends, because its background work can
// no longer be stopped safely.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	failed := s.failed
	s.mu.Unlock()
	if failed != nil {
		return failed
	}
	s.flushes.patient.Store(false)
	s.inFlight.Wait()
	if err := s.unlessLost(s.db.Close); err != nil {
		return fmt.Errorf("close log storage: %w", err)
	}
	return nil
}

// CheckDatabaseAccessible returns nil while the Store works, ErrFailed or an
// error saying that it is closed after that.
func (s *Store) CheckDatabaseAccessible(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.usable()
}

// usable is called with mu held.
func (s *Store) usable() error {
	if s.failed != nil {
		return s.failed
	}
	if s.closed {
		return errors.New("log storage is closed")
	}
	return nil
}

// begin registers a transaction, which must end with s.inFlight.Done.
func (s *Store) begin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil {
		return err
	}
	s.inFlight.Add(1)
	return nil
}

// writer returns the lock that makes read-write transactions of a tree take
// turns, so that what one reads still holds when it commits.
func (s *Store) writer(tree int64) *sync.Mutex {
	s.mu.Lock()
	defer s.mu.Unlock()
	w, ok := s.writers[tree]
	if !ok {
		w = new(sync.Mutex)
		s.writers[tree] = w
	}
	return w
}

// isInitialised spares the transactions of a tree that has a root from asking.
func (s *Store) isInitialised(tree int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rooted[tree]
}

func (s *Store) setInitialised(tree int64, has bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if has {
		s.rooted[tree] = true
	} else {
		delete(s.rooted, tree)
	}
}

// commit applies b durably, all or nothing. An empty batch costs nothing.
//
// Pebble answers a failed WAL write by its logger's Fatalf, or by a panic, in
// this goroutine, and has by then made the batch visible to readers; so the
// failure marks the whole Store.
func (s *Store) commit(b *pebble.Batch) (err error) {
	if b.Empty() {
		return b.Close()
	}
	if err := s.CheckDatabaseAccessible(context.Background()); err != nil {
		return errors.Join(err, b.Close())
	}
	if err := s.room(); err != nil {
		return errors.Join(err, b.Close())
	}
	defer func() {
		if cause := recover(); cause != nil {
			err = s.fail(cause) // b is left alone: the database may still hold it
		}
	}()
	if err := b.Commit(s.write); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return b.Close()
}

// unlessLost runs f, which may wait for tables to be written, and gives it up where
// that is given up.
func (s *Store) unlessLost(f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-s.lost:
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.failed
	}
}

func (s *Store) fail(cause any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.failed = fmt.Errorf("%w: %v", ErrFailed, cause)
		close(s.lost)
	}
	return s.failed
}

// get returns a copy of the value under key.
func get(r pebble.Reader, key []byte) (value []byte, found bool, err error) {
	v, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read row: %w", err)
	}
	value = append(make([]byte, 0, len(v)), v...)
	if err := closer.Close(); err != nil {
		return nil, false, fmt.Errorf("read row: %w", err)
	}
	return value, true, nil
}
