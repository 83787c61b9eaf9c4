package pebblelog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/google/trillian"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// QueueLeaves stores leaves to be sequenced later. A leaf whose identity is
// known, or came earlier in the call, is answered AlreadyExists with the
// original.
func (s *Store) QueueLeaves(_ context.Context, t *trillian.Tree, leaves []*trillian.LogLeaf, queued time.Time) ([]*trillian.QueuedLogLeaf, error) {
	res := make([]*trillian.QueuedLogLeaf, len(leaves))
	err := s.update(t, func(tx *writeTX) error {
		if _, err := tx.newestRoot(); err != nil {
			return err
		}
		fresh := map[string]*trillian.LogLeaf{}
		for i, leaf := range leaves {
			original, err := tx.queue(leaf, fresh, queued)
			if err != nil {
				return err
			}
			res[i] = &trillian.QueuedLogLeaf{Leaf: leaf}
			if original != nil {
				res[i] = &trillian.QueuedLogLeaf{Leaf: original, Status: status.New(codes.AlreadyExists, "leaf already exists").Proto()}
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return res, nil
}

// queue stores one leaf, or returns the original of its identity.
func (t *writeTX) queue(leaf *trillian.LogLeaf, fresh map[string]*trillian.LogLeaf, queued time.Time) (*trillian.LogLeaf, error) {
	if original, ok := fresh[string(leaf.LeafIdentityHash)]; ok {
		return original, nil
	}
	original, err := t.leafOf(leaf.LeafIdentityHash)
	if err != nil || original != nil {
		return original, err
	}
	leaf.QueueTimestamp = timestamppb.New(queued)
	row, err := encodeLeaf(leaf)
	if err != nil {
		return nil, fmt.Errorf("queue leaf: %w", err)
	}
	fresh[string(leaf.LeafIdentityHash)] = leaf
	at := queued.UnixNano()
	if err := t.batch.Set(queueKey(t.tree.TreeId, at, leaf.LeafIdentityHash), row, nil); err != nil {
		return nil, err
	}
	p := place{queued: true, at: orderedTime(at)}
	return nil, t.batch.Set(identityKey(t.tree.TreeId, leaf.LeafIdentityHash), p.encode(), nil)
}

// leafOf returns the leaf of an identity wherever it is, nil if nowhere.
func (t *writeTX) leafOf(identity []byte) (*trillian.LogLeaf, error) {
	p, found, err := t.placeOf(identity)
	if err != nil || !found {
		return nil, err
	}
	if !p.queued {
		leaf, found, err := t.leafAt(p.at)
		if err == nil && !found {
			err = fmt.Errorf("tree %d: identity %x points to leaf %d, which is missing", t.tree.TreeId, identity, p.at)
		}
		return leaf, err
	}
	at := int64(p.at ^ 1<<63)
	row, found, err := get(t.rows, queueKey(t.tree.TreeId, at, identity))
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, fmt.Errorf("tree %d: identity %x points into the queue, where it is missing", t.tree.TreeId, identity)
	}
	return decodeLeaf(row, 0)
}

// DequeueLeaves returns up to limit leaves to integrate: from the queue, oldest
// first and none younger than cutoff, or, in a pre-ordered log, those that
// follow the tree. Asking again in the same transaction gives the next ones.
func (t *writeTX) DequeueLeaves(_ context.Context, limit int, cutoff time.Time) (leaves []*trillian.LogLeaf, err error) {
	if t.tree.TreeType == trillian.TreeType_PREORDERED_LOG {
		size, err := t.size()
		if err != nil {
			return nil, err
		}
		return t.scanLeaves(size, int64(limit))
	}
	it, err := t.rows.NewIter(&pebble.IterOptions{
		LowerBound: dataKey(t.tree.TreeId, kindQueue),
		UpperBound: queueKey(t.tree.TreeId, cutoff.UnixNano()+1, nil),
	})
	if err != nil {
		return nil, fmt.Errorf("read queue: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok && len(leaves) < limit; ok = it.Next() {
		row, err := it.ValueAndErr()
		if err != nil {
			return nil, fmt.Errorf("read queue: %w", err)
		}
		leaf, err := decodeLeaf(bytes.Clone(row), 0)
		if err != nil {
			return nil, fmt.Errorf("read queue: %w", err)
		}
		if _, taken := t.dequeued[string(leaf.LeafIdentityHash)]; taken {
			continue
		}
		t.dequeued[string(leaf.LeafIdentityHash)] = leaf
		leaves = append(leaves, leaf)
	}
	return leaves, it.Error()
}

// UpdateSequencedLeaves stores leaves under the index they were given and takes
// them off the queue. A leaf that never was in the queue is stored as it is:
// that is how the engine stores and integrates a batch in one commit.
func (t *writeTX) UpdateSequencedLeaves(_ context.Context, leaves []*trillian.LogLeaf) error {
	size, err := t.size()
	if err != nil {
		return err
	}
	for _, leaf := range leaves {
		if leaf.LeafIndex < size {
			return fmt.Errorf("tree %d has %d leaves, refusing to store another leaf %d", t.tree.TreeId, size, leaf.LeafIndex)
		}
		if queued, ok := t.dequeued[string(leaf.LeafIdentityHash)]; ok {
			key := queueKey(t.tree.TreeId, nanos(queued.QueueTimestamp), leaf.LeafIdentityHash)
			if err := t.batch.Delete(key, nil); err != nil {
				return err
			}
		}
		if err := t.setLeaf(leaf); err != nil {
			return err
		}
	}
	return nil
}

// AddSequencedLeaves stores leaves at the index each brings, in one commit. One
// whose index or identity is taken is left out and answered AlreadyExists if
// the same leaf is there, FailedPrecondition otherwise.
func (s *Store) AddSequencedLeaves(_ context.Context, t *trillian.Tree, leaves []*trillian.LogLeaf, queued time.Time) ([]*trillian.QueuedLogLeaf, error) {
	res := make([]*trillian.QueuedLogLeaf, len(leaves))
	err := s.update(t, func(tx *writeTX) error {
		added := addition{tx: tx, indexes: map[int64]bool{}, identities: map[string]bool{}, queued: timestamppb.New(queued)}
		for i, leaf := range leaves {
			var err error
			if res[i], err = added.add(leaf); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return res, nil
}

// addition is one AddSequencedLeaves: its transaction does not see its own
// writes, so what the call itself has taken is kept here.
type addition struct {
	tx         *writeTX
	indexes    map[int64]bool
	identities map[string]bool
	queued     *timestamppb.Timestamp
}

func (a *addition) add(leaf *trillian.LogLeaf) (*trillian.QueuedLogLeaf, error) {
	if leaf.LeafIndex < 0 || len(leaf.LeafIdentityHash) != hashSize {
		return nil, status.Errorf(codes.InvalidArgument, "leaf has index %d and an identity of %d bytes", leaf.LeafIndex, len(leaf.LeafIdentityHash))
	}
	there, found, err := a.tx.leafAt(uint64(leaf.LeafIndex))
	if err != nil {
		return nil, err
	}
	if found {
		code := codes.FailedPrecondition
		if bytes.Equal(there.LeafIdentityHash, leaf.LeafIdentityHash) && bytes.Equal(there.LeafValue, leaf.LeafValue) {
			code = codes.AlreadyExists
		}
		return &trillian.QueuedLogLeaf{Leaf: there, Status: status.New(code, "leaf index is taken").Proto()}, nil
	}
	_, known, err := a.tx.placeOf(leaf.LeafIdentityHash)
	if err != nil {
		return nil, err
	}
	if known || a.identities[string(leaf.LeafIdentityHash)] || a.indexes[leaf.LeafIndex] {
		return &trillian.QueuedLogLeaf{Status: status.New(codes.FailedPrecondition, "leaf index or identity is taken").Proto()}, nil
	}
	a.indexes[leaf.LeafIndex], a.identities[string(leaf.LeafIdentityHash)] = true, true
	stored, ok := proto.Clone(leaf).(*trillian.LogLeaf)
	if !ok {
		return nil, errors.New("clone of a leaf is not a leaf")
	}
	stored.QueueTimestamp, stored.IntegrateTimestamp = a.queued, nil
	if err := a.tx.setLeaf(stored); err != nil {
		return nil, err
	}
	return &trillian.QueuedLogLeaf{Leaf: stored, Status: status.New(codes.OK, "OK").Proto()}, nil
}
