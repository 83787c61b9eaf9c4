package merkle

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/google/trillian"
	"github.com/google/trillian/log"
	"github.com/google/trillian/quota"
	"github.com/google/trillian/trees"
	"github.com/google/trillian/types"
	"github.com/google/trillian/util/clock"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// batch is a committed batch: its head, and the nodes that prove its entries.
// It never changes.
type batch struct {
	head  Head
	nodes map[compact.NodeID][]byte
}

// proof computes the inclusion proof of an entry of this batch: its siblings are
// on the edge of the tree before, or were completed by the batch.
func (b *batch) proof(index uint64) (Proof, error) {
	hashes, err := inclusion(index, b.head.Size, func(ids []compact.NodeID) ([][]byte, error) {
		hashes := make([][]byte, len(ids))
		for i, id := range ids {
			hash, ok := b.nodes[id]
			if !ok {
				return nil, fmt.Errorf("node %d of level %d is not in memory", id.Index, id.Level)
			}
			hashes[i] = hash
		}
		return hashes, nil
	})
	return Proof{Index: index, Size: b.head.Size, Root: b.head.Root, Hashes: hashes, Time: b.head.Time}, err
}

// inclusion computes the hashes of an inclusion proof from the nodes that fetch
// returns. They are never nil.
func inclusion(index, size uint64, fetch func([]compact.NodeID) ([][]byte, error)) ([][]byte, error) {
	nodes, err := proof.Inclusion(index, size)
	if err != nil {
		return nil, err
	}
	hashes, err := fetch(nodes.IDs)
	if err != nil {
		return nil, fmt.Errorf("prove entry %d in %d: %w", index, size, err)
	}
	return nodes.Rehash(hashes, rfc6962.DefaultHasher.HashChildren)
}

// integrate makes fresh leaves durable and part of the tree, in one commit, and
// publishes the new head.
func (t *Tree) integrate(ctx context.Context, fresh []*pending) (*batch, []Entry, error) {
	at, err := t.nextTime()
	if err != nil {
		return nil, nil, err
	}
	t.pace(at)
	capture := &batchStorage{
		LogStorage: t.cfg.Storage, edge: t.edge,
		leaves: make([]*trillian.LogLeaf, len(fresh)), rows: make([][]Row, len(fresh)),
	}
	for i, p := range fresh {
		capture.leaves[i] = &trillian.LogLeaf{
			MerkleLeafHash:   p.leafHash[:],
			LeafIdentityHash: p.leaf.Identity[:],
			LeafValue:        p.leaf.Value,
			ExtraData:        p.leaf.Extra,
			QueueTimestamp:   timestamppb.New(p.queued),
		}
		capture.rows[i] = p.leaf.Rows
	}
	b, err := t.sequence(ctx, capture, at, 0)
	if err != nil {
		return nil, nil, err
	}
	entries := make([]Entry, len(fresh))
	for i, leaf := range capture.leaves {
		if entries[i], err = entryOf(leaf); err != nil {
			return nil, nil, err
		}
	}
	return b, entries, nil
}

// sequence runs Trillian's sequencer over capture and publishes the head that it
// committed. With no leaves it makes a new root if the newest is rootAge old.
func (t *Tree) sequence(ctx context.Context, capture *batchStorage, at time.Time, rootAge time.Duration) (*batch, error) {
	ctx = trees.NewContext(ctx, t.tree)
	ts := fixedTime{clock.System, at}
	capture.preordered = t.tree.TreeType == trillian.TreeType_PREORDERED_LOG
	start := t.cfg.Now()
	_, err := log.IntegrateBatch(ctx, asQueued(t.tree), len(capture.leaves), 0, rootAge, ts, capture, quota.Noop())
	t.metrics.commit.Observe(t.cfg.Now().Sub(start).Seconds())
	if err != nil {
		return nil, err
	}
	if capture.root == nil {
		return nil, errors.New("the sequencer wrote no root")
	}
	head, err := headOf(capture.root)
	if err != nil {
		return nil, err
	}
	b := &batch{head: head, nodes: capture.nodes}
	t.nodes.put(t.ID(), maps.All(b.nodes)) // new entries are read soon
	t.edge = edgeOf(b)
	t.publish(head)
	return b, nil
}

// edgeOf returns the nodes that the next batch starts from; nil if one is not in
// memory, which makes the next batch read storage.
func edgeOf(b *batch) map[compact.NodeID][]byte {
	ids := compact.RangeNodes(0, b.head.Size, nil)
	edge := make(map[compact.NodeID][]byte, len(ids))
	for _, id := range ids {
		hash, ok := b.nodes[id]
		if !ok {
			return nil
		}
		edge[id] = hash
	}
	return edge
}

func headOf(root *types.LogRootV1) (Head, error) {
	if len(root.RootHash) != 32 {
		return Head{}, fmt.Errorf("root hash has %d bytes, want 32", len(root.RootHash))
	}
	at := time.Unix(0, int64(root.TimestampNanos)).UTC()
	return Head{Size: root.TreeSize, Root: [32]byte(root.RootHash), Time: at}, nil
}
