package pglog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/trillian"
	"github.com/google/trillian/storage/cache"
	"github.com/google/trillian/storage/storagepb"
	"github.com/google/trillian/storage/tree"
	"github.com/jackc/pgx/v5"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Trillian's driver stores leaves and nodes by temporary tables, which cost more than
// what is stored: each is made and dropped in the system's catalogues. What follows
// hands the same rows over as arrays.

// What is there already is asked for leaf by leaf: EXISTS lets the planner read a
// whole table instead. The time of integration is 0, as Trillian's driver has it: the
// engine carries the true one in the time of queueing.
const storeLeaves = `
WITH given AS MATERIALIZED (
	SELECT n.*,
		(SELECT true FROM LeafData l WHERE l.TreeId = $1 AND l.LeafIdentityHash = n.identity) IS TRUE AS known,
		(SELECT true FROM SequencedLeafData s WHERE s.TreeId = $1 AND s.SequenceNumber = n.index) IS TRUE AS taken
	FROM unnest($2::bytea[], $3::bytea[], $4::bytea[], $5::bytea[], $6::bigint[]) WITH ORDINALITY n (identity, value, extra, hash, index, place)
), said AS (
	INSERT INTO LeafData (TreeId, LeafIdentityHash, LeafValue, ExtraData, QueueTimestampNanos)
	SELECT $1, g.identity, g.value, g.extra, $7 FROM given g WHERE NOT g.known AND NOT g.taken
), placed AS (
	INSERT INTO SequencedLeafData (TreeId, SequenceNumber, LeafIdentityHash, MerkleLeafHash, IntegrateTimestampNanos)
	SELECT $1, g.index, g.identity, g.hash, 0 FROM given g WHERE NOT g.known AND NOT g.taken
)
SELECT g.place, g.known FROM given g WHERE g.known OR g.taken`

// AddSequencedLeaves stores leaves with their indexes. The status of each says
// whether it was; the caller has to abort unless all were.
func (t *writeTX) AddSequencedLeaves(ctx context.Context, leaves []*trillian.LogLeaf, at time.Time) ([]*trillian.QueuedLogLeaf, error) {
	var identities, values, extras, hashes [][]byte
	var indexes []int64
	queued := make([]*trillian.QueuedLogLeaf, len(leaves))
	ok := status.New(codes.OK, "OK").Proto()
	for i, l := range leaves {
		if n := len(l.LeafIdentityHash); n != 32 {
			return nil, status.Errorf(codes.FailedPrecondition, "identity of leaf %d has %d bytes, want 32", i, n)
		}
		identities, values = append(identities, l.LeafIdentityHash), append(values, l.LeafValue)
		extras, hashes = append(extras, l.ExtraData), append(hashes, l.MerkleLeafHash)
		indexes = append(indexes, l.LeafIndex)
		queued[i] = &trillian.QueuedLogLeaf{Status: ok}
	}
	var batch pgx.Batch
	batch.Queue("SELECT lock_tree($1)", t.tree) // first: what follows sees what others stored
	refused := batch.Queue(storeLeaves, t.tree, identities, values, extras, hashes, indexes, at.UnixNano())
	refused.Query(func(rows pgx.Rows) error {
		var place int64
		var known bool
		_, err := pgx.ForEachRow(rows, []any{&place, &known}, func() error {
			text := "conflicting LeafIndex"
			if known {
				text = "conflicting LeafIdentityHash"
			}
			queued[place-1].Status = status.New(codes.FailedPrecondition, text).Proto()
			return nil
		})
		return err
	})
	if err := t.conn.SendBatch(ctx, &batch).Close(); err != nil {
		return nil, t.noted(fmt.Errorf("store leaves: %w", err))
	}
	return queued, nil
}

// nodes are those that a transaction has read and set.
func (t *writeTX) nodes() *cache.SubtreeCache {
	if t.subtrees == nil {
		t.subtrees = cache.NewLogSubtreeCache(rfc6962.DefaultHasher)
	}
	return t.subtrees
}

// GetMerkleNodes reads nodes, those that were set included.
func (t *writeTX) GetMerkleNodes(ctx context.Context, ids []compact.NodeID) ([]tree.Node, error) {
	nodes, err := t.nodes().GetNodes(ids, t.readSubtrees(ctx))
	return nodes, t.noted(err)
}

// SetMerkleNodes stores nodes, when the transaction is about to be committed.
func (t *writeTX) SetMerkleNodes(ctx context.Context, nodes []tree.Node) error {
	return t.noted(t.nodes().SetNodes(nodes, t.readSubtrees(ctx)))
}

func (t *writeTX) readSubtrees(ctx context.Context) cache.GetSubtreesFunc {
	return func(ids [][]byte) ([]*storagepb.SubtreeProto, error) {
		if len(ids) == 0 {
			return nil, nil
		}
		rows, err := t.conn.Query(ctx, "SELECT Nodes FROM Subtree WHERE TreeId = $1 AND SubtreeId = ANY($2)", t.tree, ids)
		if err != nil {
			return nil, fmt.Errorf("read nodes: %w", err)
		}
		var subtrees []*storagepb.SubtreeProto
		var encoded []byte
		_, err = pgx.ForEachRow(rows, []any{&encoded}, func() error {
			s := new(storagepb.SubtreeProto)
			if err := proto.Unmarshal(encoded, s); err != nil {
				return err
			}
			if s.Prefix == nil {
				s.Prefix = []byte{} // the topmost, which the cache tells from none
			}
			subtrees = append(subtrees, s)
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read nodes: %w", err)
		}
		return subtrees, nil
	}
}

// queueSubtrees adds the nodes that were set to what is to be written.
func (t *writeTX) queueSubtrees(batch *pgx.Batch) error {
	if t.subtrees == nil {
		return nil
	}
	subtrees, err := t.subtrees.UpdatedTiles()
	if err != nil || len(subtrees) == 0 {
		return err
	}
	ids, encoded := make([][]byte, len(subtrees)), make([][]byte, len(subtrees))
	for i, s := range subtrees {
		if s.Prefix == nil {
			return errors.New("nodes without a place")
		}
		ids[i] = s.Prefix
		if encoded[i], err = proto.Marshal(s); err != nil {
			return err
		}
	}
	batch.Queue("INSERT INTO Subtree (TreeId, SubtreeId, Nodes) SELECT $1, s.i, s.n FROM unnest($2::bytea[], $3::bytea[]) s (i, n) "+
		"ON CONFLICT ON CONSTRAINT Subtree_pk DO UPDATE SET Nodes = EXCLUDED.Nodes", t.tree, ids, encoded)
	return nil
}
