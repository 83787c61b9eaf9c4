package pebblelog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/google/trillian"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// A leaf row holds a leaf but for its index, which is in the key:
//
//	flags1 leafhash32 [identity32] queued8 integrated8 extralen-uvarint extra value [checksum4]
//
// Times are nanoseconds since 1970, zero for "not yet". The identity is left
// out where it equals the leaf hash, as in most logs.
const (
	flagOwnIdentity = 0x01
	flagChecksum    = 0x02
)

var errLeafRow = errors.New("leaf row is damaged")

// encodeLeaf returns the row of leaf; its hashes must have 32 bytes.
func encodeLeaf(leaf *trillian.LogLeaf) ([]byte, error) {
	if len(leaf.MerkleLeafHash) != hashSize || len(leaf.LeafIdentityHash) != hashSize {
		return nil, fmt.Errorf("leaf hash has %d bytes and identity %d, want %d each",
			len(leaf.MerkleLeafHash), len(leaf.LeafIdentityHash), hashSize)
	}
	b := make([]byte, 1, 1+2*hashSize+16+binary.MaxVarintLen64+len(leaf.ExtraData)+len(leaf.LeafValue)+checksumSize)
	b[0] = flagChecksum
	b = append(b, leaf.MerkleLeafHash...)
	if !bytes.Equal(leaf.LeafIdentityHash, leaf.MerkleLeafHash) {
		b[0] |= flagOwnIdentity
		b = append(b, leaf.LeafIdentityHash...)
	}
	b = binary.BigEndian.AppendUint64(b, uint64(nanos(leaf.QueueTimestamp)))
	b = binary.BigEndian.AppendUint64(b, uint64(nanos(leaf.IntegrateTimestamp)))
	b = binary.AppendUvarint(b, uint64(len(leaf.ExtraData)))
	return sealed(append(append(b, leaf.ExtraData...), leaf.LeafValue...)), nil
}

// decodeLeaf is the inverse of encodeLeaf and accepts nothing else. The leaf
// shares row's bytes.
func decodeLeaf(row []byte, index int64) (*trillian.LogLeaf, error) {
	leaf, sound, err := decodeLeafRow(row, index)
	if err == nil && !sound {
		err = errLeafRow
	}
	return leaf, err
}

// decodeLeafRow decodes a row whatever its checksum; sound tells whether that is
// right.
func decodeLeafRow(row []byte, index int64) (leaf *trillian.LogLeaf, sound bool, err error) {
	sound = true
	if len(row) > 0 && row[0]&flagChecksum != 0 {
		row, sound = unsealed(row)
	}
	leaf, err = parseLeaf(row, index)
	return leaf, sound, err
}

func parseLeaf(row []byte, index int64) (*trillian.LogLeaf, error) {
	leaf := &trillian.LogLeaf{LeafIndex: index}
	if len(row) < 1+hashSize || row[0]&^(flagOwnIdentity|flagChecksum) != 0 {
		return nil, errLeafRow
	}
	flags, rest := row[0], row[1:]
	leaf.MerkleLeafHash, rest = rest[:hashSize:hashSize], rest[hashSize:]
	leaf.LeafIdentityHash = leaf.MerkleLeafHash
	if flags&flagOwnIdentity != 0 {
		if len(rest) < hashSize || bytes.Equal(rest[:hashSize], leaf.MerkleLeafHash) {
			return nil, errLeafRow
		}
		leaf.LeafIdentityHash, rest = rest[:hashSize:hashSize], rest[hashSize:]
	}
	if len(rest) < 16 {
		return nil, errLeafRow
	}
	leaf.QueueTimestamp = timestamp(int64(binary.BigEndian.Uint64(rest)))
	leaf.IntegrateTimestamp = timestamp(int64(binary.BigEndian.Uint64(rest[8:])))
	extra, n := binary.Uvarint(rest[16:])
	if n <= 0 || n != uvarintLen(extra) || extra > uint64(len(rest)-16-n) {
		return nil, errLeafRow
	}
	body := rest[16+n:]
	leaf.ExtraData, leaf.LeafValue = body[:extra:extra], body[extra:]
	return leaf, nil
}

// uvarintLen is the length of v's shortest encoding, the only one accepted.
func uvarintLen(v uint64) int {
	return len(binary.AppendUvarint(nil, v))
}

// nanos returns ts in nanoseconds since 1970, 0 for nil.
func nanos(ts *timestamppb.Timestamp) int64 {
	if ts == nil {
		return 0
	}
	return ts.AsTime().UnixNano()
}

func timestamp(nanos int64) *timestamppb.Timestamp {
	return timestamppb.New(time.Unix(0, nanos))
}
