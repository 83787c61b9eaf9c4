package fsck

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"

	"github.com/google/trillian/types"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"

	"sigstack/internal/merkle"
	"sigstack/internal/merkle/pebblelog"
)

// treeChecker checks one tree. What the entries demand and what is there is summed
// up, each in a pass of its own; where the sums differ a second pass names rows.
type treeChecker struct {
	*checker
	tree Tree
	root *types.LogRootV1 // nil: it cannot be read

	expected, stored *ledger
	shared           map[[16]byte]struct{} // keys of shared rows that some entry has
	broken           map[uint64]bool       // entries whose leaf cannot be used: their rows are not judged
	naming           map[int]bool          // buckets to name rows of; nil in the first pass

	// Of the pass over the leaves.
	hashes   *compact.Range
	last     int64 // integrated time of the newest leaf that is sound
	lastLeaf int64 // of the newest leaf
	report   TreeReport
	head     *publishedHead
}

func newTreeChecker(k *checker, t Tree) *treeChecker {
	c := &treeChecker{checker: k, tree: t, shared: map[[16]byte]struct{}{}, broken: map[uint64]bool{}}
	c.expected, c.stored = newLedgers()
	c.report = TreeReport{Name: t.Name, ID: t.ID}
	return c
}

// problem reports one of this tree.
func (c *treeChecker) problem(p Problem) {
	p.Log = c.tree.Name
	c.checker.problem(p)
}

// at makes a problem one of an entry.
func at(index uint64, p Problem) Problem {
	p.Index = &index
	return p
}

func (c *treeChecker) run(ctx context.Context) error {
	c.readRoot()
	c.readHead()
	if err := c.passLeaves(ctx); err != nil {
		return err
	}
	c.checkEnd()
	if err := c.passRows(ctx); err != nil {
		return err
	}
	if c.naming = c.expected.differing(c.stored); c.naming != nil {
		if err := c.name(ctx); err != nil {
			return err
		}
	}
	c.checker.report.Trees = append(c.checker.report.Trees, c.report)
	return nil
}

func (c *treeChecker) readRoot() {
	row, found, err := c.view.Get(pebblelog.RootRowKey(c.tree.ID))
	switch {
	case err != nil:
		c.problem(Problem{Kind: Unreadable, What: "root", Detail: err.Error()})
	case !found:
		c.problem(Problem{Kind: Missing, What: "root", Detail: "the tree has no root"})
	default:
		if c.root, err = pebblelog.DecodeRootRow(row); err != nil {
			c.problem(Problem{Kind: Differs, What: "root", Detail: err.Error()})
		}
	}
}

// derived is what follows from the row of one leaf.
type derived struct {
	index      uint64
	err        error    // the row cannot be read
	sound      bool     // its checksum is right
	value      [32]byte // leaf hash of what is logged
	hash       [32]byte // leaf hash as stored
	identity   [32]byte
	integrated int64
	rows       []Row
	rowsErr    error
}

// derive runs in any goroutine.
func (c *treeChecker) derive(index uint64, row []byte) derived {
	d := derived{index: index}
	leaf, sound, err := pebblelog.DecodeLeafRow(row, index)
	if err != nil {
		d.err = err
		return d
	}
	d.sound, d.integrated = sound, leaf.IntegrateTimestamp.AsTime().UnixNano()
	d.hash, d.identity = [32]byte(leaf.MerkleLeafHash), [32]byte(leaf.LeafIdentityHash)
	d.value = [32]byte(rfc6962.DefaultHasher.HashLeaf(leaf.LeafValue))
	if c.tree.Service != nil && d.value == d.hash {
		d.rows, d.rowsErr = c.tree.Service.Rows(merkle.Entry{
			Leaf: merkle.Leaf{Value: leaf.LeafValue, Extra: leaf.ExtraData, Identity: d.identity}, Index: index, LeafHash: d.hash,
			QueuedAt: leaf.QueueTimestamp.AsTime(), IntegratedAt: leaf.IntegrateTimestamp.AsTime(),
		})
	}
	return d
}

// collect takes what follows from leaves, in their order.
func (c *treeChecker) collect(d derived) error {
	for c.hashes.End() < d.index && (c.root == nil || c.hashes.End() < c.root.TreeSize) {
		if err := c.missing(); err != nil {
			return err
		}
	}
	if c.root != nil && d.index >= c.root.TreeSize {
		c.broken[d.index] = true
		c.report1(at(d.index, Problem{Kind: Extra, What: "leaf", Detail: fmt.Sprintf("the tree has %d entries", c.root.TreeSize)}))
		return nil
	}
	hash := c.judge(d)
	if c.broken[d.index] {
		return c.append(hash)
	}
	if err := c.append(hash); err != nil {
		return err
	}
	c.lastLeaf = d.integrated
	if d.sound {
		if d.integrated < c.last {
			c.report1(at(d.index, Problem{Kind: Differs, What: "leaf", Field: "integrated time", Detail: "it is before that of the entry before"}))
		}
		c.last = d.integrated
	}
	c.expect(pebblelog.IdentityRowKey(c.tree.ID, d.identity[:]), pebblelog.IdentityRow(d.index))
	if d.identity != d.hash {
		c.expect(binary.BigEndian.AppendUint64(pebblelog.HashesRowKey(c.tree.ID, d.hash[:]), d.index), nil)
	}
	for _, r := range d.rows {
		c.expectRow(d.index, r)
	}
	return nil
}

// report1 reports a problem in the first pass only.
func (c *treeChecker) report1(p Problem) {
	if c.naming == nil {
		c.problem(p)
	}
}

// missing goes on without the next leaf.
func (c *treeChecker) missing() error {
	index := c.hashes.End()
	c.broken[index] = true
	c.report1(at(index, Problem{Kind: Missing, What: "leaf", Detail: "its row is not there, or cannot be read"}))
	node, ok := c.storedNode(index)
	if !ok {
		c.report1(at(index, Problem{Kind: Missing, What: "node", Where: fmt.Sprintf("node %d of level 0", index), Detail: "neither the leaf nor its hash is there: nodes above it are not what they were"}))
	}
	return c.append(node[:])
}

// storedNode is the leaf hash that the Merkle tree has.
func (c *treeChecker) storedNode(index uint64) (hash [32]byte, ok bool) {
	row, found, err := c.view.Get(pebblelog.NodeRowKey(c.tree.ID, compact.NodeID{Index: index}))
	if err != nil || !found || len(row) != len(hash) {
		return hash, false
	}
	return [32]byte(row), true
}

// judge says what is wrong with a leaf, and returns the hash to go on with: what
// two of value, leaf hash and node agree on.
func (c *treeChecker) judge(d derived) []byte {
	if d.err != nil {
		c.broken[d.index] = true
		c.report1(at(d.index, Problem{Kind: Differs, What: "leaf", Field: "row", Detail: d.err.Error()}))
		node, _ := c.storedNode(d.index)
		return node[:]
	}
	if d.value == d.hash {
		switch {
		case d.rowsErr != nil:
			c.broken[d.index] = true
			c.report1(at(d.index, Problem{Kind: Differs, What: "leaf", Field: "extra data", Detail: d.rowsErr.Error()}))
		case !d.sound:
			c.report1(at(d.index, Problem{Kind: Differs, What: "leaf", Field: "times, identity or extra data", Detail: "the row has another checksum; value and leaf hash are right"}))
		}
		return d.value[:]
	}
	c.broken[d.index] = true
	p := Problem{Kind: Differs, What: "leaf", Field: "value", Detail: fmt.Sprintf("it hashes to %x, stored is %x", d.value, d.hash)}
	node, _ := c.storedNode(d.index)
	if node == d.value {
		p.Field = "leaf hash"
		c.report1(at(d.index, p))
		return d.value[:]
	}
	c.report1(at(d.index, p))
	return d.hash[:]
}

// append adds a leaf hash to the tree, and expects the nodes that it completes.
func (c *treeChecker) append(hash []byte) error {
	err := c.hashes.Append(hash, func(id compact.NodeID, hash []byte) {
		c.expect(pebblelog.NodeRowKey(c.tree.ID, id), hash)
	})
	if err != nil {
		return fmt.Errorf("append entry %d: %w", c.hashes.End(), err)
	}
	c.checkPublished()
	return nil
}

// expectRow expects a row of the service.
func (c *treeChecker) expectRow(index uint64, r Row) {
	key := r.Key
	if r.ByIndex {
		key = binary.BigEndian.AppendUint64(bytes.Clone(key), index)
	}
	if !r.Shared {
		c.expect(pebblelog.ExtraRowKey(c.tree.ID, key), r.Value)
		return
	}
	if c.naming != nil {
		return
	}
	c.shared[sharedID(key)] = struct{}{}
	if r.Optional {
		return
	}
	if _, found, err := c.view.Get(pebblelog.ExtraRowKey(c.tree.ID, key)); err != nil || !found {
		p := at(index, Problem{Kind: Missing, What: c.tree.Service.What(key), Detail: "the entry was logged with such a row"})
		if err != nil {
			p.Kind, p.Detail = Unreadable, err.Error()
		}
		c.problem(p)
	}
}

// expect enters a row that must be there; in the second pass it looks.
func (c *treeChecker) expect(key, value []byte) {
	if c.naming == nil {
		c.expected.add(key, value)
	} else if c.naming[c.expected.bucket(key)] {
		c.lookAt(key, value)
	}
}

// checkEnd checks the whole against the newest root.
func (c *treeChecker) checkEnd() {
	c.report.Size = c.hashes.End()
	root := rootOf(c.hashes)
	c.report.Root = fmt.Sprintf("%x", root)
	c.checkPublishedEnd()
	if c.root == nil {
		return
	}
	size, newest := c.root.TreeSize, int64(c.root.TimestampNanos)
	if !bytes.Equal(root[:], c.root.RootHash) {
		c.problem(Problem{Kind: Differs, What: "root", Field: "hash", Detail: fmt.Sprintf("the %d entries hash to %x, the root is %x", size, root, c.root.RootHash)})
	}
	if size > 0 && !c.broken[size-1] && (newest < c.lastLeaf || newest != c.lastLeaf && !c.tree.Refreshed) {
		c.problem(Problem{Kind: Differs, What: "root", Field: "time", Detail: fmt.Sprintf("it is %d, that of the newest entry %d", newest, c.lastLeaf)})
	}
}

func rootOf(r *compact.Range) [32]byte {
	if r.End() == 0 {
		return [32]byte(rfc6962.DefaultHasher.EmptyRoot())
	}
	hash, err := r.GetRootHash(nil)
	if err != nil {
		panic("fsck: a range that is not empty has no root: " + err.Error())
	}
	return [32]byte(hash)
}

func newRange() *compact.Range {
	return (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewEmptyRange(0)
}
