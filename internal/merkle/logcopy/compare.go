package logcopy

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/google/trillian"
	"github.com/google/trillian/storage"
	"github.com/transparency-dev/merkle/compact"
)

// What transactions offer beyond Trillian's interfaces: where the leaf of an identity
// is, of one or of many at once.
type (
	identityIndex interface {
		IndexByIdentity(ctx context.Context, identity []byte) (index int64, found bool, err error)
	}
	identityLookup interface {
		IndexesByIdentity(ctx context.Context, identities [][]byte) (map[string]int64, error)
	}
)

// compare reads all of both logs and names the first thing that differs. What is
// derived from the entries, which are nodes and both indexes, is compared with what was
// computed from the source's.
func (r *run) compare(ctx context.Context) error {
	if err := r.each(ctx, r.From, func(c *chunk) error {
		r.Progress(StepCompare, c.first, r.head.Size)
		if err := r.sameLeaves(ctx, c); err != nil {
			return err
		}
		return r.view(ctx, func(tx storage.ReadOnlyLogTreeTX) error {
			for _, same := range []func(context.Context, storage.ReadOnlyLogTreeTX, *chunk) error{sameNodes, found, foundByHash} {
				if err := same(ctx, tx, c); err != nil {
					return err
				}
			}
			return nil
		})
	}); err != nil {
		return err
	}
	more, err := r.To.ExportLeaves(ctx, r.Tree, r.head.Size, 1, 1)
	if err != nil {
		return err
	}
	if len(more) > 0 {
		return fmt.Errorf("the copy has more than the log's %d entries", r.head.Size)
	}
	return r.sameRows(ctx)
}

// view reads the copy, which may have no root yet.
func (r *run) view(ctx context.Context, f func(storage.ReadOnlyLogTreeTX) error) error {
	tx, err := r.To.SnapshotForTree(ctx, r.tree)
	if tx == nil {
		return err
	}
	if err != nil && !errors.Is(err, storage.ErrTreeNeedsInit) {
		return errors.Join(err, tx.Close())
	}
	return errors.Join(f(tx), tx.Close())
}

func (r *run) sameLeaves(ctx context.Context, c *chunk) error {
	for want := c.leaves; len(want) > 0; {
		got, err := r.To.ExportLeaves(ctx, r.Tree, uint64(want[0].LeafIndex), len(want), chunkBytes)
		if err != nil {
			return err
		}
		if len(got) == 0 || len(got) > len(want) {
			return fmt.Errorf("entry %d is missing in the copy", want[0].LeafIndex)
		}
		for i, leaf := range got {
			if field := differs(want[i], leaf); field != "" {
				return fmt.Errorf("entry %d: its %s differs in the copy", want[i].LeafIndex, field)
			}
		}
		want = want[len(got):]
	}
	return nil
}

// differs names a field by which two leaves do.
func differs(a, b *trillian.LogLeaf) string {
	switch {
	case a.LeafIndex != b.LeafIndex:
		return "index"
	case !bytes.Equal(a.LeafValue, b.LeafValue):
		return "value"
	case !bytes.Equal(a.ExtraData, b.ExtraData):
		return "extra data"
	case !bytes.Equal(a.MerkleLeafHash, b.MerkleLeafHash):
		return "leaf hash"
	case !bytes.Equal(a.LeafIdentityHash, b.LeafIdentityHash):
		return "identity"
	case !a.QueueTimestamp.AsTime().Equal(b.QueueTimestamp.AsTime()):
		return "time of queueing"
	case !a.IntegrateTimestamp.AsTime().Equal(b.IntegrateTimestamp.AsTime()):
		return "time of integration"
	}
	return ""
}

func sameNodes(ctx context.Context, tx storage.ReadOnlyLogTreeTX, c *chunk) error {
	ids := make([]compact.NodeID, len(c.nodes))
	for i, n := range c.nodes {
		ids[i] = n.ID
	}
	got, err := tx.GetMerkleNodes(ctx, ids)
	if err != nil {
		return fmt.Errorf("nodes above entries from %d on: %w", c.first, err)
	}
	if len(got) != len(ids) {
		return fmt.Errorf("%d of %d nodes above entries from %d on are missing in the copy", len(ids)-len(got), len(ids), c.first)
	}
	for i, n := range got {
		if n.ID != ids[i] || !bytes.Equal(n.Hash, c.nodes[i].Hash) {
			return fmt.Errorf("node %d of level %d differs in the copy", ids[i].Index, ids[i].Level)
		}
	}
	return nil
}

// found checks that each identity leads to its leaf.
func found(ctx context.Context, tx storage.ReadOnlyLogTreeTX, c *chunk) error {
	lookup, err := lookup(ctx, tx, c)
	if err != nil {
		return err
	}
	for _, leaf := range c.leaves {
		index, ok, err := lookup(leaf.LeafIdentityHash)
		if err != nil {
			return fmt.Errorf("entry %d: %w", leaf.LeafIndex, err)
		}
		if !ok || index != leaf.LeafIndex {
			return fmt.Errorf("entry %d: its identity leads to %d in the copy (found: %v)", leaf.LeafIndex, index, ok)
		}
	}
	return nil
}

func lookup(ctx context.Context, tx storage.ReadOnlyLogTreeTX, c *chunk) (func([]byte) (int64, bool, error), error) {
	if many, ok := tx.(identityLookup); ok {
		identities := make([][]byte, len(c.leaves))
		for i, leaf := range c.leaves {
			identities[i] = leaf.LeafIdentityHash
		}
		indexes, err := many.IndexesByIdentity(ctx, identities)
		return func(identity []byte) (int64, bool, error) {
			index, ok := indexes[string(identity)]
			return index, ok, nil
		}, err
	}
	one, ok := tx.(identityIndex)
	if !ok {
		return nil, errors.New("this storage driver has no identity index")
	}
	return func(identity []byte) (int64, bool, error) { return one.IndexByIdentity(ctx, identity) }, nil
}

// foundByHash checks that each leaf hash leads to its leaf.
func foundByHash(ctx context.Context, tx storage.ReadOnlyLogTreeTX, c *chunk) error {
	hashes := make([][]byte, 0, len(c.leaves))
	asked := make(map[string]bool, len(c.leaves))
	for _, leaf := range c.leaves {
		if hash := string(leaf.MerkleLeafHash); !asked[hash] { // entries may share one
			asked[hash], hashes = true, append(hashes, leaf.MerkleLeafHash)
		}
	}
	got, err := tx.GetLeavesByHash(ctx, hashes, false)
	if err != nil {
		return fmt.Errorf("find entries from %d on: %w", c.first, err)
	}
	at := make(map[int64]string, len(got))
	for _, leaf := range got {
		at[leaf.LeafIndex] = string(leaf.MerkleLeafHash)
	}
	for _, leaf := range c.leaves {
		if at[leaf.LeafIndex] != string(leaf.MerkleLeafHash) {
			return fmt.Errorf("entry %d is not found by its leaf hash in the copy", leaf.LeafIndex)
		}
	}
	return nil
}

// sameRows compares the services' rows, and counts them.
func (r *run) sameRows(ctx context.Context) error {
	from, to := rows{s: r.From, tree: r.Tree}, rows{s: r.To, tree: r.Tree}
	for ; ; r.result.Rows++ {
		if r.result.Rows%chunkCount == 0 {
			r.Progress(StepRowsToo, r.result.Rows, 0)
		}
		want, value, err := from.next(ctx)
		if err != nil {
			return err
		}
		got, copied, err := to.next(ctx)
		switch {
		case err != nil:
			return err
		case want == nil && got == nil:
			return nil
		case want == nil || got != nil && bytes.Compare(got, want) < 0:
			return fmt.Errorf("the copy has a row %x that the log has not", got)
		case got == nil || !bytes.Equal(want, got):
			return fmt.Errorf("row %x is missing in the copy", want)
		case !bytes.Equal(value, copied):
			return fmt.Errorf("row %x differs in the copy", want)
		}
	}
}

// rows walks through the rows of a tree.
type rows struct {
	s            Source
	tree         int64
	after        []byte // the last one that was read
	keys, values [][]byte
}

// next returns the next row, a nil key behind the last one.
func (r *rows) next(ctx context.Context) (key, value []byte, err error) {
	if len(r.keys) == 0 {
		if r.keys, r.values, err = r.s.ExportRows(ctx, r.tree, r.after, chunkCount, chunkBytes); err != nil || len(r.keys) == 0 {
			return nil, nil, err
		}
		r.after = r.keys[len(r.keys)-1]
	}
	key, value = r.keys[0], r.values[0]
	r.keys, r.values = r.keys[1:], r.values[1:]
	return key, value, nil
}
