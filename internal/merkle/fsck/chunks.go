package fsck

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// The write-ahead log and the manifest are files of records, which are cut into
// chunks, none of which crosses a border of 32 KiB:
//
//	checksum4 length2 type1 [lognumber4 [synced8]] payload
//
// All is little-endian. Types 1 to 4 have the short header, 5 to 8 the log's number
// in it, 9 to 12 also up to where the log was durable. The checksum is the masked
// CRC-32C of all from the type on. Pebble takes whatever it cannot read at the end
// of such a file for what a crash leaves; here every bit that flipped is told from
// that.
const (
	recordBlock  = 32 << 10
	shortHeader  = 7
	logHeader    = 11
	syncHeader   = 19
	trailerType  = 5 // the chunk that ends a log has this type, the next number and no payload
	maskDelta    = 0xa282ead8
	paddingLimit = syncHeader // less than this at the end of a block may be left empty
)

// recordFile is a file of records.
type recordFile struct {
	data   []byte
	number uint32 // of a write-ahead log; 0: a manifest, whose chunks have none
}

// chunk is one that can be read.
type chunk struct {
	size int // header and all
	end  bool
}

var errNoChunk = errors.New("no chunk")

// at reads the chunk at off.
func (f recordFile) at(off int) (chunk, error) {
	block := f.data[off:min(len(f.data), off-off%recordBlock+recordBlock)]
	if len(block) < shortHeader {
		return chunk{}, errNoChunk
	}
	typ := int(block[6])
	header := 0
	switch {
	case typ >= 1 && typ <= 4 && f.number == 0:
		header = shortHeader
	case typ >= 5 && typ <= 8 && f.number != 0:
		header = logHeader
	case typ >= 9 && typ <= 12 && f.number != 0:
		header = syncHeader
	default:
		return chunk{}, errNoChunk
	}
	size := header + int(binary.LittleEndian.Uint16(block[4:]))
	if f.number != 0 && len(block) >= logHeader && string(block[:logHeader]) == string(f.trailer()) {
		return chunk{logHeader, true}, nil
	}
	if size > len(block) || masked(block[6:size]) != binary.LittleEndian.Uint32(block) {
		return chunk{}, errNoChunk
	}
	if f.number != 0 && binary.LittleEndian.Uint32(block[7:]) != f.number {
		return chunk{}, errNoChunk
	}
	return chunk{size: size}, nil
}

// trailer ends a log that was closed. It has no checksum.
func (f recordFile) trailer() []byte {
	return binary.LittleEndian.AppendUint32([]byte{0, 0, 0, 0, 0, 0, trailerType}, f.number+1)
}

func masked(b []byte) uint32 {
	c := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
	return (c>>15 | c<<17) + maskDelta
}

// verdict is what is found in a file of records.
type verdict struct {
	readable int64  // up to where records can be read
	damage   string // "": none
	rest     int64  // bytes behind that are no record: what a killed process leaves
}

// check reads every chunk.
func (f recordFile) check() verdict {
	off := 0
	for off < len(f.data) {
		left := recordBlock - off%recordBlock
		if pad := f.data[off:min(len(f.data), off+left)]; left < paddingLimit && zero(pad) {
			off += len(pad)
			continue
		}
		c, err := f.at(off)
		if err != nil {
			return f.broken(off)
		}
		if c.end {
			return verdict{readable: int64(off + c.size)}
		}
		off += c.size
	}
	return verdict{readable: int64(off)}
}

// broken judges what cannot be read at off: the end, or damage. Of a log file that
// is used again the end is followed by whatever was in it before.
func (f recordFile) broken(off int) verdict {
	v := verdict{readable: int64(off)}
	switch {
	case zero(f.data[off:]):
		return v // the file is longer than what was written
	case f.follows(off):
		v.damage = fmt.Sprintf("the record at byte %d cannot be read, and there are others behind it", off)
	case f.flipped(off):
		v.damage = fmt.Sprintf("a bit of the last record, at byte %d, has flipped", off)
	default:
		v.rest = int64(len(f.data) - off)
	}
	return v
}

// follows tells whether a chunk of this log is found behind a broken one: right
// behind it, if its length is sound, or at the beginning of a block.
func (f recordFile) follows(off int) bool {
	next := []int{}
	if off+shortHeader <= len(f.data) {
		length := int(binary.LittleEndian.Uint16(f.data[off+4:]))
		for _, header := range []int{shortHeader, logHeader, syncHeader} {
			next = append(next, off+header+length)
		}
	}
	for block := off - off%recordBlock + recordBlock; block < len(f.data); block += recordBlock {
		next = append(next, block)
	}
	for _, at := range next {
		if at < len(f.data) {
			if _, err := f.at(at); err == nil {
				return true
			}
		}
	}
	return false
}

// flipped tells whether turning one bit back makes a chunk.
func (f recordFile) flipped(off int) bool {
	end := min(len(f.data), off-off%recordBlock+recordBlock)
	head := min(syncHeader, end-off)
	try := recordFile{bytes.Clone(f.data[:end]), f.number}
	for bit := range head * 8 {
		if try.withFlipped(off, bit) {
			return true
		}
	}
	if head < syncHeader {
		return false
	}
	return f.payloadFlipped(off, end)
}

func (f recordFile) withFlipped(off, bit int) bool {
	f.data[off+bit/8] ^= 1 << (bit % 8)
	_, err := f.at(off)
	f.data[off+bit/8] ^= 1 << (bit % 8)
	return err == nil
}

// payloadFlipped looks for a bit of the payload. The CRC is linear: what one bit
// does to it depends on nothing but how far from the end it is.
func (f recordFile) payloadFlipped(off, end int) bool {
	header := map[bool]int{true: shortHeader, false: syncHeader}[f.number == 0]
	if typ := f.data[off+6]; f.number != 0 && typ < 9 {
		header = logHeader
	}
	size := header + int(binary.LittleEndian.Uint16(f.data[off+4:]))
	if off+size > end {
		return false
	}
	sum := binary.LittleEndian.Uint32(f.data[off:]) - maskDelta
	want := sum>>17 | sum<<15
	table := crc32.MakeTable(crc32.Castagnoli)
	differs := crc32.Checksum(f.data[off+6:off+size], table) ^ want
	// What a flipped bit b does, in the last byte, then in the one before, ...
	var effect [8]uint32
	for b := range effect {
		effect[b] = table[byte(1)<<b]
	}
	for range size - 6 {
		for b := range effect {
			if effect[b] == differs {
				return true
			}
			effect[b] = table[byte(effect[b])] ^ effect[b]>>8
		}
	}
	return false
}

func zero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }

// readAll reads a file of records whole: they are a few MiB at most.
func readAll(r io.Reader, most int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("file has more than %d bytes", most)
	}
	return data, err
}
