package fsck

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/transparency-dev/merkle/rfc6962"

	"sigstack/internal/merkle"
)

// Database is storage of a tree, in use by any number of processes, whose services'
// rows can be read in order and changed.
type Database interface {
	merkle.Storage
	// Rows returns the rows low <= key < high of a tree, in the order of their keys, at
	// most limit of them.
	Rows(ctx context.Context, tree int64, low, high []byte, limit int) ([]merkle.Row, error)
	// RowsAt returns the values of those rows of a tree that are there, by key.
	RowsAt(ctx context.Context, tree int64, keys [][]byte) (map[string][]byte, error)
	// ChangeRows writes rows of a tree and removes others, in one commit.
	ChangeRows(ctx context.Context, tree int64, write []merkle.Row, remove [][]byte) error
}

// ReindexDatabase does what Reindex does, in a database.
func ReindexDatabase(ctx context.Context, db Database, t Tree, prefix byte, now func() time.Time, progress func(step string, done, total uint64)) (Reindexed, error) {
	r := &databaseReindexer{db: db, tree: t, prefix: prefix, progress: progress, now: now, done: Reindexed{Name: t.Name}, broken: map[uint64]bool{}}
	r.expected, r.stored = newLedgers()
	if err := r.write(ctx); err != nil {
		return r.done, fmt.Errorf("make the index of %s again: %w", t.Name, err)
	}
	if err := r.remove(ctx); err != nil {
		return r.done, fmt.Errorf("make the index of %s again: %w", t.Name, err)
	}
	return r.done, nil
}

type databaseReindexer struct {
	db       Database
	tree     Tree
	prefix   byte
	now      func() time.Time
	progress func(step string, done, total uint64)
	done     Reindexed

	log      *merkle.Tree // as it was when its rows were made again
	expected *ledger
	stored   *ledger
	broken   map[uint64]bool
}

func (r *databaseReindexer) open(ctx context.Context) (*merkle.Tree, error) {
	return merkle.Open(ctx, merkle.Config{Storage: r.db, TreeID: r.tree.ID, Now: r.now})
}

// write goes through the leaves and writes what rows are not as they must be.
func (r *databaseReindexer) write(ctx context.Context) (err error) {
	if r.log, err = r.open(ctx); err != nil {
		return err
	}
	r.done.Entries = r.log.Head().Size
	for first := uint64(0); first < r.done.Entries; {
		entries, err := r.log.Entries(ctx, first, maxChanges/8)
		if err != nil {
			return err
		}
		if err := r.writeOf(ctx, entries); err != nil {
			return err
		}
		first += uint64(len(entries))
		r.progress("entries of "+r.tree.Name, first, r.done.Entries)
	}
	return nil
}

// writeOf does so for some leaves.
func (r *databaseReindexer) writeOf(ctx context.Context, entries []merkle.Entry) error {
	var rows []merkle.Row
	var keys [][]byte
	for _, e := range entries {
		of, err := r.rowsOf(e)
		if err != nil {
			r.broken[e.Index] = true
			r.done.DamagedCount++
			if len(r.done.Damaged) < maxDamaged {
				r.done.Damaged = append(r.done.Damaged, e.Index)
			}
			continue
		}
		for _, row := range of {
			r.expected.add(row.Key, row.Value)
			rows, keys = append(rows, row), append(keys, row.Key)
		}
	}
	have, err := r.db.RowsAt(ctx, r.tree.ID, keys)
	if err != nil {
		return err
	}
	wrong := slices.DeleteFunc(rows, func(row merkle.Row) bool {
		value, found := have[string(row.Key)]
		return found && bytes.Equal(value, row.Value)
	})
	if len(wrong) == 0 {
		return nil
	}
	r.done.Written += uint64(len(wrong))
	return r.db.ChangeRows(ctx, r.tree.ID, wrong, nil)
}

// rowsOf are the rows of an entry that are made again, by their whole keys.
func (r *databaseReindexer) rowsOf(e merkle.Entry) ([]merkle.Row, error) {
	if hash := rfc6962.DefaultHasher.HashLeaf(e.Leaf.Value); !bytes.Equal(hash, e.LeafHash[:]) {
		return nil, fmt.Errorf("entry %d hashes to %x, stored is %x", e.Index, hash, e.LeafHash)
	}
	all, err := r.tree.Service.Rows(e)
	if err != nil {
		return nil, err
	}
	var out []merkle.Row
	for _, row := range all {
		if row.ByIndex && len(row.Key) > 0 && row.Key[0] == r.prefix {
			out = append(out, merkle.Row{Key: binary.BigEndian.AppendUint64(bytes.Clone(row.Key), e.Index), Value: row.Value})
		}
	}
	return out, nil
}

// remove looks for rows that nothing leads to: where the sums of what must be there
// and what is differ.
func (r *databaseReindexer) remove(ctx context.Context) error {
	rows := uint64(0)
	if err := r.pages(ctx, func(page []merkle.Row) error {
		rows += uint64(len(page))
		r.progress("rows of "+r.tree.Name, rows, 0)
		return r.sum(ctx, page)
	}); err != nil {
		return err
	}
	differing := r.expected.differing(r.stored)
	if differing == nil {
		return nil
	}
	return r.pages(ctx, func(page []merkle.Row) error {
		var drop [][]byte
		for _, row := range page {
			index, ours := indexIn(row.Key)
			if !ours || index >= r.done.Entries || r.broken[index] || !differing[r.stored.bucket(row.Key)] {
				continue
			}
			if leads, err := r.leads(ctx, index, row.Key); err != nil {
				return err
			} else if !leads {
				drop = append(drop, row.Key)
			}
		}
		return r.drop(ctx, drop)
	})
}

// sum adds up rows of entries that were made again, and drops those of none.
func (r *databaseReindexer) sum(ctx context.Context, page []merkle.Row) error {
	var drop [][]byte
	size := uint64(math.MaxUint64) // of the tree after the page was read
	for _, row := range page {
		index, ours := indexIn(row.Key)
		if ours && index >= r.done.Entries && size == math.MaxUint64 {
			// Rows are committed with their entry, so that by now it is in the tree.
			log, err := r.open(ctx)
			if err != nil {
				return err
			}
			size = log.Head().Size
		}
		switch {
		case !ours || index >= r.done.Entries && index >= size:
			drop = append(drop, row.Key)
		case index < r.done.Entries && !r.broken[index]:
			r.stored.add(row.Key, row.Value)
		}
	}
	return r.drop(ctx, drop)
}

func (r *databaseReindexer) drop(ctx context.Context, keys [][]byte) error {
	if len(keys) == 0 {
		return nil
	}
	r.done.Removed += uint64(len(keys))
	return r.db.ChangeRows(ctx, r.tree.ID, nil, keys)
}

// pages calls f with all rows of the prefix, in order.
func (r *databaseReindexer) pages(ctx context.Context, f func([]merkle.Row) error) error {
	low, high := []byte{r.prefix}, []byte{r.prefix + 1}
	for {
		page, err := r.db.Rows(ctx, r.tree.ID, low, high, maxChanges)
		if err != nil || len(page) == 0 {
			return err
		}
		low = append(bytes.Clone(page[len(page)-1].Key), 0)
		if err := f(page); err != nil {
			return err
		}
	}
}

// indexIn is the index at the end of a row's key; ours is false for a key that no row
// of an entry has.
func indexIn(key []byte) (index uint64, ours bool) {
	if len(key) != 1+32+8 {
		return 0, false
	}
	return binary.BigEndian.Uint64(key[len(key)-8:]), true
}

// leads tells whether an entry has that row. An entry that cannot be read keeps what
// it has.
func (r *databaseReindexer) leads(ctx context.Context, index uint64, key []byte) (bool, error) {
	entry, err := r.log.Entry(ctx, index)
	if err != nil {
		return false, err
	}
	rows, err := r.rowsOf(entry)
	if err != nil {
		return true, nil //nolint:nilerr // it was counted as damaged
	}
	return slices.ContainsFunc(rows, func(row merkle.Row) bool { return bytes.Equal(row.Key, key) }), nil
}
