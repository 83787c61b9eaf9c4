package pebblelog

import (
	"encoding/binary"
	"fmt"

	"github.com/transparency-dev/merkle/compact"
)

// Key layout. Integers are big-endian, so that order of keys is order of
// numbers; a tree is one range, so that deleting it is one range deletion.
//
//	00 "layout"                                 layoutVersion
//	01 tree8                                    trillian.Tree, protobuf, and its checksum
//	02 tree8 'h' leafhash32                     indexes of leaves whose identity differs from that leaf hash
//	02 tree8 'i' identity32                     place: where the leaf of that identity is
//	02 tree8 'l' index8                         leaf row
//	02 tree8 'n' stratum1 tile8 level1 node1    32-byte hash of a perfect subtree
//	02 tree8 'q' queued8 identity32             leaf row, waiting to be sequenced
//	02 tree8 'r'                                newest LogRootV1, TLS encoded, and its checksum
//	02 tree8 'x' key                            extra row of a service
//
// Nodes lie tile by tile (8 levels, as in tlog-tiles), so that the path of a
// leaf and the hashes of one tile are neighbours on disk. A node is the hash of
// a perfect subtree, hence written once and never changed.
const (
	layoutVersion = 1

	spaceMeta = 0x00
	spaceTree = 0x01
	spaceData = 0x02

	kindLeafHash = 'h'
	kindIdentity = 'i'
	kindLeaf     = 'l'
	kindNode     = 'n'
	kindQueue    = 'q'
	kindRoot     = 'r'
	kindExtra    = 'x'

	hashSize   = 32
	tileHeight = 8
)

func layoutKey() []byte { return append([]byte{spaceMeta}, "layout"...) }

func treeKey(tree int64) []byte {
	return binary.BigEndian.AppendUint64([]byte{spaceTree}, uint64(tree))
}

// dataKey starts the key of a row of one tree, with room for the longest rest.
func dataKey(tree int64, kind byte) []byte {
	k := append(make([]byte, 0, 10+1+hashSize+8), spaceData)
	k = binary.BigEndian.AppendUint64(k, uint64(tree))
	return append(k, kind)
}

// dataRange bounds every row of a tree.
func dataRange(tree int64) (low, high []byte) {
	low = dataKey(tree, 0)
	return low[:len(low)-1], append(low[:len(low)-1:len(low)-1], 0xff)
}

func rootKey(tree int64) []byte { return dataKey(tree, kindRoot) }

func identityKey(tree int64, identity []byte) []byte {
	return append(dataKey(tree, kindIdentity), identity...)
}

func leafHashKey(tree int64, leafHash []byte) []byte {
	return append(dataKey(tree, kindLeafHash), leafHash...)
}

func leafKey(tree int64, index uint64) []byte {
	return binary.BigEndian.AppendUint64(dataKey(tree, kindLeaf), index)
}

func extraKey(tree int64, key []byte) []byte {
	return append(dataKey(tree, kindExtra), key...)
}

// queueKey orders the queue by time, then identity. Flipping the sign bit makes
// times before 1970 sort first.
func queueKey(tree, queuedNanos int64, identity []byte) []byte {
	k := binary.BigEndian.AppendUint64(dataKey(tree, kindQueue), orderedTime(queuedNanos))
	return append(k, identity...)
}

func orderedTime(nanos int64) uint64 { return uint64(nanos) ^ 1<<63 }

func nodeKey(tree int64, id compact.NodeID) []byte {
	return appendNodeKey(make([]byte, 0, nodeKeySize), tree, id)
}

// nodeKeySize is the length of every node's key.
const nodeKeySize = 10 + 1 + 8 + 2

func appendNodeKey(k []byte, tree int64, id compact.NodeID) []byte {
	stratum, level := id.Level/tileHeight, id.Level%tileHeight
	width := tileHeight - level // bits that number the nodes of this level within a tile
	k = append(k, spaceData)
	k = binary.BigEndian.AppendUint64(k, uint64(tree))
	k = append(k, kindNode, byte(stratum))
	k = binary.BigEndian.AppendUint64(k, id.Index>>width)
	return append(k, byte(level), byte(id.Index&(1<<width-1)))
}

// indexOf reads the index that ends a leaf's key.
func indexOf(key []byte) (uint64, error) {
	if len(key) < 10+8 {
		return 0, fmt.Errorf("key %x is too short to end in an index", key)
	}
	return binary.BigEndian.Uint64(key[len(key)-8:]), nil
}

// place says where the leaf of an identity is: sequenced at an index, or still
// in the queue since a time.
type place struct {
	queued bool
	at     uint64 // index, or orderedTime of queueing
}

const placeSize = 9

func (p place) encode() []byte {
	b := make([]byte, 1, placeSize)
	if p.queued {
		b[0] = 1
	}
	return binary.BigEndian.AppendUint64(b, p.at)
}

func decodePlace(b []byte) (place, error) {
	if len(b) != placeSize || b[0] > 1 {
		return place{}, fmt.Errorf("identity row %x is damaged", b)
	}
	return place{queued: b[0] == 1, at: binary.BigEndian.Uint64(b[1:])}, nil
}

// decodeIndexes reads a row of the leaf hash index: 8 bytes each.
func decodeIndexes(row []byte) ([]uint64, error) {
	if len(row)%8 != 0 {
		return nil, fmt.Errorf("leaf hash row %x is damaged", row)
	}
	indexes := make([]uint64, 0, len(row)/8+1)
	for ; len(row) > 0; row = row[8:] {
		indexes = append(indexes, binary.BigEndian.Uint64(row))
	}
	return indexes, nil
}
