package pebblelog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// GetRow returns the extra row that a write transaction put under key.
func (t *readTX) GetRow(_ context.Context, key []byte) (value []byte, found bool, err error) {
	return get(t.rows, extraKey(t.tree.TreeId, key))
}

// LastRows calls each with the extra rows of low <= key < high, from the last
// down, at most limit of them, until it returns an error. Key and value are
// valid during the call only.
func (t *readTX) LastRows(_ context.Context, low, high []byte, limit int, each func(key, value []byte) error) (err error) {
	prefix := len(dataKey(t.tree.TreeId, kindExtra))
	low, high = extraKey(t.tree.TreeId, low), extraKey(t.tree.TreeId, high)
	it, err := t.rows.NewIter(&pebble.IterOptions{LowerBound: low, UpperBound: high})
	if err != nil {
		return fmt.Errorf("read extra rows: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	few, all, err := fewRows(it, low, high)
	if err != nil {
		return err
	}
	if all {
		for _, row := range slices.Backward(few[max(0, len(few)-limit):]) {
			if err := each(row.key[prefix:], row.value); err != nil {
				return err
			}
		}
		return nil
	}
	for ok := it.Last(); ok && limit > 0; ok = it.Prev() {
		value, err := it.ValueAndErr()
		if err != nil {
			return fmt.Errorf("read extra row: %w", err)
		}
		if err := each(it.Key()[prefix:], value); err != nil {
			return err
		}
		limit--
	}
	return it.Error()
}

type extraRow struct{ key, value []byte }

// most is how many rows fewRows takes for few.
const most = 8

// fewRows returns the rows of low <= key < high, if they have one stem and are few;
// all tells whether they were. Going back from the end has to look into every level
// of the database, where going on from a stem passes over the tables whose filter
// has not got it: mostly all but one.
func fewRows(it *pebble.Iterator, low, high []byte) (rows []extraRow, all bool, err error) {
	if !bytes.Equal(low[:stemOf(low)], high[:stemOf(high)]) {
		return nil, false, nil
	}
	for ok := it.SeekPrefixGE(low); ok; ok = it.Next() {
		if len(rows) == most {
			return nil, false, nil
		}
		value, err := it.ValueAndErr()
		if err != nil {
			return nil, false, fmt.Errorf("read extra row: %w", err)
		}
		rows = append(rows, extraRow{bytes.Clone(it.Key()), bytes.Clone(value)})
	}
	if err := it.Error(); err != nil {
		return nil, false, fmt.Errorf("read extra rows: %w", err)
	}
	return rows, true, nil
}

// PutRow stores an extra row of a service in the same commit.
func (t *writeTX) PutRow(_ context.Context, key, value []byte) error {
	return t.batch.Set(extraKey(t.tree.TreeId, key), value, nil)
}
