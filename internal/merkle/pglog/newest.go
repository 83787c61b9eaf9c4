package pglog

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/trillian/types"
	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// NewestRoot returns the newest root of a tree, and whether the tree is frozen, as
// committed when it asks, in one statement.
func (s *Store) NewestRoot(ctx context.Context, tree int64) (*types.LogRootV1, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	var size, nanos int64
	var root []byte
	var frozen bool
	err := s.readers.QueryRow(ctx, "SELECT h.TreeSize, h.RootHash, h.TreeHeadTimestamp, t.TreeState = 'FROZEN' "+
		"FROM TreeHead h JOIN Trees t ON t.TreeId = h.TreeId WHERE h.TreeId = $1 ORDER BY h.TreeHeadTimestamp DESC LIMIT 1",
		tree).Scan(&size, &root, &nanos, &frozen)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, false, status.Errorf(codes.NotFound, "tree %d has no root", tree)
	}
	if err != nil {
		return nil, false, away(fmt.Errorf("read newest root: %w", err))
	}
	return &types.LogRootV1{TreeSize: uint64(size), RootHash: root, TimestampNanos: uint64(nanos)}, frozen, nil
}
