package merkle

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/trillian"
	"github.com/google/trillian/log"
	"github.com/google/trillian/quota"
	"github.com/google/trillian/storage"
	"github.com/google/trillian/trees"
	"github.com/google/trillian/types"
	"github.com/google/trillian/util/clock"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"google.golang.org/protobuf/types/known/timestamppb"

	"sigstack/internal/fault"
)

// Bounds of one commit. A batch that reaches one leaves the rest queued.
const (
	maxBatch      = 1024
	maxBatchBytes = 4 << 20
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

// commit stores and integrates first and whatever queued behind it, and answers
// every leaf. The error it returns means that storage is lost for good.
//
// What a crash leaves behind, step by step:
//
//   - queued, not committed: nothing; nobody was answered.
//   - during the driver's commit: all of the batch or none of it. If all, its
//     entries are in the log unanswered; adding them again finds them.
//   - committed, head not published: the same; the next Open reads that head.
//   - head published, not in the head file: the head file is up to a second
//     behind; Open accepts a tree that extends it.
//   - answered: every answer is on disk already.
func (t *Tree) commit(ctx context.Context, first *pending) error {
	ps := t.collect(first)
	t.metrics.queued.Observe(float64(len(ps)))
	if err := t.refreshState(ctx); err != nil {
		return t.fail(ctx, ps, err)
	}
	work, err := t.sortOut(ctx, ps)
	if err != nil {
		return t.fail(ctx, ps, err)
	}
	for _, known := range work.known {
		known.p.done <- answer{entry: Entry{Index: known.index}, duplicate: true}
	}
	t.metrics.duplicates.Add(float64(len(work.known) + len(work.followers)))
	if len(work.fresh) == 0 {
		return nil
	}
	b, entries, err := t.integrate(ctx, work.fresh)
	if err != nil {
		return t.fail(ctx, work.waiting(), err)
	}
	t.metrics.added.Add(float64(len(work.fresh)))
	for i, p := range work.fresh {
		p.done <- answer{entry: entries[i], batch: b}
	}
	for _, f := range work.followers {
		f.p.done <- answer{entry: entries[f.leader], batch: b, duplicate: true}
	}
	return nil
}

// collect takes what is queued, without waiting, leaving out leaves nobody
// waits for any more.
func (t *Tree) collect(first *pending) []*pending {
	ps, size := []*pending{first}, len(first.leaf.Value)
	for len(ps) < maxBatch && size < maxBatchBytes {
		select {
		case p := <-t.queue:
			if p.ctx.Err() == nil {
				ps, size = append(ps, p), size+len(p.leaf.Value)+len(p.leaf.Extra)
			}
		default:
			return ps
		}
	}
	return ps
}

// worklist is a batch sorted by what is to be done.
type worklist struct {
	fresh     []*pending
	followers []follower // same identity as a fresh one of this batch
	known     []known    // identity in the tree already
}

type follower struct {
	p      *pending
	leader int // index in fresh
}

type known struct {
	p     *pending
	index uint64
}

// waiting returns the leaves whose answer hangs on the commit.
func (w *worklist) waiting() []*pending {
	ps := w.fresh
	for _, f := range w.followers {
		ps = append(ps, f.p)
	}
	return ps
}

// sortOut finds duplicates, within the batch and in the identity index. No other
// writer can add an identity before the batch is committed.
func (t *Tree) sortOut(ctx context.Context, ps []*pending) (*worklist, error) {
	w := &worklist{fresh: make([]*pending, 0, len(ps))}
	leaders := make(map[[32]byte]int, len(ps))
	err := t.view(ctx, func(tx storage.ReadOnlyLogTreeTX) error {
		ids, ok := tx.(identityIndex)
		if !ok {
			return errors.New("this storage driver has no identity index")
		}
		for _, p := range ps {
			if leader, ok := leaders[p.leaf.Identity]; ok {
				w.followers = append(w.followers, follower{p, leader})
				continue
			}
			index, found, err := ids.IndexByIdentity(ctx, p.leaf.Identity[:])
			if err != nil {
				return err
			}
			if found && (index < 0 || uint64(index) >= t.Head().Size) {
				return fmt.Errorf("identity %x is at index %d of a tree of %d", p.leaf.Identity, index, t.Head().Size)
			}
			if found {
				w.known = append(w.known, known{p, uint64(index)}) //nolint:gosec // checked not negative
				continue
			}
			leaders[p.leaf.Identity] = len(w.fresh)
			w.fresh = append(w.fresh, p)
		}
		return nil
	})
	return w, err
}

// integrate makes fresh leaves durable and part of the tree, in one commit, and
// publishes the new head.
func (t *Tree) integrate(ctx context.Context, fresh []*pending) (*batch, []Entry, error) {
	at, err := t.nextTime()
	if err != nil {
		return nil, nil, err
	}
	t.pace(at)
	capture := &batchStorage{LogStorage: t.cfg.Storage, edge: t.edge, leaves: make([]*trillian.LogLeaf, len(fresh))}
	for i, p := range fresh {
		capture.leaves[i] = &trillian.LogLeaf{
			MerkleLeafHash:   p.leafHash[:],
			LeafIdentityHash: p.leaf.Identity[:],
			LeafValue:        p.leaf.Value,
			ExtraData:        p.leaf.Extra,
			QueueTimestamp:   timestamppb.New(p.queued),
		}
		capture.rows = append(capture.rows, p.leaf.Rows...)
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
	start := t.cfg.Now()
	_, err := log.IntegrateBatch(ctx, t.tree, len(capture.leaves), 0, rootAge, ts, capture, quota.Noop())
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
	t.edge = edgeOf(b)
	t.head.Store(&head)
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
	at := time.Unix(0, int64(root.TimestampNanos)).UTC() //nolint:gosec // same 64 bits
	return Head{Size: root.TreeSize, Root: [32]byte(root.RootHash), Time: at}, nil
}

// fail answers leaves that could not be committed and makes the next batch
// re-read the tree, since the commit may have happened all the same. It returns
// an error if storage is lost for good.
func (t *Tree) fail(ctx context.Context, ps []*pending, err error) error {
	if fault.KindOf(err) == fault.Internal {
		err = fault.Wrap(fault.Unavailable, err, "the log could not store the entry; try again")
		t.stale = true
	}
	t.metrics.failed.Inc()
	for _, p := range ps {
		p.done <- answer{err: err}
	}
	return t.lost(ctx, err)
}

// lost asks storage, after a failure, whether going on makes sense.
func (t *Tree) lost(ctx context.Context, cause error) error {
	if !t.stale {
		return nil
	}
	if err := t.cfg.Storage.CheckDatabaseAccessible(ctx); err != nil {
		return fmt.Errorf("storage of tree %d is lost: %w", t.ID(), err)
	}
	if errors.Is(cause, errShrunk) {
		return cause
	}
	return nil
}
