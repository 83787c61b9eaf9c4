package tlog_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"sigstack/internal/fault"
	"sigstack/internal/merkle"
	"sigstack/services/tlog"
	"sigstack/services/tlog/entry"
	"sigstack/services/tlog/tlogtest"
)

// TestSearchAgreesWithAScan compares searches with going through every entry.
func TestSearchAgreesWithAScan(t *testing.T) {
	c := config(t)
	s := newService(t, c)
	random := rand.New(rand.NewPCG(1, 2))
	words := []string{"a", "b", "c", "rare", "last"}
	var ids []string
	var has []map[string]bool
	for i := range 700 {
		mine := map[string]bool{"a": random.IntN(2) == 0, "b": random.IntN(3) == 0, "c": true, "rare": i%199 == 7, "last": i == 699}
		var terms entry.Terms
		for _, w := range words {
			if mine[w] && w != "b" {
				terms.Body = append(terms.Body, w)
			}
		}
		if mine["b"] {
			terms.Payload = []string{"b"}
		}
		r, _, err := s.Add(t.Context(), fmt.Appendf(nil, "entry %d", i), terms, nil)
		if err != nil {
			t.Fatal(err)
		}
		ids, has = append(ids, r.EntryID()), append(has, mine)
	}
	for _, query := range [][]string{{"a"}, {"b"}, {"a", "b"}, {"a", "rare"}, {"rare", "c", "b"}, {"last", "rare"}, {"nobody"}, {"a", "nobody"}, {"a", "a"}, {}} {
		for _, all := range []bool{false, true} {
			want := []string{}
			for i := len(ids) - 1; i >= 0; i-- {
				hits := 0
				for _, w := range query {
					if has[i][w] {
						hits++
					}
				}
				if hits > 0 && (!all || hits == len(query)) {
					want = append(want, ids[i])
				}
			}
			got, err := s.Search(t.Context(), query, all)
			if err != nil || got.More || !slices.Equal(got.IDs, want) {
				t.Errorf("%q, all %v: %d found, more %v, %v, want %d", query, all, len(got.IDs), got.More, err, len(want))
			}
		}
	}
}

// TestExtraTellsPayloadTerms: an entry's rows can be made again from its leaf,
// even those that its body does not tell.
func TestExtraTellsPayloadTerms(t *testing.T) {
	c := config(t)
	s := newService(t, c)
	if _, _, err := s.Add(t.Context(), []byte("body"), entry.Terms{Body: []string{"told"}, Payload: []string{"x", "y"}}, nil); err != nil {
		t.Fatal(err)
	}
	e, err := c.Tree.Entry(t.Context(), 0)
	if err != nil || len(e.Leaf.Extra) != 64 {
		t.Fatalf("extra data %x, %v, want two digests", e.Leaf.Extra, err)
	}
	for i := range 2 {
		rows, err := c.Tree.RowsBefore(t.Context(), append([]byte("s"), e.Leaf.Extra[32*i:32*i+32]...), 1, 9)
		leafHash := tlogtest.LeafHash([]byte("body"))
		if err != nil || len(rows) != 1 || string(rows[0].Value) != string(leafHash[:]) {
			t.Errorf("row of payload term %d: %+v, %v, want the leaf hash %x", i, rows, err, leafHash)
		}
	}
}

// rowsTree is a log of which the rows are made up.
type rowsTree struct {
	tlog.Tree
	size uint64
	rows func(key []byte, before uint64, limit int) ([]merkle.IndexRow, error)
	read int
}

func (r *rowsTree) Newest(context.Context) (merkle.Head, error) {
	return merkle.Head{Size: r.size}, nil
}

func (r *rowsTree) RowsBefore(_ context.Context, key []byte, before uint64, limit int) ([]merkle.IndexRow, error) {
	rows, err := r.rows(key, before, limit)
	r.read += len(rows)
	return rows, err
}

// TestSearchGivesUp: two terms of a million entries each that have none in
// common are not read to the end, and the answer says so.
func TestSearchGivesUp(t *testing.T) {
	c := config(t)
	tree := &rowsTree{Tree: c.Tree, size: 1_000_000}
	first := ""
	tree.rows = func(key []byte, before uint64, limit int) ([]merkle.IndexRow, error) {
		if first == "" {
			first = string(key)
		}
		parity := uint64(0)
		if string(key) == first {
			parity = 1
		}
		var rows []merkle.IndexRow
		for i := before; i > 0 && len(rows) < limit; i-- {
			if (i-1)%2 == parity {
				rows = append(rows, merkle.IndexRow{Index: i - 1, Value: make([]byte, 32)})
			}
		}
		return rows, nil
	}
	c.Tree = tree
	s := newService(t, c)
	got, err := s.Search(t.Context(), []string{"odd", "even"}, true)
	if err != nil || len(got.IDs) != 0 || !got.More || tree.read > 51_000 {
		t.Errorf("found %d, more %v, %v, after %d rows", len(got.IDs), got.More, err, tree.read)
	}
	got, err = s.Search(t.Context(), []string{"odd", "even"}, false)
	if err != nil || len(got.IDs) != tlog.MaxFound || !got.More {
		t.Errorf("either: found %d, more %v, %v", len(got.IDs), got.More, err)
	}
}

func TestSearchFaults(t *testing.T) {
	c := config(t)
	real := c.Tree
	for name, tt := range map[string]struct {
		rows []merkle.IndexRow
		err  error
		kind fault.Kind
		want string
	}{
		"row damaged": {[]merkle.IndexRow{{Value: []byte("x")}}, nil, fault.Internal, "row of entry 0 holds 1 bytes"},
		"disk gone":   {nil, fmt.Errorf("disk gone"), fault.Internal, "disk gone"},
		"too late":    {nil, context.DeadlineExceeded, fault.Timeout, "deadline"},
		"client gone": {nil, context.Canceled, fault.Canceled, "canceled"},
	} {
		c.Tree = &rowsTree{Tree: real, size: 1, rows: func([]byte, uint64, int) ([]merkle.IndexRow, error) { return tt.rows, tt.err }}
		_, err := newService(t, c).Search(t.Context(), []string{"x"}, false)
		if err == nil || fault.KindOf(err) != tt.kind || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v of kind %v, want %q of kind %v", name, err, fault.KindOf(err), tt.want, tt.kind)
		}
	}
}

// TestEntryFromBeforeTheIndex: an entry without rows is read as ever, and not
// found; adding it again changes nothing, and later ones are found.
func TestEntryFromBeforeTheIndex(t *testing.T) {
	s := newService(t, config(t))
	terms := entry.Terms{Body: []string{"term"}}
	old, _, err := s.Add(t.Context(), []byte("old"), entry.Terms{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, created, err := s.Add(t.Context(), []byte("old"), terms, nil); created || err != nil {
		t.Errorf("added again: created %v, %v", created, err)
	}
	if _, err := s.ByHash(t.Context(), 0, old.LeafHash); err != nil {
		t.Errorf("read: %v", err)
	}
	if got, err := s.Search(t.Context(), terms.Body, false); err != nil || len(got.IDs) != 0 || got.More {
		t.Errorf("found %+v, %v, want nothing", got, err)
	}
	later, _, err := s.Add(t.Context(), []byte("later"), terms, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Search(t.Context(), terms.Body, false); err != nil || !slices.Equal(got.IDs, []string{later.EntryID()}) {
		t.Errorf("found %+v, %v, want %s", got, err, later.EntryID())
	}
}
