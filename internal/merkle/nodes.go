package merkle

import (
	"context"
	"sync"

	"github.com/google/trillian/storage"
	"github.com/transparency-dev/merkle/compact"
)

// Nodes of this level and above, one per 256 entries or more, are kept in
// memory: most of any proof, of a log of any age, is made of them. Below, the
// driver keeps the nodes of one tile close together.
const (
	cacheFromLevel = 8
	maxCachedNodes = 1 << 16 // of 48 bytes and their map: about 8 MB
)

// nodeCache holds nodes that were read. A stored node is the hash of a perfect
// subtree of published entries, so it never changes.
type nodeCache struct {
	mu    sync.RWMutex
	nodes map[compact.NodeID][]byte // guarded by mu
}

func newNodeCache() *nodeCache {
	return &nodeCache{nodes: map[compact.NodeID][]byte{}}
}

func (c *nodeCache) get(id compact.NodeID) []byte {
	if id.Level < cacheFromLevel {
		return nil
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.nodes[id]
}

func (c *nodeCache) put(id compact.NodeID, hash []byte) {
	if id.Level < cacheFromLevel {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.nodes) >= maxCachedNodes {
		for some := range c.nodes { // any one: map order is random enough
			delete(c.nodes, some)
			break
		}
	}
	c.nodes[id] = hash
}

// hashes returns the hashes of stored nodes, in the order of ids.
func (t *Tree) hashes(ctx context.Context, ids []compact.NodeID) ([][]byte, error) {
	hashes := make([][]byte, len(ids))
	var missing []compact.NodeID
	for i, id := range ids {
		if hashes[i] = t.nodes.get(id); hashes[i] == nil {
			missing = append(missing, id)
		}
	}
	if len(missing) == 0 {
		return hashes, nil
	}
	err := t.view(ctx, func(tx storage.ReadOnlyLogTreeTX) error {
		nodes, err := tx.GetMerkleNodes(ctx, missing)
		if err != nil {
			return err
		}
		next := 0
		for i := range hashes {
			if hashes[i] != nil {
				continue
			}
			hashes[i] = nodes[next].Hash
			t.nodes.put(nodes[next].ID, nodes[next].Hash)
			next++
		}
		return nil
	})
	return hashes, err
}
