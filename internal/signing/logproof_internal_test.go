package signing

import (
	"fmt"
	"math/bits"
	"testing"

	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/merkle/testonly"
)

// TestRootsFollowFromProofs computes the root of every size from proofs in every
// larger tree, and compares with the tree's own.
func TestRootsFollowFromProofs(t *testing.T) {
	tree := testonly.New(rfc6962.DefaultHasher)
	for i := range 40 {
		tree.AppendData(fmt.Appendf(nil, "entry %d", i))
	}
	for size := uint64(1); size <= tree.Size(); size++ {
		p := prover{
			tree:  LogTree{TreeID: "1", Size: size, RootHash: fmt.Sprintf("%x", tree.HashAt(size))},
			proof: func(a, b uint64) ([][]byte, error) { return tree.ConsistencyProof(a, b) },
			entry: func(index uint64) (LogEntry, error) {
				hashes, err := tree.InclusionProof(index, size)
				e := LogEntry{TreeID: "1", Index: index, TreeSize: size}
				for _, h := range hashes {
					e.Hashes = append(e.Hashes, fmt.Sprintf("%x", h))
				}
				return e, err
			},
		}
		for second := uint64(1); second <= size; second++ {
			for first := uint64(1); first <= second; first++ {
				got, err := p.consistency(first, second)
				if err != nil || got.FirstRoot != fmt.Sprintf("%x", tree.HashAt(first)) || got.SecondRoot != fmt.Sprintf("%x", tree.HashAt(second)) {
					t.Fatalf("from %d to %d in %d: %+v, %v", first, second, size, got, err)
				}
			}
		}
	}
}

// FuzzConsistencyRoots: whatever leads to the root of a tree holds the root of the
// size asked for.
func FuzzConsistencyRoots(f *testing.F) {
	f.Add(uint64(3), uint64(7), 0, byte(0))
	f.Add(uint64(6), uint64(8), 2, byte(9))
	f.Fuzz(func(t *testing.T, first, second uint64, at int, flip byte) {
		if first == 0 || second > 64 || first >= second || bits.OnesCount64(first) == 1 {
			t.Skip()
		}
		tree := testonly.New(rfc6962.DefaultHasher)
		for i := range second {
			tree.AppendData(fmt.Appendf(nil, "entry %d", i))
		}
		hashes, err := tree.ConsistencyProof(first, second)
		if err != nil {
			t.Fatal(err)
		}
		if at >= 0 && at < 32*len(hashes) {
			hashes[at/32] = append([]byte(nil), hashes[at/32]...)
			hashes[at/32][at%32] ^= flip
		}
		old, full, err := consistencyRoots(first, second, hashes)
		if err == nil && string(full) == string(tree.Hash()) && string(old) != string(tree.HashAt(first)) {
			t.Errorf("a proof that leads to the root of %d has the root %x for %d, want %x", second, old, first, tree.HashAt(first))
		}
	})
}
