package merkle

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// How leaves, and the answers to them, travel between processes of one log: numbers
// are varints of the shortest form, bytes come behind their length. Every encoding
// that is accepted is the one that its content encodes to.

// wireVersion is the first byte of everything.
const wireVersion = 1

// maxPath is how many hashes an inclusion proof can have.
const maxPath = 64

// EncodeLeaf returns a leaf with its rows.
func EncodeLeaf(l Leaf) []byte {
	b := appendLeaf(make([]byte, 0, l.size()), l)
	b = binary.AppendUvarint(b, uint64(len(l.Rows)))
	for _, r := range l.Rows {
		b = appendBytes(appendBytes(appendBool(b, r.ByIndex), r.Key), r.Value)
	}
	return b
}

// DecodeLeaf is the inverse of EncodeLeaf. The leaf refers to b. Empty bytes are nil.
func DecodeLeaf(b []byte) (Leaf, error) {
	d := decoder{b: b}
	d.version()
	l := d.leaf()
	for range d.count(3) {
		l.Rows = append(l.Rows, Row{ByIndex: d.bool(), Key: d.bytes(), Value: d.bytes()})
	}
	if err := d.end(); err != nil {
		return Leaf{}, fmt.Errorf("decode leaf: %w", err)
	}
	return l, nil
}

// EncodeAdded returns an answer of Add, without rows, which it has not. Times are in
// nanoseconds since 1970, in 64 bits.
func EncodeAdded(a Added) []byte {
	b := appendLeaf(make([]byte, 0, a.Entry.Leaf.size()+maxPath*33), a.Entry.Leaf)
	b = binary.AppendUvarint(b, a.Entry.Index)
	b = append(b, a.Entry.LeafHash[:]...)
	b = appendTime(appendTime(b, a.Entry.QueuedAt), a.Entry.IntegratedAt)
	b = binary.AppendUvarint(binary.AppendUvarint(b, a.Proof.Index), a.Proof.Size)
	b = append(b, a.Proof.Root[:]...)
	b = binary.AppendUvarint(b, uint64(len(a.Proof.Hashes)))
	for _, h := range a.Proof.Hashes {
		b = append(b, h...)
	}
	return appendBool(appendTime(b, a.Proof.Time), a.Duplicate)
}

// DecodeAdded is the inverse of EncodeAdded. The answer refers to b.
func DecodeAdded(b []byte) (Added, error) {
	d := decoder{b: b}
	d.version()
	a := Added{Entry: Entry{Leaf: d.leaf(), Index: d.uvarint(), LeafHash: d.hash()}}
	a.Entry.QueuedAt, a.Entry.IntegratedAt = d.time(), d.time()
	a.Proof = Proof{Index: d.uvarint(), Size: d.uvarint(), Root: d.hash(), Hashes: [][]byte{}}
	n := d.count(32)
	if n > maxPath {
		d.refuse(errors.New("a proof is too long"))
		n = 0
	}
	for range n {
		a.Proof.Hashes = append(a.Proof.Hashes, d.take(32))
	}
	a.Proof.Time, a.Duplicate = d.time(), d.bool()
	if err := d.end(); err != nil {
		return Added{}, fmt.Errorf("decode answer: %w", err)
	}
	return a, nil
}

func appendLeaf(b []byte, l Leaf) []byte {
	b = append(append(b, wireVersion), l.Identity[:]...)
	return appendBytes(appendBytes(b, l.Value), l.Extra)
}

func appendBytes(b, value []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(value))), value...)
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// appendTime tells no time apart from all others.
func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(b, 0)
	}
	return binary.BigEndian.AppendUint64(append(b, 1), uint64(t.UnixNano()))
}

// decoder reads what the functions above append. After an error it returns zeros.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) refuse(err error) {
	if d.err == nil {
		d.err, d.b = err, nil
	}
}

// take returns the next n bytes, of its own capacity.
func (d *decoder) take(n uint64) []byte {
	if d.err == nil && n > uint64(len(d.b)) {
		d.refuse(errors.New("it is cut short"))
	}
	if d.err != nil || n == 0 {
		return nil
	}
	value := d.b[:n:n]
	d.b = d.b[n:]
	return value
}

func (d *decoder) version() {
	if v := d.take(1); v != nil && v[0] != wireVersion {
		d.refuse(fmt.Errorf("version %d is not known: replicas have to be of one release", v[0]))
	}
}

func (d *decoder) leaf() Leaf {
	return Leaf{Identity: d.hash(), Value: d.bytes(), Extra: d.bytes()}
}

func (d *decoder) bytes() []byte { return d.take(d.uvarint()) }

func (d *decoder) hash() (h [32]byte) {
	copy(h[:], d.take(32))
	return h
}

func (d *decoder) uvarint() uint64 {
	if d.err != nil {
		return 0
	}
	v, n := binary.Uvarint(d.b)
	if n <= 0 || !bytes.Equal(binary.AppendUvarint(nil, v), d.b[:n]) {
		d.refuse(errors.New("a number is malformed"))
		return 0
	}
	d.b = d.b[n:]
	return v
}

// count reads how many parts follow, of at least so many bytes each.
func (d *decoder) count(each uint64) uint64 {
	n := d.uvarint()
	if n > uint64(len(d.b))/each {
		d.refuse(errors.New("it is cut short"))
		return 0
	}
	return n
}

func (d *decoder) bool() bool {
	v := d.take(1)
	if v != nil && v[0] > 1 {
		d.refuse(errors.New("a truth value is malformed"))
		return false
	}
	return v != nil && v[0] == 1
}

func (d *decoder) time() time.Time {
	if !d.bool() {
		return time.Time{}
	}
	v := d.take(8)
	if v == nil {
		return time.Time{}
	}
	return time.Unix(0, int64(binary.BigEndian.Uint64(v))).UTC()
}

func (d *decoder) end() error {
	if d.err == nil && len(d.b) > 0 {
		d.refuse(errors.New("something follows it"))
	}
	return d.err
}
