package dexstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dexidp/dex/storage"
)

// table holds the rows of one kind of resource. Its methods return
// storage.ErrNotFound and storage.ErrAlreadyExists unwrapped, because Dex
// compares them with ==.
type table[T any] struct {
	store   *Store
	name    string
	expired func(v T, now time.Time) bool // nil: rows never expire
}

func (t table[T]) create(v T, id ...string) error {
	row, err := encodeRow(v)
	if err != nil {
		return fmt.Errorf("create %s: %w", t.name, err)
	}
	key := rowKey(t.name, id...)
	return t.store.rows.write(func(w writer) error {
		switch _, err := t.store.get(w, key); {
		case err == nil:
			return storage.ErrAlreadyExists
		case !errors.Is(err, storage.ErrNotFound):
			return err
		}
		return t.store.put(w, key, row)
	})
}

func (t table[T]) get(id ...string) (T, error) {
	row, err := t.store.read(rowKey(t.name, id...))
	if err != nil {
		var none T
		return none, err
	}
	return t.decode(row)
}

func (t table[T]) delete(id ...string) error {
	key := rowKey(t.name, id...)
	return t.store.rows.write(func(w writer) error {
		if _, err := t.store.get(w, key); err != nil {
			return err
		}
		return w.delete(key)
	})
}

// update replaces a row by what updater makes of it. The updater runs once, with
// no other updater on the same row beside it; a row deleted meanwhile stays so.
func (t table[T]) update(ctx context.Context, updater func(T) (T, error), id ...string) error {
	return t.change(ctx, updater, false, id...)
}

// upsert is update, but an absent row is given to updater as the zero value.
func (t table[T]) upsert(ctx context.Context, updater func(T) (T, error), id ...string) error {
	return t.change(ctx, updater, true, id...)
}

func (t table[T]) change(ctx context.Context, updater func(T) (T, error), create bool, id ...string) error {
	key := rowKey(t.name, id...)
	done, err := t.store.turns.take(ctx, string(key), t.store.turn)
	if err != nil {
		return fmt.Errorf("update %s: %w", t.name, err)
	}
	defer done()

	before, err := t.store.read(key)
	if err != nil && !(create && errors.Is(err, storage.ErrNotFound)) {
		return err
	}
	var old T
	if before != nil {
		if old, err = t.decode(before); err != nil {
			return err
		}
	}
	v, err := updater(old)
	if err != nil {
		return err
	}
	after, err := encodeRow(v)
	if err != nil {
		return fmt.Errorf("update %s: %w", t.name, err)
	}
	return t.store.rows.write(func(w writer) error {
		if err := t.unchanged(w, key, before); err != nil {
			return err
		}
		return t.store.put(w, key, after)
	})
}

// unchanged guards an update against a create or delete, which take no turn.
func (t table[T]) unchanged(w reader, key, before []byte) error {
	now, err := t.store.get(w, key)
	switch {
	case before == nil && errors.Is(err, storage.ErrNotFound):
		return nil
	case err != nil:
		return err
	case before == nil || !bytes.Equal(now, before):
		return fmt.Errorf("update %s: %w", t.name, errConflict)
	}
	return nil
}

// list returns every row, in key order.
func (t table[T]) list() ([]T, error) {
	var all []T
	err := t.store.rows.read(func(r reader) error {
		return t.store.scan(r, t.name, func(_, row []byte) error {
			v, err := t.decode(row)
			all = append(all, v)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// collect adds the deletion of every expired row to b and counts them.
func (t table[T]) collect(w writer, now time.Time, count *int64) error {
	return t.store.scan(w, t.name, func(key, row []byte) error {
		v, err := t.decode(row)
		if err != nil || !t.expired(v, now) {
			return err
		}
		*count++
		return w.delete(key)
	})
}

func (t table[T]) decode(row []byte) (T, error) {
	v, err := decodeRow[T](row)
	if err != nil {
		return v, fmt.Errorf("read %s: %w", t.name, err)
	}
	return v, nil
}
