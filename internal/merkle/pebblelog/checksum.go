package pebblelog

import (
	"encoding/binary"
	"hash/crc32"

	"google.golang.org/protobuf/encoding/protowire"
)

// Rows whose content nothing else tells, such as the times of a leaf, end in a
// checksum, so that a bit that flips before Pebble takes it, or behind its own
// checksums, is found: CRC-32C of all that is before, 4 bytes. It is no defence
// against somebody who can write. Rows of versions before this one have none, and
// are read as ever.
const checksumSize = 4

func checksum(b []byte) []byte {
	return binary.BigEndian.AppendUint32(nil, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

// sealed appends the checksum.
func sealed(b []byte) []byte { return append(b, checksum(b)...) }

// unsealed takes the checksum off, and tells whether it is right.
func unsealed(b []byte) (content []byte, ok bool) {
	if len(b) < checksumSize {
		return b, false
	}
	content = b[: len(b)-checksumSize : len(b)-checksumSize]
	return content, string(checksum(content)) == string(b[len(content):])
}

// The checksum of a tree's row is a field that trillian.Tree does not have, at the
// end, so that versions before this one read the row, too.
const treeChecksumField = 2047

// sealTree appends the field.
func sealTree(row []byte) []byte {
	tag := protowire.AppendTag(nil, treeChecksumField, protowire.Fixed32Type)
	sum := checksum(row)
	return append(append(row, tag...), sum...)
}

// unsealTree takes the field off; ok tells whether it was right, and was there.
func unsealTree(row []byte) (content []byte, has, ok bool) {
	tag := protowire.AppendTag(nil, treeChecksumField, protowire.Fixed32Type)
	end := len(row) - len(tag) - checksumSize
	if end < 0 || string(row[end:end+len(tag)]) != string(tag) {
		return row, false, true
	}
	content = row[:end:end]
	return content, true, string(checksum(content)) == string(row[end+len(tag):])
}
