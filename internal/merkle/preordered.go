package merkle

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/trillian"
	"github.com/google/trillian/storage"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

// A tree that is pre-ordered stores a leaf and its index by one call, where others
// queue it first. Trillian's SQL drivers can do so within the transaction that
// integrates it; their queue would need a commit of its own.

// What the drivers for such trees offer beyond Trillian's interfaces.
type (
	// treeTyper says which trees storage is for; one that does not is for logs
	// that are not pre-ordered.
	treeTyper interface{ TreeType() trillian.TreeType }
	// directAdder stores leaves with their indexes. A conflict is in the status of
	// its leaf, not in the error. The time is stored as that of queueing.
	directAdder interface {
		AddSequencedLeaves(ctx context.Context, leaves []*trillian.LogLeaf, at time.Time) ([]*trillian.QueuedLogLeaf, error)
	}
)

func treeTypeOf(s Storage) trillian.TreeType {
	if t, ok := s.(treeTyper); ok {
		return t.TreeType()
	}
	return trillian.TreeType_LOG
}

func isLog(t *trillian.Tree) bool {
	return t.TreeType == trillian.TreeType_LOG || t.TreeType == trillian.TreeType_PREORDERED_LOG
}

// asQueued is the tree as Trillian's sequencer has to see it to number the batch
// and hand it over, which it leaves to others for a tree that is pre-ordered.
func asQueued(t *trillian.Tree) *trillian.Tree {
	t = proto.CloneOf(t)
	t.TreeType = trillian.TreeType_LOG
	return t
}

// storeLeaves stores leaves that have their indexes.
func (t *batchTX) storeLeaves(ctx context.Context, leaves []*trillian.LogLeaf) error {
	if !t.b.preordered {
		return t.LogTreeTX.UpdateSequencedLeaves(ctx, leaves)
	}
	if len(leaves) == 0 {
		return nil
	}
	direct, ok := t.LogTreeTX.(directAdder)
	if !ok {
		return errors.New("this storage driver takes no leaves of a tree that is pre-ordered")
	}
	// The time of queueing is the only one that such a driver stores (Trillian's own
	// tests want the other to read back as 1970), so it has to carry the true one.
	for _, leaf := range leaves {
		leaf.QueueTimestamp = leaf.IntegrateTimestamp
	}
	queued, err := direct.AddSequencedLeaves(ctx, leaves, leaves[0].IntegrateTimestamp.AsTime())
	if err != nil {
		return fmt.Errorf("store leaves from %d on: %w", leaves[0].LeafIndex, err)
	}
	return allStored(leaves, queued)
}

// allStored refuses a batch of which one leaf was not stored: its root would be over
// a leaf that is another's, which forks the log.
func allStored(leaves []*trillian.LogLeaf, queued []*trillian.QueuedLogLeaf) error {
	if len(queued) != len(leaves) {
		return fmt.Errorf("storage answered for %d leaves of %d", len(queued), len(leaves))
	}
	for i, q := range queued {
		if code := codes.Code(q.GetStatus().GetCode()); code != codes.OK {
			return fmt.Errorf("leaf %d was not stored: %v: %s", leaves[i].LeafIndex, code, q.GetStatus().GetMessage())
		}
	}
	return nil
}

// storedEntry converts a leaf that was read.
func (t *Tree) storedEntry(leaf *trillian.LogLeaf) (Entry, error) {
	if t.tree.TreeType == trillian.TreeType_PREORDERED_LOG {
		leaf.IntegrateTimestamp = leaf.QueueTimestamp // see storeLeaves
	}
	return entryOf(leaf)
}

// identityLookup finds the leaves of many identities at once, where each question
// costs a round trip: their indexes by identity, of those that are there.
type identityLookup interface {
	IndexesByIdentity(ctx context.Context, identities [][]byte) (map[string]int64, error)
}

// indexes returns how to find the leaves of ps by their identities.
func indexes(ctx context.Context, tx storage.ReadOnlyLogTreeTX, ps []*pending) (func(identity []byte) (int64, bool, error), error) {
	if many, ok := tx.(identityLookup); ok {
		identities := make([][]byte, len(ps))
		for i, p := range ps {
			identities[i] = p.leaf.Identity[:]
		}
		found, err := many.IndexesByIdentity(ctx, identities)
		return func(identity []byte) (int64, bool, error) {
			index, ok := found[string(identity)]
			return index, ok, nil
		}, err
	}
	ids, ok := tx.(identityIndex)
	if !ok {
		return nil, errors.New("this storage driver has no identity index")
	}
	return func(identity []byte) (int64, bool, error) { return ids.IndexByIdentity(ctx, identity) }, nil
}
