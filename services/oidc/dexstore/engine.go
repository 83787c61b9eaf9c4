package dexstore

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/dexidp/dex/storage"
)

// engine keeps sealed rows by key. Its errors are unwrapped where they are those of
// what it was given to run.
type engine interface {
	// read runs f, which may keep no rows beyond its end.
	read(f func(reader) error) error
	// write runs f with no other write beside it, in this process or another, and
	// makes what it wrote durable before it returns; nothing, when f fails.
	write(f func(writer) error) error
	close() error
}

// reader reads rows. Keys and boxes that it passes on are valid during the call.
type reader interface {
	get(key []byte) (box []byte, err error) // storage.ErrNotFound: none
	// scan visits the rows from lower up to upper, without that, in the order of keys.
	scan(lower, upper []byte, visit func(key, box []byte) error) error
}

// writer reads rows as they were before its own writes, at least.
type writer interface {
	reader
	set(key, box []byte) error
	delete(key []byte) error
}

// embedded is the engine in a directory.
type embedded struct {
	db *pebble.DB

	// mu is held shared by reads and alone by a write until it is on disk, so
	// nobody acts on a row that a power cut could take back.
	mu     sync.RWMutex
	closed bool
}

func (e *embedded) read(f func(reader) error) error {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.closed {
		return errClosed
	}
	return f(pebbleReader{e.db})
}

func (e *embedded) write(f func(writer) error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return errClosed
	}
	batch := e.db.NewBatch()
	if err := f(pebbleWriter{pebbleReader{e.db}, batch}); err != nil {
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

// close waits for operations under way. A second one does nothing.
func (e *embedded) close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil
	}
	e.closed = true
	return e.db.Close()
}

type pebbleReader struct{ db *pebble.DB }

func (r pebbleReader) get(key []byte) ([]byte, error) {
	value, closer, err := r.db.Get(key)
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
	return box, nil
}

func (r pebbleReader) scan(lower, upper []byte, visit func(key, box []byte) error) (err error) {
	iter, err := r.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, iter.Close()) }()
	for ok := iter.First(); ok; ok = iter.Next() {
		box, err := iter.ValueAndErr()
		if err != nil {
			return err
		}
		if err := visit(iter.Key(), box); err != nil {
			return err
		}
	}
	return iter.Error()
}

type pebbleWriter struct {
	pebbleReader
	batch *pebble.Batch
}

func (w pebbleWriter) set(key, box []byte) error { return w.batch.Set(key, box, nil) }
func (w pebbleWriter) delete(key []byte) error   { return w.batch.Delete(key, nil) }
