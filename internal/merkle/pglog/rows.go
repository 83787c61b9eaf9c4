package pglog

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// IndexByIdentity returns the index of the leaf with the given identity.
func (t *readTX) IndexByIdentity(ctx context.Context, identity []byte) (index int64, found bool, err error) {
	found, err = t.one(ctx, &index,
		"SELECT SequenceNumber FROM SequencedLeafData WHERE TreeId = $1 AND LeafIdentityHash = $2", t.tree, identity)
	if err != nil {
		return 0, false, fmt.Errorf("read identity: %w", err)
	}
	return index, found, nil
}

// IndexesByIdentity returns the indexes of the leaves with the given identities, by
// identity, of those that are there.
func (t *readTX) IndexesByIdentity(ctx context.Context, identities [][]byte) (map[string]int64, error) {
	ctx, cancel := t.within(ctx)
	defer cancel()
	indexes := map[string]int64{}
	rows, err := t.conn.Query(ctx,
		// One by one for the planner, which may take a whole table to be cheaper than many.
		"SELECT i.identity, i.index FROM (SELECT u.identity, (SELECT s.SequenceNumber FROM SequencedLeafData s "+
			"WHERE s.LeafIdentityHash = u.identity AND s.TreeId = $1) FROM unnest($2::bytea[]) u (identity) OFFSET 0) i (identity, index) "+
			"WHERE i.index IS NOT NULL",
		t.tree, identities)
	if err != nil {
		return nil, t.noted(fmt.Errorf("read identities: %w", err))
	}
	var identity []byte
	var index int64
	_, err = pgx.ForEachRow(rows, []any{&identity, &index}, func() error {
		indexes[string(identity)] = index
		return nil
	})
	if err != nil {
		return nil, t.noted(fmt.Errorf("read identities: %w", err))
	}
	return indexes, nil
}

// GetRow returns the extra row that a write transaction put under key.
func (t *readTX) GetRow(ctx context.Context, key []byte) (value []byte, found bool, err error) {
	found, err = t.one(ctx, &value, "SELECT Value FROM ExtraRow WHERE TreeId = $1 AND Key = $2", t.tree, key)
	if err != nil {
		return nil, false, fmt.Errorf("read extra row: %w", err)
	}
	return value, found, nil
}

// one reads one column of the one row that there may be.
func (t *readTX) one(ctx context.Context, into any, sql string, args ...any) (found bool, err error) {
	ctx, cancel := t.within(ctx)
	defer cancel()
	err = t.conn.QueryRow(ctx, sql, args...).Scan(into)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	return err == nil, t.noted(err)
}

// LastRows calls each with the extra rows of low <= key < high, from the last down,
// at most limit of them, until it returns an error. Key and value are valid during
// the call only.
func (t *readTX) LastRows(ctx context.Context, low, high []byte, limit int, each func(key, value []byte) error) error {
	ctx, cancel := t.within(ctx)
	defer cancel()
	rows, err := t.conn.Query(ctx,
		"SELECT Key, Value FROM ExtraRow WHERE TreeId = $1 AND Key >= $2 AND Key < $3 ORDER BY Key DESC LIMIT $4",
		t.tree, low, high, max(limit, 0))
	if err != nil {
		return t.noted(fmt.Errorf("read extra rows: %w", err))
	}
	var key, value []byte
	if _, err := pgx.ForEachRow(rows, []any{&key, &value}, func() error { return each(key, value) }); err != nil {
		return t.noted(fmt.Errorf("read extra rows: %w", err))
	}
	return nil
}

// PutRow stores an extra row of a service in the same transaction.
func (t *writeTX) PutRow(_ context.Context, key, value []byte) error {
	if value == nil {
		value = []byte{} // as other storage has it
	}
	t.keys, t.values = append(t.keys, key), append(t.values, value)
	return nil
}

// flush writes nodes and extra rows, and drops old roots, all at once.
func (t *writeTX) flush(ctx context.Context) error {
	var batch pgx.Batch
	if err := t.queueSubtrees(&batch); err != nil {
		return fmt.Errorf("store nodes: %w", err)
	}
	t.queueRows(&batch)
	t.queuePrune(&batch)
	if batch.Len() == 0 {
		return nil
	}
	if err := t.conn.SendBatch(ctx, &batch).Close(); err != nil {
		return t.noted(fmt.Errorf("store nodes and extra rows, drop old roots: %w", err))
	}
	return nil
}

// queueRows adds the extra rows to what is to be written. Of equal keys the last
// counts.
func (t *writeTX) queueRows(batch *pgx.Batch) {
	if len(t.keys) == 0 {
		return
	}
	last := make(map[string]int, len(t.keys))
	for i, key := range t.keys {
		last[string(key)] = i
	}
	keys, values := make([][]byte, 0, len(last)), make([][]byte, 0, len(last))
	for i, key := range t.keys {
		if last[string(key)] == i {
			keys, values = append(keys, key), append(values, t.values[i])
		}
	}
	batch.Queue("INSERT INTO ExtraRow (TreeId, Key, Value) SELECT $1, r.k, r.v FROM unnest($2::bytea[], $3::bytea[]) r (k, v) "+
		"ON CONFLICT (TreeId, Key) DO UPDATE SET Value = EXCLUDED.Value", t.tree, keys, values)
}
