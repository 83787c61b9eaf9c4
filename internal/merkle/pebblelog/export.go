package pebblelog

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/google/trillian"
)

// What follows reads a log as it is, for a copy of it in other storage.

// ExportLeaves returns the leaves of a tree from index first on, in order: at most
// count, and none behind the one that makes them more than size bytes; none where the
// leaves end.
func (s *Store) ExportLeaves(_ context.Context, id int64, first uint64, count, size int) (leaves []*trillian.LogLeaf, err error) {
	rows, end, err := s.snapshot()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, end()) }()
	it, err := rows.NewIter(&pebble.IterOptions{LowerBound: leafKey(id, first), UpperBound: dataKey(id, kindLeaf+1)})
	if err != nil {
		return nil, fmt.Errorf("read leaves: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok && len(leaves) < count && size > 0; ok = it.Next() {
		want := first + uint64(len(leaves))
		index, err := indexOf(it.Key())
		if err != nil {
			return nil, err
		}
		if index != want {
			return nil, fmt.Errorf("tree %d: leaf %d is missing", id, want)
		}
		row, err := it.ValueAndErr()
		if err != nil {
			return nil, fmt.Errorf("read leaf %d: %w", want, err)
		}
		leaf, err := decodeLeaf(bytes.Clone(row), int64(want))
		if err != nil {
			return nil, fmt.Errorf("read leaf %d: %w", want, err)
		}
		leaves, size = append(leaves, leaf), size-len(row)
	}
	return leaves, it.Error()
}

// ExportRows returns the services' rows of a tree behind the key after, in the order
// of keys: at most count, and none behind the one that makes them more than size bytes.
// A nil after is before every key.
func (s *Store) ExportRows(_ context.Context, id int64, after []byte, count, size int) (keys, values [][]byte, err error) {
	rows, end, err := s.snapshot()
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, end()) }()
	low := extraKey(id, after)
	if after != nil {
		low = append(low, 0) // the least key behind it
	}
	it, err := rows.NewIter(&pebble.IterOptions{LowerBound: low, UpperBound: dataKey(id, kindExtra+1)})
	if err != nil {
		return nil, nil, fmt.Errorf("read extra rows: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	prefix := len(dataKey(id, kindExtra))
	for ok := it.First(); ok && len(keys) < count && size > 0; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return nil, nil, fmt.Errorf("read extra row: %w", err)
		}
		keys, values = append(keys, bytes.Clone(it.Key()[prefix:])), append(values, bytes.Clone(value))
		size -= len(it.Key()) + len(value)
	}
	return keys, values, it.Error()
}
