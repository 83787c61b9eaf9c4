package pglog

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"sigstack/internal/merkle"
	"sigstack/internal/merkle/fsck"
)

var _ fsck.Database = (*Store)(nil)

// Rows returns the extra rows low <= key < high of a tree, in the order of their keys,
// at most limit of them.
func (s *Store) Rows(ctx context.Context, tree int64, low, high []byte, limit int) ([]merkle.Row, error) {
	return s.rows(ctx, "SELECT Key, Value FROM ExtraRow WHERE TreeId = $1 AND Key >= $2 AND Key < $3 ORDER BY Key LIMIT $4",
		tree, low, high, max(limit, 0))
}

// RowsAt returns the values of those extra rows of a tree that are there, by key.
func (s *Store) RowsAt(ctx context.Context, tree int64, keys [][]byte) (map[string][]byte, error) {
	rows, err := s.rows(ctx, "SELECT Key, Value FROM ExtraRow WHERE TreeId = $1 AND Key = ANY ($2)", tree, keys)
	if err != nil {
		return nil, err
	}
	values := make(map[string][]byte, len(rows))
	for _, row := range rows {
		values[string(row.Key)] = row.Value
	}
	return values, nil
}

func (s *Store) rows(ctx context.Context, sql string, args ...any) ([]merkle.Row, error) {
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	found, err := s.readers.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("read extra rows: %w", err)
	}
	rows, err := pgx.CollectRows(found, func(r pgx.CollectableRow) (row merkle.Row, err error) {
		err = r.Scan(&row.Key, &row.Value)
		return row, err
	})
	if err != nil {
		return nil, fmt.Errorf("read extra rows: %w", err)
	}
	return rows, nil
}

// ChangeRows writes extra rows of a tree and removes others, in one commit. Whoever
// adds entries meanwhile waits for none of it.
func (s *Store) ChangeRows(ctx context.Context, tree int64, write []merkle.Row, remove [][]byte) error {
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	err := pgx.BeginFunc(ctx, s.writers, func(tx pgx.Tx) error {
		t := writeTX{readTX: readTX{conn: tx.Conn(), tree: tree, timeout: s.o.Timeout}}
		for _, row := range write {
			if err := t.PutRow(ctx, row.Key, row.Value); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, "DELETE FROM ExtraRow WHERE TreeId = $1 AND Key = ANY ($2)", tree, remove)
		return errors.Join(t.flush(ctx), err)
	})
	if err != nil {
		return fmt.Errorf("change extra rows: %w", err)
	}
	return nil
}
