package merkle

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/trillian"
	"github.com/google/trillian/storage"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"sigstack/internal/fault"
)

// Reads go no further than the published head: storage may show a batch before
// it is durable.

// Entry returns the entry at index, or fault.NotFound.
func (t *Tree) Entry(ctx context.Context, index uint64) (Entry, error) {
	entries, err := t.Entries(ctx, index, 1)
	if err != nil {
		return Entry{}, err
	}
	return entries[0], nil
}

// Entries returns entries from index first on: count of them, or fewer where the
// tree ends or the driver's own limit, of some thousands, is reached; at least
// one. It fails with fault.NotFound if first is not in the tree.
func (t *Tree) Entries(ctx context.Context, first, count uint64) ([]Entry, error) {
	head, err := t.covering(ctx, first+1)
	if err != nil {
		return nil, err
	}
	size := head.Size
	if first >= size {
		return nil, fault.Newf(fault.NotFound, "no entry %d in a log of %d", first, size)
	}
	if count == 0 {
		return nil, fault.New(fault.Invalid, "at least one entry must be asked for")
	}
	count = min(count, size-first)
	var leaves []*trillian.LogLeaf
	err = t.view(ctx, func(tx storage.ReadOnlyLogTreeTX) (err error) {
		leaves, err = tx.GetLeavesByRange(ctx, int64(first), int64(count))
		return err
	})
	if err == nil && len(leaves) == 0 {
		err = errors.New("storage returned nothing")
	}
	if err != nil {
		return nil, fmt.Errorf("read entries from %d: %w", first, err)
	}
	entries := make([]Entry, len(leaves))
	for i, leaf := range leaves {
		if entries[i], err = t.storedEntry(leaf); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// EntryByHash returns the first entry whose RFC 6962 leaf hash is leafHash, or
// fault.NotFound.
func (t *Tree) EntryByHash(ctx context.Context, leafHash [32]byte) (Entry, error) {
	var leaves []*trillian.LogLeaf
	err := t.view(ctx, func(tx storage.ReadOnlyLogTreeTX) (err error) {
		leaves, err = tx.GetLeavesByHash(ctx, [][]byte{leafHash[:]}, true)
		return err
	})
	if err != nil {
		return Entry{}, fmt.Errorf("find entry: %w", err)
	}
	if len(leaves) > 0 {
		head, err := t.covering(ctx, uint64(leaves[0].LeafIndex)+1)
		if err != nil {
			return Entry{}, err
		}
		if uint64(leaves[0].LeafIndex) >= head.Size {
			leaves = nil
		}
	}
	if len(leaves) == 0 {
		return Entry{}, fault.New(fault.NotFound, "no entry with that hash")
	}
	return t.storedEntry(leaves[0])
}

// Row returns the extra row that some leaf brought under key, nil if none did.
// A row may be seen an instant before its entry is in the head.
func (t *Tree) Row(ctx context.Context, key []byte) (value []byte, err error) {
	err = t.view(ctx, func(tx storage.ReadOnlyLogTreeTX) error {
		r, ok := tx.(rowReader)
		if !ok {
			return errors.New("this storage driver keeps no extra rows")
		}
		value, _, err = r.GetRow(ctx, key)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read extra row: %w", err)
	}
	return value, nil
}

// RowsBefore returns the rows that entries below before brought ByIndex under
// key, the newest entry first, at most limit of them. They are of published
// entries only.
func (t *Tree) RowsBefore(ctx context.Context, key []byte, before uint64, limit int) ([]IndexRow, error) {
	head, err := t.covering(ctx, before) // read before the rows are
	if err != nil {
		return nil, err
	}
	before = min(before, head.Size)
	var rows []IndexRow
	err = t.view(ctx, func(tx storage.ReadOnlyLogTreeTX) error {
		r, ok := tx.(rowReader)
		if !ok {
			return errors.New("this storage driver keeps no extra rows")
		}
		return r.LastRows(ctx, indexedKey(key, 0), indexedKey(key, before), limit, func(full, value []byte) error {
			if len(full) != len(key)+8 {
				return fmt.Errorf("row %x does not end in an index", full)
			}
			index := binary.BigEndian.Uint64(full[len(key):])
			rows = append(rows, IndexRow{Index: index, Value: bytes.Clone(value)})
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read extra rows: %w", err)
	}
	return rows, nil
}

// Inclusion proves entry index in the tree of the given size, which need not be
// the newest. It fails with fault.Invalid unless index < size <= Head().Size.
func (t *Tree) Inclusion(ctx context.Context, index, size uint64) (Proof, error) {
	head, err := t.covering(ctx, size)
	if err != nil {
		return Proof{}, err
	}
	if index >= size || size > head.Size {
		return Proof{}, fault.Newf(fault.Invalid, "no proof of entry %d in a tree of %d: the log has %d entries", index, size, head.Size)
	}
	p := Proof{Index: index, Size: size, Root: head.Root, Time: head.Time}
	p.Hashes, err = inclusion(index, size, func(ids []compact.NodeID) ([][]byte, error) { return t.hashes(ctx, head.Size, ids) })
	if err != nil || size == head.Size {
		return p, err
	}
	p.Time = Head{}.Time
	p.Root, err = t.rootAt(ctx, size)
	return p, err
}

// Consistency proves that the tree of size second extends that of size first
// (RFC 6962 §2.1.2). The proof is empty, never nil, where there is nothing to
// prove: sizes that are equal, or first zero. It fails with fault.Invalid unless
// first <= second <= Head().Size.
func (t *Tree) Consistency(ctx context.Context, first, second uint64) ([][]byte, error) {
	head, err := t.covering(ctx, second)
	if err != nil {
		return nil, err
	}
	if first > second || second > head.Size {
		return nil, fault.Newf(fault.Invalid, "no proof between sizes %d and %d: the log has %d entries", first, second, head.Size)
	}
	nodes, err := proof.Consistency(first, second)
	if err != nil {
		return nil, err
	}
	hashes, err := t.hashes(ctx, head.Size, nodes.IDs)
	if err != nil {
		return nil, fmt.Errorf("prove %d consistent with %d: %w", first, second, err)
	}
	return nodes.Rehash(hashes, rfc6962.DefaultHasher.HashChildren)
}

// rootAt computes the root over the first size entries.
func (t *Tree) rootAt(ctx context.Context, size uint64) (root [32]byte, err error) {
	if size == 0 {
		return [32]byte(rfc6962.DefaultHasher.EmptyRoot()), nil
	}
	hashes, err := t.hashes(ctx, size, compact.RangeNodes(0, size, nil))
	if err != nil {
		return root, fmt.Errorf("compute root over %d: %w", size, err)
	}
	r, err := (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewRange(0, size, hashes)
	if err != nil {
		return root, fmt.Errorf("compute root over %d: %w", size, err)
	}
	hash, err := r.GetRootHash(nil)
	if err != nil {
		return root, fmt.Errorf("compute root over %d: %w", size, err)
	}
	return [32]byte(hash), nil
}

// entryOf converts a sequenced leaf.
func entryOf(leaf *trillian.LogLeaf) (Entry, error) {
	if leaf.LeafIndex < 0 || len(leaf.MerkleLeafHash) != 32 || len(leaf.LeafIdentityHash) != 32 {
		return Entry{}, fmt.Errorf("leaf %d: leaf hash has %d bytes and identity %d, want 32 each",
			leaf.LeafIndex, len(leaf.MerkleLeafHash), len(leaf.LeafIdentityHash))
	}
	return Entry{
		Leaf: Leaf{
			Value:    leaf.LeafValue,
			Extra:    leaf.ExtraData,
			Identity: [32]byte(leaf.LeafIdentityHash),
		},
		Index:        uint64(leaf.LeafIndex),
		LeafHash:     [32]byte(leaf.MerkleLeafHash),
		QueuedAt:     leaf.QueueTimestamp.AsTime(),
		IntegratedAt: leaf.IntegrateTimestamp.AsTime(),
	}, nil
}
