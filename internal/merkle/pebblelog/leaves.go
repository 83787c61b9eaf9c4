package pebblelog

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/google/trillian"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// maxRange bounds the leaves that one GetLeavesByRange returns.
const maxRange = 4096

// GetLeavesByRange returns the leaves [start, start+count) that are there: up to
// the tree's size, or, in a pre-ordered log, to the first gap behind it. A leaf
// missing within the tree is an error.
func (t *readTX) GetLeavesByRange(_ context.Context, start, count int64) ([]*trillian.LogLeaf, error) {
	switch {
	case count <= 0:
		return nil, status.Errorf(codes.InvalidArgument, "invalid count %d, want > 0", count)
	case start < 0:
		return nil, status.Errorf(codes.InvalidArgument, "invalid start %d, want >= 0", start)
	}
	size, err := t.size()
	if err != nil {
		return nil, err
	}
	if t.tree.TreeType == trillian.TreeType_LOG {
		if start >= size {
			return nil, status.Errorf(codes.OutOfRange, "invalid start %d, want < tree size %d", start, size)
		}
		count = min(count, size-start)
	}
	leaves, err := t.scanLeaves(start, min(count, maxRange))
	if err != nil {
		return nil, err
	}
	if next := start + int64(len(leaves)); int64(len(leaves)) < min(count, maxRange) && next < size {
		return nil, fmt.Errorf("tree %d: leaf %d of %d is missing", t.tree.TreeId, next, size)
	}
	return leaves, nil
}

// scanLeaves returns leaves from start until count, a gap or the end.
func (t *readTX) scanLeaves(start, count int64) (leaves []*trillian.LogLeaf, err error) {
	leaves = []*trillian.LogLeaf{}
	if count == 1 {
		leaf, found, err := t.leafAt(uint64(start))
		if err != nil || !found {
			return leaves, err
		}
		return append(leaves, leaf), nil
	}
	it, err := t.rows.NewIter(&pebble.IterOptions{
		LowerBound: leafKey(t.tree.TreeId, uint64(start)),
		UpperBound: leafKey(t.tree.TreeId, uint64(start+count)),
	})
	if err != nil {
		return nil, fmt.Errorf("read leaves: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		index, err := indexOf(it.Key())
		if err != nil {
			return nil, err
		}
		want := start + int64(len(leaves))
		if index != uint64(want) {
			break
		}
		row, err := it.ValueAndErr()
		if err != nil {
			return nil, fmt.Errorf("read leaf %d: %w", want, err)
		}
		leaf, err := decodeLeaf(bytes.Clone(row), want)
		if err != nil {
			return nil, fmt.Errorf("read leaf %d: %w", want, err)
		}
		leaves = append(leaves, leaf)
	}
	return leaves, nil
}

func (t *readTX) leafAt(index uint64) (*trillian.LogLeaf, bool, error) {
	row, found, err := get(t.rows, leafKey(t.tree.TreeId, index))
	if err != nil || !found {
		return nil, false, err
	}
	leaf, err := decodeLeaf(row, int64(index))
	if err != nil {
		return nil, false, fmt.Errorf("read leaf %d: %w", index, err)
	}
	return leaf, true, nil
}

// GetLeavesByHash returns the sequenced leaves with the given Merkle leaf
// hashes, in order of index if orderBySequence. Unknown hashes have none.
func (t *readTX) GetLeavesByHash(_ context.Context, leafHashes [][]byte, orderBySequence bool) ([]*trillian.LogLeaf, error) {
	leaves := []*trillian.LogLeaf{}
	for _, hash := range leafHashes {
		indexes, err := t.indexesOf(hash)
		if err != nil {
			return nil, err
		}
		for _, index := range indexes {
			leaf, found, err := t.leafAt(index)
			if err != nil {
				return nil, err
			}
			if found && bytes.Equal(leaf.MerkleLeafHash, hash) {
				leaves = append(leaves, leaf)
			}
		}
	}
	if orderBySequence {
		slices.SortFunc(leaves, func(a, b *trillian.LogLeaf) int { return int(a.LeafIndex - b.LeafIndex) })
	}
	return leaves, nil
}

// indexesOf returns where leaves of a leaf hash may be: the one that has it as
// its identity too, and those of the leaf hash index.
func (t *readTX) indexesOf(leafHash []byte) ([]uint64, error) {
	row, _, err := get(t.rows, leafHashKey(t.tree.TreeId, leafHash))
	if err != nil {
		return nil, err
	}
	indexes, err := decodeIndexes(row)
	if err != nil {
		return nil, err
	}
	p, found, err := t.placeOf(leafHash)
	if err == nil && found && !p.queued {
		indexes = append(indexes, p.at)
	}
	return indexes, err
}

func (t *readTX) placeOf(identity []byte) (place, bool, error) {
	row, found, err := get(t.rows, identityKey(t.tree.TreeId, identity))
	if err != nil || !found {
		return place{}, false, err
	}
	p, err := decodePlace(row)
	return p, err == nil, err
}

// IndexByIdentity returns the index of the leaf with the given identity, -1 for
// one that is queued and has none yet.
func (t *readTX) IndexByIdentity(_ context.Context, identity []byte) (index int64, found bool, err error) {
	row, found, err := t.identityRow(identity)
	if err != nil || !found {
		return 0, false, err
	}
	p, err := decodePlace(row)
	if err != nil {
		return 0, false, err
	}
	if p.queued {
		return -1, true, nil
	}
	return int64(p.at), true, nil
}

// identityRow is valid until the next call. Nearly every identity that is asked for
// is a new leaf's and not there; of the last level, where nearly all rows are, the
// filters that say so are only asked by an iterator that wants them.
func (t *readTX) identityRow(identity []byte) (row []byte, found bool, err error) {
	if t.identities == nil {
		id := t.tree.TreeId
		t.identities, err = t.rows.NewIter(&pebble.IterOptions{
			LowerBound: dataKey(id, kindIdentity), UpperBound: dataKey(id, kindIdentity+1), UseL6Filters: true,
		})
		if err != nil {
			return nil, false, fmt.Errorf("read identities: %w", err)
		}
	}
	if !t.identities.SeekPrefixGE(identityKey(t.tree.TreeId, identity)) {
		if err := t.identities.Error(); err != nil {
			return nil, false, fmt.Errorf("read identity: %w", err)
		}
		return nil, false, nil
	}
	row, err = t.identities.ValueAndErr()
	if err != nil {
		return nil, false, fmt.Errorf("read identity: %w", err)
	}
	return row, true, nil
}

// setLeaf writes the rows of a leaf that has its index.
func (t *writeTX) setLeaf(leaf *trillian.LogLeaf) error {
	row, err := encodeLeaf(leaf)
	if err != nil {
		return fmt.Errorf("store leaf %d: %w", leaf.LeafIndex, err)
	}
	id, index := t.tree.TreeId, uint64(leaf.LeafIndex)
	if err := t.batch.Set(leafKey(id, index), row, nil); err != nil {
		return err
	}
	if err := t.batch.Set(identityKey(id, leaf.LeafIdentityHash), place{at: index}.encode(), nil); err != nil {
		return err
	}
	if bytes.Equal(leaf.LeafIdentityHash, leaf.MerkleLeafHash) {
		return nil
	}
	return t.addToHashIndex(leaf.MerkleLeafHash, index)
}

// addToHashIndex appends to the indexes of a leaf hash. Few hashes have more
// than one, and the transaction's own additions are not in storage yet.
func (t *writeTX) addToHashIndex(leafHash []byte, index uint64) error {
	row, ok := t.hashRows[string(leafHash)]
	if !ok {
		var err error
		if row, _, err = get(t.rows, leafHashKey(t.tree.TreeId, leafHash)); err != nil {
			return err
		}
	}
	row = binary.BigEndian.AppendUint64(row, index)
	t.hashRows[string(leafHash)] = row
	return t.batch.Set(leafHashKey(t.tree.TreeId, leafHash), row, nil)
}
