package merkle

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// maxBundle is the most leaves in a bundle that is read.
const maxBundle = 4 * bundleLeaves

// What an outcome begins with.
const (
	outcomeWhole = iota // an answer with its leaf
	outcomeSent         // an answer of which the leaf is the one that was sent
	outcomeError
)

// EncodeLeaves returns a bundle of leaves with their rows.
func EncodeLeaves(leaves []Leaf) []byte {
	size := int64(16)
	for _, l := range leaves {
		size += l.size()
	}
	b := binary.AppendUvarint(append(make([]byte, 0, size), wireVersion), uint64(len(leaves)))
	for _, l := range leaves {
		b = appendBytes(b, EncodeLeaf(l))
	}
	return b
}

// DecodeLeaves is the inverse of EncodeLeaves. The leaves refer to b.
func DecodeLeaves(b []byte) ([]Leaf, error) {
	d := decoder{b: b}
	d.version()
	leaves := make([]Leaf, d.bundle())
	for i := range leaves {
		text := d.bytes()
		if d.err != nil {
			break
		}
		var err error
		if leaves[i], err = DecodeLeaf(text); err != nil {
			return nil, err
		}
	}
	if err := d.end(); err != nil {
		return nil, fmt.Errorf("decode leaves: %w", err)
	}
	return leaves, nil
}

// EncodeOutcomes returns what came of the leaves that were sent, in their order. Of an
// error it holds what strangers may know.
func EncodeOutcomes(sent []Leaf, outcomes []Outcome) []byte {
	b := binary.AppendUvarint([]byte{wireVersion}, uint64(len(outcomes)))
	for i, o := range outcomes {
		switch a := o.Added; {
		case o.Err != nil:
			kind, retry, text := faultOf(o.Err)
			b = binary.AppendUvarint(append(b, outcomeError), kind)
			b = appendBytes(binary.AppendUvarint(b, uint64(retry.Milliseconds())), []byte(text))
		case sameLeaf(a.Entry.Leaf, sent[i]):
			a.Entry.Leaf = Leaf{}
			b = appendBytes(append(b, outcomeSent), EncodeAdded(a))
		default:
			b = appendBytes(append(b, outcomeWhole), EncodeAdded(a))
		}
	}
	return b
}

// sameLeaf compares all but rows, which no answer has.
func sameLeaf(a, b Leaf) bool {
	return a.Identity == b.Identity && bytes.Equal(a.Value, b.Value) && bytes.Equal(a.Extra, b.Extra)
}

// DecodeOutcomes is the inverse of EncodeOutcomes: one of each leaf that was sent. They
// refer to b and to the leaves.
func DecodeOutcomes(sent []Leaf, b []byte) ([]Outcome, error) {
	d := decoder{b: b}
	d.version()
	if n := d.bundle(); d.err == nil && n != uint64(len(sent)) {
		d.refuse(fmt.Errorf("there are %d of %d leaves", n, len(sent)))
	}
	outcomes := make([]Outcome, len(sent))
	for i := range outcomes {
		outcomes[i] = d.outcome(sent[i])
	}
	if err := d.end(); err != nil {
		return nil, fmt.Errorf("decode outcomes: %w", err)
	}
	return outcomes, nil
}

func (d *decoder) outcome(sent Leaf) (o Outcome) {
	tag := d.take(1)
	if tag == nil {
		return o
	}
	if tag[0] == outcomeError {
		kind, milliseconds := d.uvarint(), d.uvarint()
		if kind >= 1<<16 || milliseconds >= 1<<32 {
			d.refuse(errors.New("an error is malformed"))
		}
		return Outcome{Err: faultOn(kind, time.Duration(milliseconds)*time.Millisecond, string(d.bytes()))}
	}
	text := d.bytes()
	if d.err != nil {
		return o
	}
	a, err := DecodeAdded(text)
	switch {
	case err != nil:
		d.refuse(err)
	case tag[0] == outcomeSent && sameLeaf(a.Entry.Leaf, Leaf{}):
		a.Entry.Leaf = Leaf{Identity: sent.Identity, Value: sent.Value, Extra: sent.Extra}
	case tag[0] != outcomeWhole || sameLeaf(a.Entry.Leaf, sent):
		d.refuse(errors.New("an answer is not of its kind"))
	}
	return Outcome{Added: a}
}

// bundle reads how many parts follow.
func (d *decoder) bundle() uint64 {
	n := d.count(1)
	if n > maxBundle {
		d.refuse(fmt.Errorf("%d leaves are more than travel together", n))
		return 0
	}
	return n
}
