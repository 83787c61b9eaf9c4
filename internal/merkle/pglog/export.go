package pglog

import (
	"context"
	"fmt"
	"time"

	"github.com/google/trillian"
	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// What follows reads a log as it is, for a copy of it in other storage.
//
// The engine keeps the time of integration where Trillian's driver has that of
// queueing, and the driver leaves the column of the other one 0. A leaf that was copied
// from storage that has both times has its time of queueing there.

// ExportLeaves returns the leaves of a tree from index first on, in order: at most
// count, and none behind the one that makes them more than size bytes; none where the
// leaves end.
func (s *Store) ExportLeaves(ctx context.Context, tree int64, first uint64, count, size int) ([]*trillian.LogLeaf, error) {
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	rows, err := s.readers.Query(ctx,
		"SELECT s.SequenceNumber, s.MerkleLeafHash, s.LeafIdentityHash, l.LeafValue, l.ExtraData, l.QueueTimestampNanos, s.IntegrateTimestampNanos "+
			"FROM SequencedLeafData s JOIN LeafData l ON l.LeafIdentityHash = s.LeafIdentityHash AND l.TreeId = s.TreeId "+
			"WHERE s.TreeId = $1 AND s.SequenceNumber >= $2 AND s.SequenceNumber < $3 ORDER BY s.SequenceNumber",
		tree, int64(first), int64(first)+int64(count))
	if err != nil {
		return nil, fmt.Errorf("read leaves: %w", err)
	}
	defer rows.Close()
	var leaves []*trillian.LogLeaf
	for size > 0 && rows.Next() {
		leaf := new(trillian.LogLeaf)
		var integrated, queued int64
		if err := rows.Scan(&leaf.LeafIndex, &leaf.MerkleLeafHash, &leaf.LeafIdentityHash, &leaf.LeafValue, &leaf.ExtraData, &integrated, &queued); err != nil {
			return nil, fmt.Errorf("read leaves: %w", err)
		}
		if want := int64(first) + int64(len(leaves)); leaf.LeafIndex != want {
			return nil, fmt.Errorf("tree %d: leaf %d is missing", tree, want)
		}
		if queued == 0 {
			queued = integrated
		}
		leaf.IntegrateTimestamp, leaf.QueueTimestamp = timestamp(integrated), timestamp(queued)
		leaves, size = append(leaves, leaf), size-len(leaf.LeafValue)-len(leaf.ExtraData)
	}
	rows.Close()
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read leaves: %w", err)
	}
	return leaves, nil
}

func timestamp(nanos int64) *timestamppb.Timestamp { return timestamppb.New(time.Unix(0, nanos)) }

// ExportRows returns the services' rows of a tree behind the key after, in the order
// of keys: at most count, and none behind the one that makes them more than size bytes.
// A nil after is before every key.
func (s *Store) ExportRows(ctx context.Context, tree int64, after []byte, count, size int) (keys, values [][]byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	rows, err := s.readers.Query(ctx,
		"SELECT Key, Value FROM ExtraRow WHERE TreeId = $1 AND Key >= $2 AND ($3 OR Key <> $2) ORDER BY Key LIMIT $4",
		tree, append([]byte{}, after...), after == nil, count)
	if err != nil {
		return nil, nil, fmt.Errorf("read extra rows: %w", err)
	}
	defer rows.Close()
	for size > 0 && rows.Next() {
		var key, value []byte
		if err := rows.Scan(&key, &value); err != nil {
			return nil, nil, fmt.Errorf("read extra rows: %w", err)
		}
		keys, values, size = append(keys, key), append(values, value), size-len(key)-len(value)
	}
	rows.Close()
	if err := rows.Err(); err != nil {
		return nil, nil, fmt.Errorf("read extra rows: %w", err)
	}
	return keys, values, nil
}

// moved is behind the name of a tree that goes on in other storage; logcopy knows it.
const moved = " (moved)"

// Retire freezes a tree for good, since a copy of it goes on elsewhere, and puts that
// into its name. Whoever still has it open writes nothing any more: the guards of the
// schema see to that. Again, it does nothing.
func (s *Store) Retire(ctx context.Context, tree int64) error {
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	err := pgx.BeginFunc(ctx, s.writers, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "UPDATE Trees SET TreeState = 'FROZEN', DisplayName = DisplayName || $2 "+
			"WHERE TreeId = $1 AND right(DisplayName, length($2)) <> $2", tree, moved)
		return err
	})
	if err != nil {
		return fmt.Errorf("retire tree %d: %w", tree, err)
	}
	return nil
}
