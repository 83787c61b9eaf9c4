package fsck

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"time"

	"sigstack/internal/fault"
	"sigstack/internal/merkle"
)

// DatabaseTree is a tree to check in a database.
type DatabaseTree struct {
	Tree
	Storage Database
}

// RunDatabase checks trees in a database as Run does those of a directory, but for the
// files, which are the server's to check. Of Config, Limit and Progress count. Whoever
// adds entries meanwhile disturbs nothing: what came later is not looked at.
func RunDatabase(ctx context.Context, c Config, trees []DatabaseTree, now func() time.Time) (*Report, error) {
	k := newChecker(c)
	k.note("the logs are in a database, whose files are the server's to check (pg_amcheck, data checksums)")
	for _, t := range trees {
		d := &databaseChecker{checker: k, tree: t.Tree, db: t.Storage, now: now, shared: map[[16]byte]struct{}{}, broken: map[uint64]bool{}}
		d.expected, d.stored = newLedgers()
		if err := d.run(ctx); err != nil {
			return nil, fmt.Errorf("check %s: %w", t.Name, err)
		}
	}
	return k.report, nil
}

// databaseChecker checks one tree. Each entry names the rows that it has to have, which
// are looked up; that there are no others is told by the sums of both.
type databaseChecker struct {
	*checker
	tree Tree
	db   Database
	now  func() time.Time

	size             uint64
	rows             uint64
	expected, stored *ledger
	shared           map[[16]byte]struct{} // keys of shared rows that some entry has
	broken           map[uint64]bool       // entries whose leaf cannot be used: their rows are not judged
}

func (c *databaseChecker) problem(p Problem) {
	p.Log = c.tree.Name
	c.checker.problem(p)
}

func (c *databaseChecker) run(ctx context.Context) error {
	if _, err := c.open(ctx, c.tree.HeadFile); err != nil {
		if ctx.Err() != nil || fault.KindOf(err) == fault.Unavailable {
			return err
		}
		c.problem(Problem{Kind: Differs, What: "tree", Detail: err.Error()})
	}
	head, err := merkle.Examine(ctx, c.db, c.tree.ID, merkle.Examination{
		Damage:   c.damage,
		Entries:  func(entries []merkle.Entry) error { return c.entries(ctx, entries) },
		Progress: func(done, total uint64) { c.Progress("entries of "+c.tree.Name, done, total) },
	})
	if err != nil {
		return err
	}
	c.size = head.Size
	if err := c.pass(ctx); err != nil {
		return err
	}
	c.report.Trees = append(c.report.Trees, TreeReport{
		Name: c.tree.Name, ID: c.tree.ID, Size: head.Size, Root: hex.EncodeToString(head.Root[:]), Rows: c.rows,
	})
	return nil
}

func (c *databaseChecker) open(ctx context.Context, headFile string) (*merkle.Tree, error) {
	return merkle.Open(ctx, merkle.Config{Storage: c.db, TreeID: c.tree.ID, Now: c.now, HeadFile: headFile})
}

// damage reports what is wrong with the tree itself.
func (c *databaseChecker) damage(d merkle.Damage) error {
	p := Problem{Kind: Differs, What: d.What, Detail: d.Detail}
	if d.Missing {
		p.Kind = Missing
	}
	switch d.What {
	case "leaf":
		c.broken[d.Index] = true
		p = at(d.Index, p)
	case "identity", "leaf hash", "node":
		p = at(d.Index, p)
	}
	c.problem(p)
	return nil
}

// wanted is a row of an entry, by its whole key.
type wanted struct {
	Row
	index uint64
}

// entries looks up the rows of some entries.
func (c *databaseChecker) entries(ctx context.Context, entries []merkle.Entry) error {
	if c.tree.Service == nil {
		return nil
	}
	var rows []wanted
	var keys [][]byte
	for _, e := range entries {
		of, err := c.tree.Service.Rows(e)
		if err != nil {
			c.broken[e.Index] = true
			c.problem(at(e.Index, Problem{Kind: Differs, What: "leaf", Field: "extra data", Detail: err.Error()}))
			continue
		}
		for _, row := range of {
			if row.ByIndex {
				row.Key = binary.BigEndian.AppendUint64(bytes.Clone(row.Key), e.Index)
			}
			rows, keys = append(rows, wanted{row, e.Index}), append(keys, row.Key)
		}
	}
	have, err := c.db.RowsAt(ctx, c.tree.ID, keys)
	if err != nil {
		return err
	}
	for _, row := range rows {
		value, found := have[string(row.Key)]
		c.row(row, value, found)
	}
	return nil
}

// row compares a row of an entry with what is there. What was told here is told no more.
func (c *databaseChecker) row(row wanted, value []byte, found bool) {
	what := c.tree.Service.What(row.Key)
	if row.Shared {
		c.shared[sharedID(row.Key)] = struct{}{}
	}
	switch {
	case !found && !row.Optional:
		c.problem(at(row.index, Problem{Kind: Missing, What: what, Where: hex.EncodeToString(row.Key), Detail: "the entry was logged with such a row"}))
	case found && !row.Shared:
		if !bytes.Equal(value, row.Value) {
			c.problem(at(row.index, Problem{Kind: Differs, What: what, Where: hex.EncodeToString(row.Key), Detail: fmt.Sprintf("it is %x, want %x", value, row.Value)}))
		}
		c.expected.add(row.Key, value)
	}
}

// pass reads all rows, and names those that nothing leads to.
func (c *databaseChecker) pass(ctx context.Context) error {
	if err := c.pages(ctx, func(page []merkle.Row) error { return c.sum(ctx, page) }); err != nil {
		return err
	}
	differing := c.expected.differing(c.stored)
	if differing == nil {
		return nil
	}
	before := c.report.Count
	if err := c.name(ctx, differing); err != nil {
		return err
	}
	if c.report.Count == before {
		c.problem(Problem{Kind: Differs, What: "rows", Detail: "they are not those that the entries demand, in number or content"})
	}
	return nil
}

// sum adds up the rows of entries that were looked at, and judges the others.
func (c *databaseChecker) sum(ctx context.Context, page []merkle.Row) error {
	size := uint64(0) // of the tree after the page was read; 0: nobody had to ask
	for _, row := range page {
		index, ofEntry := c.entryOf(row.Key)
		if ofEntry && index < c.size {
			if !c.broken[index] {
				c.stored.add(row.Key, row.Value)
			}
			continue
		}
		if size == 0 {
			// Rows are committed with their entry, so that by now it is in the tree.
			var err error
			if size, err = c.newest(ctx); err != nil {
				return err
			}
		}
		switch {
		case !ofEntry:
			c.sharedRow(row, size > c.size)
		case index >= size:
			c.extra(row.Key, fmt.Sprintf("the tree has %d entries", size))
		}
	}
	return nil
}

// newest is how many entries the tree has by now.
func (c *databaseChecker) newest(ctx context.Context) (uint64, error) {
	log, err := c.open(ctx, "")
	if err == nil {
		return log.Head().Size, nil
	}
	if ctx.Err() != nil || fault.KindOf(err) == fault.Unavailable {
		return 0, err
	}
	return c.size, nil // it is damaged, which was told: nobody adds to it
}

// name goes over the rows in buckets that differ: those that no entry leads to.
func (c *databaseChecker) name(ctx context.Context, differing map[int]bool) error {
	wanted := map[string]bool{} // by whole keys
	_, err := merkle.Examine(ctx, c.db, c.tree.ID, merkle.Examination{
		Damage: func(merkle.Damage) error { return nil }, // was told
		Entries: func(entries []merkle.Entry) error {
			for _, e := range entries {
				for _, key := range c.keys(e) {
					if differing[c.stored.bucket(key)] {
						wanted[string(key)] = true
					}
				}
			}
			return nil
		},
		Progress: func(done, total uint64) { c.Progress("entries of "+c.tree.Name+", to name rows", done, total) },
	})
	if err != nil {
		return err
	}
	return c.pages(ctx, func(page []merkle.Row) error {
		for _, row := range page {
			index, ofEntry := c.entryOf(row.Key)
			if ofEntry && index < c.size && !c.broken[index] && differing[c.stored.bucket(row.Key)] && !wanted[string(row.Key)] {
				c.extra(row.Key, fmt.Sprintf("entry %d does not lead to it", index))
			}
		}
		return nil
	})
}

// keys are those of the rows of an entry that are of no other.
func (c *databaseChecker) keys(e merkle.Entry) (keys [][]byte) {
	if c.tree.Service == nil {
		return nil
	}
	rows, err := c.tree.Service.Rows(e)
	if err != nil {
		return nil // was told, and its rows are not judged
	}
	for _, row := range rows {
		if row.ByIndex {
			keys = append(keys, binary.BigEndian.AppendUint64(bytes.Clone(row.Key), e.Index))
		}
	}
	return keys
}

// entryOf is the entry that a row is of, by its key; ok is false for one that several
// may have, or none.
func (c *databaseChecker) entryOf(key []byte) (index uint64, ok bool) {
	if s := c.tree.Service; len(key) < 8 || s != nil && s.Shared(key) {
		return 0, false
	}
	return binary.BigEndian.Uint64(key[len(key)-8:]), true
}

// sharedRow judges a row that is of no single entry; grown: it may be of a newer one.
func (c *databaseChecker) sharedRow(row merkle.Row, grown bool) {
	s := c.tree.Service
	if s == nil || !s.Shared(row.Key) {
		c.extra(row.Key, "nothing leads to it")
		return
	}
	if err := s.Sound(row.Key, row.Value); err != nil {
		c.problem(Problem{Kind: Differs, What: s.What(row.Key), Where: hex.EncodeToString(row.Key), Detail: err.Error()})
	}
	if _, ok := c.shared[sharedID(row.Key)]; !ok && !grown && len(c.broken) == 0 {
		c.extra(row.Key, "no entry leads to it")
	}
}

func (c *databaseChecker) extra(key []byte, detail string) {
	what := "row"
	if c.tree.Service != nil {
		what = c.tree.Service.What(key)
	}
	c.problem(Problem{Kind: Extra, What: what, Where: hex.EncodeToString(key), Detail: detail})
}

// pages calls f with all rows of services, in the order of their keys.
func (c *databaseChecker) pages(ctx context.Context, f func([]merkle.Row) error) error {
	low, high := []byte{}, bytes.Repeat([]byte{math.MaxUint8}, 64)
	c.rows = 0
	for {
		page, err := c.db.Rows(ctx, c.tree.ID, low, high, maxChanges)
		if err != nil || len(page) == 0 {
			return err
		}
		c.rows += uint64(len(page))
		c.Progress("rows of "+c.tree.Name, c.rows, 0)
		low = append(bytes.Clone(page[len(page)-1].Key), 0)
		if err := f(page); err != nil {
			return err
		}
	}
}
