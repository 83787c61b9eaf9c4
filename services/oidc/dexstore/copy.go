package dexstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/dexidp/dex/storage"
	"github.com/jackc/pgx/v5"

	"sigstack/internal/fault"
)

// Copied is what one storage holds of another.
type Copied struct {
	Rows          int `json:"rows"` // of all kinds, logins under way among them
	RefreshTokens int `json:"refresh_tokens"`
}

// copied is a row as it is stored.
type copied struct{ key, box []byte }

// bulk is what an engine can do with all its rows at once. They are held in memory: a
// row or two for each person, and the logins of the last minutes.
type bulk interface {
	all(ctx context.Context) ([]copied, error)
	// replace makes rows the only ones, durably; nothing changes when it fails.
	replace(ctx context.Context, rows []copied) error
}

// ErrNewer is why Copy does not overwrite rows of the same issuer.
var ErrNewer = errors.New("the rows there are newer than those to be copied")

// Copy makes to hold what from does, and nothing else, in one step, and reads it again;
// if from has nothing, it does nothing. Nobody may use either meanwhile, and both need
// the same secret. It refuses, with fault.Conflict, rows of another issuer and rows of
// this one that are newer, when the error matches ErrNewer too.
func Copy(ctx context.Context, from, to *Store) (Copied, error) {
	var n Copied
	rows, err := from.bulk().all(ctx)
	if err != nil {
		return n, fmt.Errorf("read the issuer's rows: %w", err)
	}
	if len(rows) == 0 {
		return n, nil
	}
	for i, row := range rows {
		if strings.HasPrefix(string(row.key), from.tables.refreshTokens.name+"/") {
			n.RefreshTokens++
		}
		plain, err := from.seal.open(row.key, row.box)
		if err != nil {
			return n, err
		}
		rows[i].box = to.seal.close(row.key, plain)
	}
	n.Rows = len(rows)
	if err := mayReplace(ctx, from, to); err != nil {
		return n, err
	}
	if err := to.bulk().replace(ctx, rows); err != nil {
		return n, fmt.Errorf("write the issuer's rows: %w", err)
	}
	got, err := to.bulk().all(ctx)
	if err != nil {
		return n, fmt.Errorf("read the issuer's rows again: %w", err)
	}
	if !sameRows(got, rows) {
		return n, errors.New("the issuer's rows that are read differ from those that were written")
	}
	return n, nil
}

// Clear takes every row away, from a place that its issuer has left.
func (s *Store) Clear(ctx context.Context) error {
	if err := s.bulk().replace(ctx, nil); err != nil {
		return fmt.Errorf("clear the issuer's old place: %w", err)
	}
	return nil
}

// bulk is what every engine can do.
func (s *Store) bulk() bulk { return s.rows.(bulk) } //nolint:forcetypeassert // TestEveryEngineCopies

// mayReplace refuses to overwrite what somebody may still need. An issuer in use has
// new keys every day: of two storages of one the newer is known by that.
func mayReplace(ctx context.Context, from, to *Store) error {
	have, err := to.bulk().all(ctx)
	if err != nil {
		return fmt.Errorf("look at the issuer's new place: %w", err)
	}
	for _, row := range have {
		if _, err := to.seal.open(row.key, row.box); err != nil {
			return fault.Wrap(fault.Conflict, err, "the new place has rows of another issuer")
		}
	}
	before, err := to.tables.keys.get()
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	now, err := from.tables.keys.get()
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	if before.NextRotation.After(now.NextRotation) {
		return fault.Wrap(fault.Conflict, ErrNewer, "the new place has rows of this issuer")
	}
	return nil
}

func sameRows(a, b []copied) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !bytes.Equal(a[i].key, b[i].key) || !bytes.Equal(a[i].box, b[i].box) {
			return false
		}
	}
	return true
}

func (e *embedded) all(ctx context.Context) (rows []copied, err error) {
	err = e.read(func(r reader) error {
		return r.scan(nil, nil, func(key, box []byte) error {
			rows = append(rows, copied{bytes.Clone(key), bytes.Clone(box)})
			return ctx.Err()
		})
	})
	return rows, err
}

func (e *embedded) replace(ctx context.Context, rows []copied) error {
	have, err := e.all(ctx)
	if err != nil {
		return err
	}
	return e.write(func(w writer) error {
		for _, row := range have {
			if err := w.delete(row.key); err != nil {
				return err
			}
		}
		for _, row := range rows {
			if err := w.set(row.key, row.box); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
}

func (e *shared) all(ctx context.Context) ([]copied, error) {
	rows, err := e.rows.Query(ctx, "SELECT Key, Box FROM Issuer ORDER BY Key")
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (copied, error) {
		var key string
		var box []byte
		err := row.Scan(&key, &box)
		return copied{[]byte(key), box}, err
	})
}

func (e *shared) replace(ctx context.Context, rows []copied) error {
	return pgx.BeginFunc(ctx, e.rows, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", e.lock); err != nil {
			return fmt.Errorf("wait for other writes: %w", err)
		}
		if _, err := tx.Exec(ctx, "DELETE FROM Issuer"); err != nil {
			return err
		}
		_, err := tx.CopyFrom(ctx, pgx.Identifier{"issuer"}, []string{"key", "box"}, pgx.CopyFromSlice(len(rows), func(i int) ([]any, error) {
			return []any{string(rows[i].key), rows[i].box}, nil
		}))
		return err
	})
}
