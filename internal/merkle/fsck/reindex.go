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

// Reindexed is what a Reindex did to one tree.
type Reindexed struct {
	Name    string `json:"log"`
	Entries uint64 `json:"entries"`
	Written uint64 `json:"written"` // rows that were missing, or others than they must be
	Removed uint64 `json:"removed"` // rows that nothing leads to
	// Damaged are entries whose leaf is damaged, so that their rows were left alone:
	// the first of them, and how many there are.
	Damaged      []uint64 `json:"damaged,omitempty"`
	DamagedCount uint64   `json:"damaged_count"`
}

// maxDamaged bounds Reindexed.Damaged.
const maxDamaged = 20

// maxChanges is how many rows are changed in one commit. Whoever adds entries
// meanwhile waits for no more than that.
const maxChanges = 1024

// Reindex makes the service's rows by index whose keys begin with prefix again,
// from the leaves: those that are missing or wrong are written, and those that
// nothing leads to removed. The store may be in use. Whenever it ends, each row is
// as before or as it must be; another one goes on with the rest.
func Reindex(ctx context.Context, store *pebblelog.Store, t Tree, prefix byte, progress func(step string, done, total uint64)) (Reindexed, error) {
	r := &reindexer{store: store, tree: t, prefix: prefix, progress: progress, done: Reindexed{Name: t.Name}, broken: map[uint64]bool{}}
	r.expected, r.stored = newLedgers()
	for _, step := range []func(context.Context) error{r.write, r.remove} {
		if err := r.on(ctx, step); err != nil {
			return r.done, fmt.Errorf("make the index of %s again: %w", t.Name, err)
		}
	}
	return r.done, nil
}

type reindexer struct {
	store    *pebblelog.Store
	tree     Tree
	prefix   byte
	progress func(step string, done, total uint64)
	done     Reindexed

	view     *pebblelog.View
	size     uint64 // entries of the tree in this view
	entries  uint64 // entries whose rows are made again
	expected *ledger
	stored   *ledger
	broken   map[uint64]bool
	changes  []pebblelog.Change
}

// on runs a step on the rows as they are then.
func (r *reindexer) on(ctx context.Context, step func(context.Context) error) (err error) {
	if r.view, err = r.store.View(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.view.Close()) }()
	row, found, err := r.view.Get(pebblelog.RootRowKey(r.tree.ID))
	if err != nil || !found {
		return errors.Join(err, fmt.Errorf("read root (found: %v)", found))
	}
	root, err := pebblelog.DecodeRootRow(row)
	if err != nil {
		return err
	}
	r.size = root.TreeSize
	return step(ctx)
}

// write goes through the leaves and writes what rows are not as they must be.
func (r *reindexer) write(ctx context.Context) error {
	r.entries, r.done.Entries = r.size, r.size
	var indexes []uint64
	var rows [][]byte
	held := 0 // bytes of rows
	flush := func() error {
		err := r.writeOf(indexes, rows)
		if len(indexes) > 0 {
			r.progress("entries of "+r.tree.Name, indexes[len(indexes)-1]+1, r.size)
		}
		indexes, rows, held = indexes[:0], rows[:0], 0
		return err
	}
	low, _ := pebblelog.LeafRange(r.tree.ID)
	err := r.view.Scan(ctx, low, pebblelog.LeafRowKey(r.tree.ID, r.size), func(key, value []byte) error {
		indexes, rows = append(indexes, pebblelog.ParseKey(key).Index), append(rows, bytes.Clone(value))
		if held += len(value); len(rows) < batchLeaves && held < batchBytes {
			return nil
		}
		return flush()
	})
	if err != nil {
		return err
	}
	return errors.Join(flush(), r.commit(1))
}

// writeOf does so for some leaves.
func (r *reindexer) writeOf(indexes []uint64, rows [][]byte) error {
	for i, d := range r.derive(indexes, rows) {
		if d.err != nil || d.value != d.hash || d.rowsErr != nil {
			r.broken[indexes[i]] = true
			r.done.DamagedCount++
			if len(r.done.Damaged) < maxDamaged {
				r.done.Damaged = append(r.done.Damaged, indexes[i])
			}
			continue
		}
		for _, row := range d.rows {
			if err := r.writeRow(indexes[i], row); err != nil {
				return err
			}
		}
	}
	return r.commit(maxChanges)
}

// derive derives what follows from leaves, on all processors.
func (r *reindexer) derive(indexes []uint64, rows [][]byte) []derived {
	c := &treeChecker{tree: r.tree}
	out := make([]derived, len(rows))
	var all sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		all.Go(func() {
			for i := w; i < len(rows); i += workers {
				out[i] = c.derive(indexes[i], rows[i])
			}
		})
	}
	all.Wait()
	return out
}

func (r *reindexer) writeRow(index uint64, row Row) error {
	if !row.ByIndex || len(row.Key) == 0 || row.Key[0] != r.prefix {
		return nil
	}
	key := binary.BigEndian.AppendUint64(bytes.Clone(row.Key), index)
	full := pebblelog.ExtraRowKey(r.tree.ID, key)
	r.expected.add(full, row.Value)
	got, found, err := r.view.Get(full)
	if err != nil || found && bytes.Equal(got, row.Value) {
		return err
	}
	r.done.Written++
	r.changes = append(r.changes, pebblelog.Change{Key: key, Value: bytes.Clone(row.Value)})
	return nil
}

// commit makes the changes so far, if they are that many.
func (r *reindexer) commit(least int) error {
	for part := range slices.Chunk(r.changes, maxChanges) {
		if len(part) < least {
			r.changes = slices.Clone(part)
			return nil
		}
		if err := r.store.ChangeExtra(r.tree.ID, part); err != nil {
			return err
		}
	}
	r.changes = nil
	return nil
}

// remove looks for rows that nothing leads to: where the sums of what must be there
// and what is differ.
func (r *reindexer) remove(ctx context.Context) error {
	low, high := pebblelog.ExtraRange(r.tree.ID, r.prefix)
	rows := uint64(0)
	if err := r.view.Scan(ctx, low, high, func(key, value []byte) error {
		if rows++; rows%65536 == 0 {
			r.progress("rows of "+r.tree.Name, rows, 0)
		}
		if index, ours := r.indexOf(key); ours && index < r.entries && !r.broken[index] {
			r.stored.add(key, value)
		} else if !ours || index >= r.size {
			r.drop(key)
		}
		return r.commit(maxChanges)
	}); err != nil {
		return err
	}
	differing := r.expected.differing(r.stored)
	if differing == nil {
		return r.commit(1)
	}
	if err := r.view.Scan(ctx, low, high, func(key, _ []byte) error {
		index, ours := r.indexOf(key)
		if !ours || index >= r.entries || r.broken[index] || !differing[r.stored.bucket(key)] || r.leads(index, key) {
			return nil
		}
		r.drop(key)
		return r.commit(maxChanges)
	}); err != nil {
		return err
	}
	return r.commit(1)
}

// indexOf is the index at the end of a row's key; ours is false for a key that no
// row of an entry has.
func (r *reindexer) indexOf(key []byte) (index uint64, ours bool) {
	k := pebblelog.ParseKey(key)
	if k.Kind != pebblelog.RowExtra || len(k.Extra) != 1+32+8 {
		return 0, false
	}
	return binary.BigEndian.Uint64(k.Extra[len(k.Extra)-8:]), true
}

func (r *reindexer) drop(key []byte) {
	r.done.Removed++
	r.changes = append(r.changes, pebblelog.Change{Key: bytes.Clone(pebblelog.ParseKey(key).Extra)})
}

// leads tells whether an entry has that row.
func (r *reindexer) leads(index uint64, key []byte) bool {
	row, found, err := r.view.Get(pebblelog.LeafRowKey(r.tree.ID, index))
	if err != nil || !found {
		return err != nil // what cannot be read is left alone
	}
	d := r.derive([]uint64{index}, [][]byte{row})[0]
	extra := pebblelog.ParseKey(key).Extra
	return slices.ContainsFunc(d.rows, func(row Row) bool { return row.ByIndex && bytes.Equal(row.Key, extra[:len(extra)-8]) })
}
