package merkle

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/transparency-dev/merkle/compact"
)

func TestTilesNumberNodesOnce(t *testing.T) {
	for _, tile := range []tileID{{1, 0, 0}, {1, 0, 77}, {1, 1, 3}, {1, 2, 0}} {
		ids := tile.nodes(1 << 40)
		if len(ids) != tileNodes {
			t.Fatalf("tile %v has %d nodes, want %d", tile, len(ids), tileNodes)
		}
		for i, id := range ids {
			if at, node := tileOf(tile.tree, id); at != tile || node != i {
				t.Fatalf("node %v is number %d of tile %v, want %d of %v", id, node, at, i, tile)
			}
		}
	}
}

// TestTileHasWhatTheTreeHas compares the nodes of a tile with those that storage
// keeps of a tree of that size: the perfect subtrees.
func TestTileHasWhatTheTreeHas(t *testing.T) {
	for _, size := range []uint64{0, 1, 2, 255, 256, 257, 300, 511, 512, 65535, 65536, 65537, 70_000} {
		want := map[tileID]int{}
		for level := uint(0); size>>level > 0; level++ {
			for index := range size >> level {
				at, _ := tileOf(1, compact.NewNodeID(level, index))
				want[at]++
			}
		}
		for at, n := range want {
			if got := len(at.nodes(size)); got != n {
				t.Errorf("tile %v of a tree of %d has %d nodes, want %d", at, size, got, n)
			}
		}
	}
}

// TestNodeCacheIsBounded throws random nodes at a cache, from several goroutines,
// and checks that it never takes more than its bound, answers with nothing but
// what was put, and has what was used last.
func TestNodeCacheIsBounded(t *testing.T) {
	const tiles = 5
	cache := NewNodeCache(tiles*tileBytes + tileBytes/2)
	var wg sync.WaitGroup
	for g := range 4 {
		rng := rand.New(rand.NewPCG(1, uint64(g)))
		wg.Go(func() {
			for range 20_000 {
				if err := randomUse(cache, rng); err != "" {
					t.Error(err)
					return
				}
				if got := cache.Bytes(); got > tiles*tileBytes {
					t.Errorf("cache takes %d bytes, want at most %d", got, tiles*tileBytes)
					return
				}
			}
		})
	}
	wg.Wait()
	for index := range uint64(tiles) { // then the last ones only
		id := compact.NewNodeID(0, index*tileWidth)
		cache.put(1, maps.All(map[compact.NodeID][]byte{id: hashOf(1, id)}))
	}
	for index := range uint64(tiles) {
		id := compact.NewNodeID(0, index*tileWidth)
		if cold := cache.get(1, []compact.NodeID{id}, make([][]byte, 1)); cold != nil {
			t.Errorf("tile %v is not in the cache, which has room for %d", cold, tiles)
		}
	}
}

// randomUse puts or gets a few nodes and tells what was wrong.
func randomUse(cache *NodeCache, rng *rand.Rand) string {
	tree := int64(rng.IntN(2) + 1)
	nodes := map[compact.NodeID][]byte{}
	var ids []compact.NodeID
	for range 1 + rng.IntN(8) {
		level := uint(rng.IntN(20))
		id := compact.NewNodeID(level, rng.Uint64N(3000)>>level)
		if nodes[id] == nil {
			nodes[id], ids = hashOf(tree, id), append(ids, id)
		}
	}
	if rng.IntN(3) == 0 {
		cache.put(tree, maps.All(nodes))
		return ""
	}
	hashes := make([][]byte, len(ids))
	cold := cache.get(tree, ids, hashes)
	for i, id := range ids {
		at, _ := tileOf(tree, id)
		switch {
		case hashes[i] == nil && !isCold(cold, at):
			return "a node is neither there nor said to be missing"
		case hashes[i] != nil && string(hashes[i]) != string(nodes[id]):
			return "a node has the hash of another"
		}
	}
	return ""
}

func isCold(cold map[tileID]bool, at tileID) bool {
	_, ok := cold[at]
	return ok
}

func hashOf(tree int64, id compact.NodeID) []byte {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64([]byte{byte(tree), byte(id.Level)}, id.Index))
	return sum[:]
}
