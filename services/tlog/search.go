package tlog

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/transparency-dev/merkle/rfc6962"

	"sigstack/internal/merkle"
	"sigstack/services/tlog/entry"
)

// The search index is made of rows that are committed with their entry, one for
// each term:
//
//	's' SHA-256(term)32 index8  ->  leaf hash32
//
// A leaf's extra data holds the SHA-256 of those of its terms that its value
// does not tell, 32 bytes each: with it every row can be made again from the
// leaves. An entry that was logged before there was an index has no rows, and
// adding it again does not make them.
const rowSearch = 's'

// Bounds of a search.
const (
	// MaxFound is how many entries a Search returns.
	MaxFound = 1000
	// maxRows is how many rows it reads before it gives up on the older ones:
	// two terms of many entries each may have none in common.
	maxRows = 50_000
	// rowChunk is how many rows of a term are read at once.
	rowChunk = 256
)

// leafOf is the leaf of an entry, with its rows.
func leafOf(canonical []byte, terms entry.Terms) merkle.Leaf {
	leaf := merkle.Leaf{Value: canonical}
	leafHash := rfc6962.DefaultHasher.HashLeaf(canonical)
	for _, term := range terms.Body {
		leaf.Rows = append(leaf.Rows, merkle.Row{Key: termKey(term), Value: leafHash, ByIndex: true})
	}
	for _, term := range terms.Payload {
		key := termKey(term)
		leaf.Extra = append(leaf.Extra, key[1:]...)
		leaf.Rows = append(leaf.Rows, merkle.Row{Key: key, Value: leafHash, ByIndex: true})
	}
	return leaf
}

func termKey(term string) []byte {
	digest := sha256.Sum256([]byte(term))
	return append([]byte{rowSearch}, digest[:]...)
}

// Found is what a search answers: the IDs of entries, the newest first.
type Found struct {
	IDs []string
	// More tells that older entries may have been left out.
	More bool
}

// Search finds the entries that have any of the terms or, if all, each of them.
// Terms are spelled as entry.Term has it; without any nothing is found.
func (s *Service) Search(ctx context.Context, terms []string, all bool) (Found, error) {
	found := Found{IDs: []string{}}
	left := maxRows
	for _, sh := range slices.Backward(*s.shards.Load()) {
		q := search{read: sh.RowsBefore, all: all, left: left}
		for _, term := range terms {
			q.cursors = append(q.cursors, &cursor{key: termKey(term)})
		}
		if err := q.collect(ctx, sh, &found); err != nil {
			return Found{}, classify(fmt.Errorf("search tree %d: %w", sh.ID(), err))
		}
		if found.More {
			break
		}
		left = q.left
	}
	return found, nil
}

// collect adds what is found in one shard until there is no more, or too much.
func (q *search) collect(ctx context.Context, sh *shard, found *Found) error {
	head, err := sh.Newest(ctx)
	if err != nil {
		return err
	}
	before := head.Size
	for len(q.cursors) > 0 {
		row, ok, err := q.next(ctx, before)
		if err != nil {
			return err
		}
		if !ok {
			found.More = q.left <= 0
			return nil
		}
		if len(found.IDs) == MaxFound {
			found.More = true
			return nil
		}
		if len(row.Value) != sha256.Size {
			return fmt.Errorf("row of entry %d holds %d bytes, not a leaf hash", row.Index, len(row.Value))
		}
		found.IDs = append(found.IDs, EntryID(sh.ID(), [32]byte(row.Value)))
		before = row.Index
	}
	return nil
}

// search walks down the rows of several terms at once.
type search struct {
	read    func(ctx context.Context, key []byte, before uint64, limit int) ([]merkle.IndexRow, error)
	cursors []*cursor
	all     bool
	left    int // rows that may still be read
}

// cursor is a place in the rows of one term.
type cursor struct {
	key  []byte
	rows []merkle.IndexRow // read ahead, the newest first
	end  bool              // nothing is older than rows
}

// next returns the newest entry below before that the search is for. There is
// none, too, when no row may be read any more.
func (q *search) next(ctx context.Context, before uint64) (merkle.IndexRow, bool, error) {
	for {
		rows := make([]merkle.IndexRow, 0, len(q.cursors))
		for _, c := range q.cursors {
			row, ok, err := q.seek(ctx, c, before)
			if err != nil {
				return merkle.IndexRow{}, false, err
			}
			if ok {
				rows = append(rows, row)
			}
			if q.left <= 0 || !ok && q.all {
				return merkle.IndexRow{}, false, nil
			}
		}
		if len(rows) == 0 {
			return merkle.IndexRow{}, false, nil
		}
		byIndex := func(a, b merkle.IndexRow) int { return cmp.Compare(a.Index, b.Index) }
		newest, oldest := slices.MaxFunc(rows, byIndex), slices.MinFunc(rows, byIndex)
		if !q.all || newest.Index == oldest.Index {
			return newest, true, nil
		}
		before = oldest.Index + 1 // a common one is no newer than this
	}
}

// seek returns the cursor's newest row below before, which never rises.
func (q *search) seek(ctx context.Context, c *cursor, before uint64) (merkle.IndexRow, bool, error) {
	for {
		for len(c.rows) > 0 && c.rows[0].Index >= before {
			c.rows = c.rows[1:]
		}
		if len(c.rows) > 0 {
			return c.rows[0], true, nil
		}
		if c.end {
			return merkle.IndexRow{}, false, nil
		}
		var err error
		if c.rows, err = q.read(ctx, c.key, before, rowChunk); err != nil {
			return merkle.IndexRow{}, false, err
		}
		c.end = len(c.rows) < rowChunk
		q.left -= max(len(c.rows), 1)
	}
}
