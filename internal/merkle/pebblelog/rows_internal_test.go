package pebblelog

import (
	"bytes"
	"testing"

	"github.com/google/trillian"
	"github.com/google/trillian/types"
	"github.com/transparency-dev/merkle/compact"
)

// For every decoder: what is accepted is encoded back to the same bytes.

func FuzzDecodeLeaf(f *testing.F) {
	hash, other := bytes.Repeat([]byte{1}, hashSize), bytes.Repeat([]byte{2}, hashSize)
	for _, leaf := range []*trillian.LogLeaf{
		{MerkleLeafHash: hash, LeafIdentityHash: hash},
		{MerkleLeafHash: hash, LeafIdentityHash: other, LeafValue: []byte("value"), ExtraData: []byte("extra")},
		{MerkleLeafHash: hash, LeafIdentityHash: hash, LeafValue: make([]byte, 300), ExtraData: make([]byte, 300), QueueTimestamp: timestamp(-1), IntegrateTimestamp: timestamp(1 << 60)},
	} {
		row, err := encodeLeaf(leaf)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(row)
	}
	f.Fuzz(func(t *testing.T, row []byte) {
		leaf, err := decodeLeaf(row, 5)
		if err != nil {
			return
		}
		got, err := encodeLeaf(leaf)
		if err != nil || !bytes.Equal(got, row) || leaf.LeafIndex != 5 {
			t.Errorf("accepted %x as %v, which encodes to %x (%v)", row, leaf, got, err)
		}
	})
}

func FuzzDecodePlace(f *testing.F) {
	f.Add(place{at: 7}.encode())
	f.Add(place{queued: true, at: orderedTime(-1)}.encode())
	f.Fuzz(func(t *testing.T, row []byte) {
		p, err := decodePlace(row)
		if err != nil {
			return
		}
		if got := p.encode(); !bytes.Equal(got, row) {
			t.Errorf("accepted %x as %+v, which encodes to %x", row, p, got)
		}
	})
}

func FuzzDecodeIndexes(f *testing.F) {
	f.Add(leafKey(1, 2)[10:])
	f.Fuzz(func(t *testing.T, row []byte) {
		indexes, err := decodeIndexes(row)
		if (err == nil) != (len(row)%8 == 0) || (err == nil && len(indexes) != len(row)/8) {
			t.Errorf("%x: %d indexes, %v", row, len(indexes), err)
		}
	})
}

// The shortcut must agree with Trillian's own decoder.
func FuzzDecodeRoot(f *testing.F) {
	for _, root := range []types.LogRootV1{{}, {TreeSize: 9, RootHash: make([]byte, 32), TimestampNanos: 1, Metadata: []byte("x")}} {
		row, err := root.MarshalBinary()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(row)
	}
	f.Fuzz(func(t *testing.T, row []byte) {
		var want types.LogRootV1
		if want.UnmarshalBinary(row) != nil {
			return // StoreSignedLogRoot stores none such
		}
		got, err := decodeRoot(row)
		if err != nil {
			if int64(want.TreeSize) >= 0 {
				t.Errorf("%x: %v", row, err)
			}
			return
		}
		if uint64(got.size) != want.TreeSize || !bytes.Equal(got.hash, want.RootHash) {
			t.Errorf("%x: got %d %x, want %d %x", row, got.size, got.hash, want.TreeSize, want.RootHash)
		}
	})
}

func TestNodeKeysAreDistinctAndTileByTile(t *testing.T) {
	seen := map[string]compact.NodeID{}
	for level := range uint(20) {
		for index := range uint64(1 << (19 - level)) {
			id := compact.NewNodeID(level, index)
			key := string(nodeKey(7, id))
			if other, ok := seen[key]; ok {
				t.Fatalf("nodes %+v and %+v share a key", id, other)
			}
			seen[key] = id
			stratum, tile := key[10], key[11:19]
			first, _ := id.Coverage()
			leafTile := string(nodeKey(7, compact.NewNodeID(level/tileHeight*tileHeight, first>>(level/tileHeight*tileHeight))))
			if stratum != byte(level/tileHeight) || tile != leafTile[11:19] {
				t.Fatalf("node %+v is in tile %x of stratum %d, its first leaf in %x", id, tile, stratum, leafTile[11:19])
			}
		}
	}
}

func TestKeysOfATreeLieInItsRange(t *testing.T) {
	hash := bytes.Repeat([]byte{0xff}, hashSize)
	for _, tree := range []int64{1, 2, 1<<63 - 1} {
		low, high := dataRange(tree)
		for _, key := range [][]byte{
			rootKey(tree), identityKey(tree, hash), leafHashKey(tree, hash), leafKey(tree, 1<<63),
			extraKey(tree, hash), queueKey(tree, -1, hash), nodeKey(tree, compact.NewNodeID(63, 1)),
		} {
			if bytes.Compare(key, low) < 0 || bytes.Compare(key, high) >= 0 {
				t.Errorf("key %x is outside [%x, %x)", key, low, high)
			}
		}
	}
}
