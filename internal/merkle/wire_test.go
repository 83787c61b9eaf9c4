package merkle_test

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"sigstack/internal/merkle"
)

func wireLeaves() []merkle.Leaf {
	return []merkle.Leaf{
		{Value: []byte("v")},
		{Value: bytes.Repeat([]byte("long "), 100), Extra: []byte("extra"), Identity: [32]byte{1, 2, 31: 3}, Rows: []merkle.Row{
			{Key: []byte("k"), Value: []byte("v")}, {Key: []byte("k2"), ByIndex: true},
		}},
	}
}

func wireAnswers() []merkle.Added {
	at := time.Unix(1_700_000_000, 123_456_789).UTC()
	return []merkle.Added{
		{
			Entry: merkle.Entry{Leaf: merkle.Leaf{Value: []byte("v")}, IntegratedAt: at, QueuedAt: at.Add(-time.Second)},
			Proof: merkle.Proof{Size: 1, Hashes: [][]byte{}, Time: at},
		},
		{
			Entry:     merkle.Entry{Leaf: merkle.Leaf{Value: []byte("w"), Extra: []byte("x"), Identity: [32]byte{7}}, Index: 300, LeafHash: [32]byte{8}},
			Proof:     merkle.Proof{Index: 300, Size: 1 << 40, Root: [32]byte{9}, Hashes: [][]byte{bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)}},
			Duplicate: true,
		},
	}
}

func TestLeavesAndAnswersTravel(t *testing.T) {
	for _, want := range wireLeaves() {
		got, err := merkle.DecodeLeaf(merkle.EncodeLeaf(want))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("leaf: got %+v, %v, want %+v", got, err, want)
		}
	}
	for _, want := range wireAnswers() {
		got, err := merkle.DecodeAdded(merkle.EncodeAdded(want))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("answer: got %+v, %v, want %+v", got, err, want)
		}
	}
}

// TestWireIsWhole cuts every encoding short, and lengthens it.
func TestWireIsWhole(t *testing.T) {
	for _, l := range wireLeaves() {
		b := merkle.EncodeLeaf(l)
		for n := range b {
			if got, err := merkle.DecodeLeaf(b[:n]); err == nil {
				t.Errorf("%d bytes of %d are read as leaf %+v", n, len(b), got)
			}
		}
		if _, err := merkle.DecodeLeaf(append(b, 0)); err == nil {
			t.Error("a leaf with something behind it is read")
		}
	}
	for _, a := range wireAnswers() {
		b := merkle.EncodeAdded(a)
		for n := range b {
			if got, err := merkle.DecodeAdded(b[:n]); err == nil {
				t.Errorf("%d bytes of %d are read as answer %+v", n, len(b), got)
			}
		}
		if _, err := merkle.DecodeAdded(append(b, 0)); err == nil {
			t.Error("an answer with something behind it is read")
		}
	}
	newer := append([]byte{2}, merkle.EncodeLeaf(wireLeaves()[0])[1:]...)
	if _, err := merkle.DecodeLeaf(newer); err == nil {
		t.Error("a leaf of another version is read")
	}
}

// FuzzDecodeLeaf: what is accepted is what its content encodes to.
func FuzzDecodeLeaf(f *testing.F) {
	for _, l := range wireLeaves() {
		f.Add(merkle.EncodeLeaf(l))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := merkle.DecodeLeaf(bytes.Clone(b))
		if err != nil {
			return
		}
		if again := merkle.EncodeLeaf(l); !bytes.Equal(again, b) {
			t.Errorf("%x is read, and encodes to %x", b, again)
		}
	})
}

// FuzzDecodeAdded: likewise.
func FuzzDecodeAdded(f *testing.F) {
	for _, a := range wireAnswers() {
		f.Add(merkle.EncodeAdded(a))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := merkle.DecodeAdded(bytes.Clone(b))
		if err != nil {
			return
		}
		if again := merkle.EncodeAdded(a); !bytes.Equal(again, b) {
			t.Errorf("%x is read, and encodes to %x", b, again)
		}
	})
}
