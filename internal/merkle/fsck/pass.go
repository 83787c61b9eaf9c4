package fsck

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"sigstack/internal/merkle/pebblelog"
)

// Leaves go through in batches, so many at a time that nobody waits.
const (
	batchLeaves = 128
	batchBytes  = 1 << 20
)

// batch is some leaves on their way through derive.
type batch struct {
	indexes []uint64
	rows    [][]byte
	size    int
	out     []derived
	done    chan struct{}
}

// passLeaves reads all leaves once, derives what follows from each in as many
// goroutines as there are processors, and collects that in order.
func (c *treeChecker) passLeaves(ctx context.Context) error {
	c.hashes, c.last = newRange(), 0
	if c.head != nil {
		c.head.seen = false
	}
	c.checkPublished()
	ctx, cancel := context.WithCancel(ctx)
	workers := runtime.GOMAXPROCS(0)
	todo, ordered := make(chan *batch, workers), make(chan *batch, 2*workers)
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for b := range todo {
				for i, row := range b.rows {
					b.out = append(b.out, c.derive(b.indexes[i], row))
				}
				close(b.done)
			}
		})
	}
	var readErr error
	all.Go(func() {
		defer close(ordered)
		defer close(todo)
		readErr = c.readLeaves(ctx, func(b *batch) bool {
			select {
			case ordered <- b: // first, so that the order is that of reading
			case <-ctx.Done():
				return false
			}
			select {
			case todo <- b:
				return true
			case <-ctx.Done():
				close(b.done)
				return false
			}
		})
	})
	err := c.collectAll(ordered)
	cancel()
	all.Wait()
	if err == nil && readErr != nil {
		return fmt.Errorf("read leaves: %w", readErr)
	}
	if err != nil {
		return err
	}
	for c.root != nil && c.hashes.End() < c.root.TreeSize {
		if len(c.broken) > maxMissing {
			break
		}
		if err := c.missing(); err != nil {
			return err
		}
	}
	return nil
}

// maxMissing bounds what is noted of leaves one by one: of a log that has lost
// millions it is enough to know that.
const maxMissing = 1 << 20

func (c *treeChecker) collectAll(ordered <-chan *batch) error {
	var total uint64
	if c.root != nil {
		total = c.root.TreeSize
	}
	step := "entries of " + c.tree.Name
	if c.naming != nil {
		step = "entries of " + c.tree.Name + ", to name rows"
	}
	var failed error
	for b := range ordered {
		<-b.done
		for i := range b.out {
			if failed == nil {
				failed = c.collect(b.out[i])
			}
		}
		c.Progress(step, c.hashes.End(), max(total, c.hashes.End()))
		if failed != nil {
			return failed
		}
	}
	return nil
}

func (c *treeChecker) readLeaves(ctx context.Context, hand func(*batch) bool) error {
	low, high := pebblelog.LeafRange(c.tree.ID)
	b := &batch{done: make(chan struct{})}
	err := c.scan(ctx, low, high, func(key, value []byte) error {
		k := pebblelog.ParseKey(key)
		if k.Kind != pebblelog.RowLeaf {
			return nil // the pass over the rows finds it
		}
		b.indexes, b.rows, b.size = append(b.indexes, k.Index), append(b.rows, bytes.Clone(value)), b.size+len(value)
		if len(b.rows) < batchLeaves && b.size < batchBytes {
			return nil
		}
		full := b
		b = &batch{done: make(chan struct{})}
		if !hand(full) {
			return ctx.Err()
		}
		return nil
	})
	if err == nil && len(b.rows) > 0 {
		hand(b)
	}
	return err
}

// passRows reads all other rows once.
func (c *treeChecker) passRows(ctx context.Context) error {
	low, high := pebblelog.TreeRange(c.tree.ID)
	leaves, behind := pebblelog.LeafRange(c.tree.ID)
	for _, r := range []keyRange{{low, leaves}, {behind, high}} {
		if err := c.scan(ctx, r.low, r.high, c.row); err != nil {
			return err
		}
	}
	return nil
}

// row enters a row that is there; in the second pass it asks where it comes from.
func (c *treeChecker) row(key, value []byte) error {
	k := pebblelog.ParseKey(key)
	c.report.Rows++
	if c.report.Rows%65536 == 0 {
		c.Progress("rows of "+c.tree.Name, c.report.Rows, 0)
	}
	switch k.Kind {
	case pebblelog.RowRoot:
	case pebblelog.RowNode:
		c.have(key, value, k)
	case pebblelog.RowIdentity:
		if index, err := pebblelog.DecodeIdentityRow(value); err != nil || !c.broken[index] {
			c.have(key, value, k)
		}
	case pebblelog.RowHashes:
		c.hashesRow(key, value, k)
	case pebblelog.RowExtra:
		c.extraRow(key, value, k)
	default:
		c.report1(Problem{Kind: Extra, What: "row", Where: keyName(key, c.Trees), Detail: "nothing leads to it"})
	}
	return nil
}

func (c *treeChecker) hashesRow(key, value []byte, k pebblelog.RowKey) {
	indexes, err := pebblelog.DecodeHashesRow(value)
	if err != nil || len(indexes) == 0 || !slices.IsSorted(indexes) {
		c.report1(Problem{Kind: Differs, What: "leaf hash", Where: keyName(key, c.Trees), Detail: fmt.Sprintf("row %x is no list of indexes", value)})
	}
	for _, index := range indexes {
		if !c.broken[index] {
			c.have(binary.BigEndian.AppendUint64(bytes.Clone(key), index), nil, k)
		}
	}
}

func (c *treeChecker) extraRow(key, value []byte, k pebblelog.RowKey) {
	s := c.tree.Service
	switch {
	case s == nil || len(k.Extra) < 8 && !s.Shared(k.Extra):
		c.report1(Problem{Kind: Extra, What: "row", Where: keyName(key, c.Trees), Detail: "nothing leads to it"})
	case s.Shared(k.Extra):
		if c.naming != nil {
			return
		}
		if err := s.Sound(k.Extra, value); err != nil {
			c.problem(Problem{Kind: Differs, What: s.What(k.Extra), Where: keyName(key, c.Trees), Detail: err.Error()})
		}
		if _, ok := c.shared[sharedID(k.Extra)]; !ok && len(c.broken) == 0 {
			c.problem(Problem{Kind: Extra, What: s.What(k.Extra), Where: keyName(key, c.Trees), Detail: "no entry leads to it"})
		}
	case !c.broken[binary.BigEndian.Uint64(k.Extra[len(k.Extra)-8:])]:
		c.have(key, value, k)
	}
}

func (c *treeChecker) have(key, value []byte, k pebblelog.RowKey) {
	if c.naming == nil {
		c.stored.add(key, value)
	} else if c.naming[c.stored.bucket(key)] {
		c.askOf(key, value, k)
	}
}

// name goes over everything again, for the rows in buckets that differ.
func (c *treeChecker) name(ctx context.Context) error {
	before := c.checker.report.Count
	report := c.report
	if err := errors.Join(c.passLeaves(ctx), c.passRows(ctx)); err != nil {
		return err
	}
	c.report = report
	if c.checker.report.Count == before {
		c.problem(Problem{Kind: Differs, What: "rows", Detail: "they are not those that the entries demand, in number or content"})
	}
	return nil
}
