package merkle

import (
	"container/list"
	"iter"
	"sync"

	"github.com/transparency-dev/merkle/compact"
)

// A tile is what storage keeps together: tileHeight levels of nodes above 256
// leaves, or above 256 tiles of the stratum below.
const (
	tileHeight = 8
	tileWidth  = 1 << tileHeight
	tileNodes  = 2*tileWidth - 2 // all but the top, which is a leaf of the stratum above
)

// tileID names a tile of a tree.
type tileID struct {
	tree    int64
	stratum uint
	index   uint64
}

// tileOf returns the tile of a node, and which of the tile's nodes it is.
func tileOf(tree int64, id compact.NodeID) (tileID, int) {
	stratum, level := id.Level/tileHeight, id.Level%tileHeight
	width := tileHeight - level // bits that number the nodes of this level within a tile
	first := 2 * (tileWidth - 1<<width)
	return tileID{tree, stratum, id.Index >> width}, first + int(id.Index&(1<<width-1))
}

// nodes returns the nodes of a tile that a tree of that size has, in the order of
// storage.
func (t tileID) nodes(size uint64) []compact.NodeID {
	ids := make([]compact.NodeID, 0, tileNodes)
	for level := uint(0); level < tileHeight; level++ {
		width := tileHeight - level
		first := t.index << width
		end := min(first+1<<width, size>>(t.stratum*tileHeight+level))
		for index := first; index < end; index++ {
			ids = append(ids, compact.NewNodeID(t.stratum*tileHeight+level, index))
		}
	}
	return ids
}

// tile holds some nodes of a tile, which never change.
type tile struct {
	known  [tileNodes/64 + 1]uint64 // bits, by node
	hashes [tileNodes][32]byte
}

func (t *tile) has(node int) bool { return t.known[node/64]>>(node%64)&1 == 1 }

// tileBytes is what a tile takes, its place in the cache included.
const tileBytes = 16<<10 + 256

// NodeCache keeps nodes of trees in memory: the tiles that were used last, within
// a bound in bytes. Every proof is made of nodes, and most proofs share them. One
// cache may serve many trees of one storage, and is safe for concurrent use.
type NodeCache struct {
	limit int // in tiles

	mu    sync.Mutex
	tiles map[tileID]*list.Element // guarded by mu; values are *cachedTile
	used  *list.List               // guarded by mu: the tile that was used last in front
}

type cachedTile struct {
	id tileID
	*tile
}

// NewNodeCache returns a cache that takes at most so many bytes, at least one
// tile's 16 KB.
func NewNodeCache(bytes int) *NodeCache {
	return &NodeCache{limit: max(bytes/tileBytes, 1), tiles: map[tileID]*list.Element{}, used: list.New()}
}

// Bytes is about what the cache takes now.
func (c *NodeCache) Bytes() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.used.Len() * tileBytes
}

// get sets the hashes, in the order of ids, that it has, and returns the tiles of
// those that it has not, each with whether some of its nodes are there. The hashes
// must not be changed.
func (c *NodeCache) get(tree int64, ids []compact.NodeID, hashes [][]byte) (cold map[tileID]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, id := range ids {
		at, node := tileOf(tree, id)
		e, ok := c.tiles[at]
		if ok {
			c.used.MoveToFront(e)
			if t := e.Value.(*cachedTile); t.has(node) {
				hashes[i] = t.hashes[node][:]
				continue
			}
		}
		if cold == nil {
			cold = map[tileID]bool{}
		}
		cold[at] = ok
	}
	return cold
}

// put keeps stored nodes, and lets go of the tiles that were not used for longest.
func (c *NodeCache) put(tree int64, nodes iter.Seq2[compact.NodeID, []byte]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var last cachedTile // nodes mostly come tile by tile
	for id, hash := range nodes {
		at, node := tileOf(tree, id)
		if last.tile == nil || last.id != at {
			last = cachedTile{at, c.touch(at)}
		}
		if len(hash) == 32 && !last.has(node) { // what is known may be being read
			copy(last.hashes[node][:], hash)
			last.known[node/64] |= 1 << (node % 64)
		}
	}
}

// touch returns the tile, which is the one used last then. It is called with mu
// held.
func (c *NodeCache) touch(at tileID) *tile {
	if e, ok := c.tiles[at]; ok {
		c.used.MoveToFront(e)
		return e.Value.(*cachedTile).tile
	}
	for c.used.Len() >= c.limit {
		oldest := c.used.Back()
		delete(c.tiles, oldest.Value.(*cachedTile).id)
		c.used.Remove(oldest) // not used again: who got hashes of it may still read them
	}
	t := new(tile)
	c.tiles[at] = c.used.PushFront(&cachedTile{at, t})
	return t
}
