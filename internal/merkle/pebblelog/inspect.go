package pebblelog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/google/trillian"
	"github.com/google/trillian/types"
	"github.com/transparency-dev/merkle/compact"
)

// What follows is for those who look at rows as such: the integrity check, and
// what rebuilds rows.

// RowKind says what a row holds.
type RowKind byte

// The kinds of rows.
const (
	RowUnknown  RowKind = iota // no row of this layout
	RowLayout                  // the number of the layout
	RowTree                    // the description of a tree
	RowHashes                  // indexes of leaves by leaf hash
	RowIdentity                // place of a leaf by identity
	RowLeaf                    // a leaf
	RowNode                    // a node of the Merkle tree
	RowQueued                  // a leaf that waits
	RowRoot                    // the newest root
	RowExtra                   // a service's own
)

// RowKey is a key of a row, taken apart. What a kind does not have is zero.
type RowKey struct {
	Kind  RowKind
	Tree  int64
	Hash  [hashSize]byte // of RowHashes and RowIdentity
	Index uint64         // of RowLeaf
	Node  compact.NodeID // of RowNode
	Extra []byte         // of RowExtra, the service's key; shares the key's bytes
}

// ParseKey takes the key of a row apart. One that nothing writes is RowUnknown.
func ParseKey(key []byte) RowKey {
	switch {
	case string(key) == string(layoutKey()):
		return RowKey{Kind: RowLayout}
	case len(key) == 9 && key[0] == spaceTree:
		return RowKey{Kind: RowTree, Tree: int64(binary.BigEndian.Uint64(key[1:]))}
	case len(key) < 10 || key[0] != spaceData:
		return RowKey{}
	}
	k, rest := RowKey{Tree: int64(binary.BigEndian.Uint64(key[1:]))}, key[10:]
	switch kind := key[9]; {
	case kind == kindRoot && len(rest) == 0:
		k.Kind = RowRoot
	case kind == kindExtra:
		k.Kind, k.Extra = RowExtra, rest
	case kind == kindQueue && len(rest) == 8+hashSize:
		k.Kind = RowQueued
	case kind == kindLeaf && len(rest) == 8:
		k.Kind, k.Index = RowLeaf, binary.BigEndian.Uint64(rest)
	case (kind == kindLeafHash || kind == kindIdentity) && len(rest) == hashSize:
		k.Kind, k.Hash = map[byte]RowKind{kindLeafHash: RowHashes, kindIdentity: RowIdentity}[kind], [hashSize]byte(rest)
	case kind == kindNode && len(rest) == 1+8+2 && rest[9] < tileHeight && uint(rest[10]) < 1<<(tileHeight-rest[9]):
		level, width := uint(rest[9]), tileHeight-uint(rest[9])
		k.Kind = RowNode
		k.Node = compact.NodeID{Level: uint(rest[0])*tileHeight + level, Index: binary.BigEndian.Uint64(rest[1:])<<width | uint64(rest[10])}
	}
	return k
}

// The keys of rows of a tree.

// LeafRowKey is the key of a leaf.
func LeafRowKey(tree int64, index uint64) []byte { return leafKey(tree, index) }

// NodeRowKey is the key of a node.
func NodeRowKey(tree int64, id compact.NodeID) []byte { return nodeKey(tree, id) }

// IdentityRowKey is the key under which the place of a leaf is found.
func IdentityRowKey(tree int64, identity []byte) []byte { return identityKey(tree, identity) }

// HashesRowKey is the key under which indexes of leaves are found.
func HashesRowKey(tree int64, leafHash []byte) []byte { return leafHashKey(tree, leafHash) }

// ExtraRowKey is the key of a service's row.
func ExtraRowKey(tree int64, key []byte) []byte { return extraKey(tree, key) }

// RootRowKey is the key of the newest root.
func RootRowKey(tree int64) []byte { return rootKey(tree) }

// TreeRowKey is the key of the description of a tree.
func TreeRowKey(tree int64) []byte { return treeKey(tree) }

// LayoutRowKey is the key of the number of the layout.
func LayoutRowKey() []byte { return layoutKey() }

// TreeRange bounds all rows of a tree but its description, whatever they are.
func TreeRange(tree int64) (low, high []byte) {
	low, high = []byte{spaceData}, []byte{spaceData}
	return binary.BigEndian.AppendUint64(low, uint64(tree)), binary.BigEndian.AppendUint64(high, uint64(tree)+1)
}

// LeafRange bounds the leaves of a tree.
func LeafRange(tree int64) (low, high []byte) {
	return dataKey(tree, kindLeaf), dataKey(tree, kindLeaf+1)
}

// ExtraRange bounds the services' rows of a tree whose keys begin with prefix.
func ExtraRange(tree int64, prefix byte) (low, high []byte) {
	return extraKey(tree, []byte{prefix}), extraKey(tree, []byte{prefix + 1})
}

// IdentityRow is the row of a leaf that is at index.
func IdentityRow(index uint64) []byte { return place{at: index}.encode() }

// DecodeIdentityRow returns the index of a leaf; one in the queue is an error.
func DecodeIdentityRow(row []byte) (uint64, error) {
	p, err := decodePlace(row)
	if err == nil && p.queued {
		err = fmt.Errorf("identity row %x is of a leaf that waits", row)
	}
	return p.at, err
}

// DecodeHashesRow returns the indexes of leaves.
func DecodeHashesRow(row []byte) ([]uint64, error) { return decodeIndexes(row) }

// DecodeLeafRow decodes a leaf, and tells whether its checksum is right; there may
// be none. The leaf shares the row's bytes.
func DecodeLeafRow(row []byte, index uint64) (leaf *trillian.LogLeaf, sound bool, err error) {
	return decodeLeafRow(row, int64(index))
}

// DecodeTreeRow decodes the description of a tree. An unknown field is damage.
func DecodeTreeRow(row []byte) (*trillian.Tree, error) {
	tree, err := decodeTree(row)
	if err == nil && len(tree.ProtoReflect().GetUnknown()) > 0 {
		err = errors.New("decode tree: row is damaged: it has fields that a tree has not")
	}
	return tree, err
}

// DecodeRootRow decodes the newest root.
func DecodeRootRow(row []byte) (*types.LogRootV1, error) {
	r, err := decodeRoot(row)
	if err != nil {
		return nil, err
	}
	root := new(types.LogRootV1)
	if err := root.UnmarshalBinary(r.row); err != nil {
		return nil, fmt.Errorf("decode root: %w", err)
	}
	if len(root.Metadata) > 0 { // no sequencer makes any: it is the checksum, for a length that has changed
		return nil, fmt.Errorf("root %x is damaged: it has metadata", row)
	}
	return root, nil
}

// LayoutRow is the row of RowLayout that this version writes.
func LayoutRow() []byte { return []byte{layoutVersion} }

// View is the rows of a Store at one moment. It is safe for concurrent use.
type View struct {
	rows pebble.Reader
	ending
}

// View looks at the rows as they are now, durable or about to be. It must be
// closed.
func (s *Store) View() (*View, error) {
	rows, end, err := s.snapshot()
	if err != nil {
		return nil, err
	}
	return &View{rows, end}, nil
}

// Get returns a copy of the row under key.
func (v *View) Get(key []byte) (value []byte, found bool, err error) { return get(v.rows, key) }

// Scan calls each with the rows of low <= key < high in order, until it returns an
// error. Key and value are valid during the call only.
func (v *View) Scan(ctx context.Context, low, high []byte, each func(key, value []byte) error) (err error) {
	it, err := v.rows.NewIter(&pebble.IterOptions{LowerBound: low, UpperBound: high})
	if err != nil {
		return fmt.Errorf("read rows: %w", err)
	}
	defer func() {
		if closeErr := it.Close(); err == nil && closeErr != nil {
			err = fmt.Errorf("read rows: %w", closeErr)
		}
	}()
	for ok := it.First(); ok; ok = it.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		value, err := it.ValueAndErr()
		if err != nil {
			return fmt.Errorf("read rows: %w", err)
		}
		if err := each(it.Key(), value); err != nil {
			return err
		}
	}
	return nil
}

// Change is a row of a service that is to be as given; Value nil: not to be there.
type Change struct{ Key, Value []byte }

// ChangeExtra changes rows of services in one durable commit, in a frozen tree,
// too: they are made of the leaves, and not part of the tree.
func (s *Store) ChangeExtra(tree int64, changes []Change) error {
	w := s.writer(tree)
	w.Lock()
	defer w.Unlock()
	if err := s.begin(); err != nil {
		return err
	}
	defer s.inFlight.Done()
	b := s.db.NewBatch()
	for _, c := range changes {
		var err error
		if c.Value == nil {
			err = b.Delete(extraKey(tree, c.Key), nil)
		} else {
			err = b.Set(extraKey(tree, c.Key), c.Value, nil)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("change rows: %w", err), b.Close())
		}
	}
	return s.commit(b)
}
