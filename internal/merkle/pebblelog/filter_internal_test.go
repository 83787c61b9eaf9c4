package pebblelog

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/trillian"
)

// beforeStems are the options that matter of versions whose filters hold whole keys.
func beforeStems(fs vfs.FS) *pebble.Options {
	po := newStore(Options{}).pebbleOptions(Options{FS: fs})
	po.Comparer, po.KeySchema, po.KeySchemas, po.Filters = nil, "", nil, nil
	po.DisableAutomaticCompactions = true
	for i := range po.Levels {
		po.Levels[i].FilterPolicy = bloom.FilterPolicy(bloomBits)
	}
	return po
}

// termRows are rows of a search index: of each term 1, 2, 3, ... entries, all over
// the log, and a row before and behind them that is none.
func termRows(terms int) (rows [][2][]byte) {
	for i := range terms {
		for n := range i + 1 {
			index := binary.BigEndian.AppendUint64(term(i), uint64(n*terms+i))
			rows = append(rows, [2][]byte{extraKey(7, index), fmt.Appendf(nil, "entry %d of term %d", n, i)})
		}
	}
	rows = append(rows, [2][]byte{extraKey(7, []byte("r")), nil}, [2][]byte{extraKey(7, []byte("t")), nil})
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
	return rows
}

// term is the key of a term but for the index.
func term(i int) []byte {
	return append([]byte("s"), bytes.Repeat(checksum([]byte{byte(i)}), hashSize/checksumSize)...)
}

// TestTablesOfBothFilters reads rows of tables that the version before wrote, of
// tables of this one, and of none.
func TestTablesOfBothFilters(t *testing.T) {
	fs, rows := vfs.NewMem(), termRows(2*most)
	third := len(rows) / 3
	put := func(db *pebble.DB, rows [][2][]byte) {
		t.Helper()
		for _, part := range [][][2][]byte{rows[:len(rows)/2], rows[len(rows)/2:]} { // two tables
			for _, row := range part {
				if err := db.Set(row[0], row[1], nil); err != nil {
					t.Fatal(err)
				}
			}
			if err := db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	old, err := pebble.Open("db", beforeStems(fs))
	if err != nil {
		t.Fatal(err)
	}
	put(old, rows[:third])
	if err := errors.Join(old.Set(layoutKey(), LayoutRow(), nil), old.Close()); err != nil {
		t.Fatal(err)
	}
	s := newStore(Options{Now: time.Now})
	po := s.pebbleOptions(Options{FS: fs})
	po.DisableAutomaticCompactions = true // tables stay as they are
	if s.db, err = pebble.Open("db", po); err != nil {
		t.Fatal(err)
	}
	compareRows(t, s, rows[:third])
	put(s.db, rows[third:2*third])
	for _, row := range rows[2*third:] {
		if err := s.db.Set(row[0], row[1], nil); err != nil {
			t.Fatal(err)
		}
	}
	compareRows(t, s, rows)
	if hits := s.db.Metrics().Filter.Hits; hits == 0 {
		t.Error("no filter has spared a table")
	}
	if err := s.db.Compact(t.Context(), []byte{spaceData}, []byte{spaceData + 1}, false); err != nil {
		t.Fatal(err)
	}
	compareRows(t, s, rows)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// compareRows asks for rows in every way, and wants what looking at each one says.
func compareRows(t *testing.T, s *Store, rows [][2][]byte) {
	t.Helper()
	tx := &readTX{store: s, tree: &trillian.Tree{TreeId: 7}, rows: s.db}
	random := rand.New(rand.NewPCG(3, 4))
	for range 4000 {
		i, limit := random.IntN(2*most+1), random.IntN(2*most) // one more term than there are
		low := binary.BigEndian.AppendUint64(term(i), random.Uint64N(64))
		high := binary.BigEndian.AppendUint64(term(i), random.Uint64N(4*most*most))
		switch random.IntN(8) {
		case 0:
			high = term(random.IntN(2*most) + 1)
		case 1:
			low = low[:1+random.IntN(len(low))]
		}
		if bytes.Compare(low, high) > 0 {
			low, high = high, low
		}
		var got, want [][2][]byte
		if err := tx.LastRows(t.Context(), low, high, limit, func(key, value []byte) error {
			got = append(got, [2][]byte{bytes.Clone(key), bytes.Clone(value)})
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		for _, row := range sortedDown(rows) {
			if key := row[0][10:]; bytes.Compare(low, key) <= 0 && bytes.Compare(key, high) < 0 && len(want) < limit {
				want = append(want, [2][]byte{key, row[1]})
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("from %x to %x, at most %d: got %d rows %x, want %d %x", low, high, limit, len(got), got, len(want), want)
		}
	}
	for _, row := range rows {
		if value, found, err := tx.GetRow(context.Background(), row[0][10:]); err != nil || !found || !bytes.Equal(value, row[1]) {
			t.Errorf("row %x: %q, %v, %v, want %q", row[0], value, found, err, row[1])
		}
	}
}

func sortedDown(rows [][2][]byte) [][2][]byte {
	rows = slices.Clone(rows)
	slices.SortFunc(rows, func(a, b [2][]byte) int { return bytes.Compare(b[0], a[0]) })
	return rows
}

// FuzzStems: what Pebble wants of a Split, so that rows are neighbours whose stems
// are the same, and that a filter of stems has each key's.
func FuzzStems(f *testing.F) {
	f.Add(extraKey(1, term(3)), extraKey(1, append(term(3), 0)))
	f.Add(extraKey(1, term(3))[:40], leafKey(1, 2))
	f.Add(extraKey(1, append(term(3), 1, 2, 3, 4, 5, 6, 7, 8)), extraKey(1, append(term(3), 1, 2, 3, 4, 5, 6, 7)))
	f.Add([]byte{}, layoutKey())
	f.Fuzz(func(t *testing.T, a, b []byte) {
		stemA, stemB := a[:stemOf(a)], b[:stemOf(b)]
		if stemOf(stemA) != len(stemA) {
			t.Errorf("the stem of %x has a stem of its own", a)
		}
		if c := bytes.Compare(a, b); bytes.Compare(stemA, stemB)*c < 0 || bytes.Equal(stemA, stemB) && bytes.Compare(a[len(stemA):], b[len(stemB):]) != c {
			t.Errorf("%x and %x are not in the order of their stems, and what is behind", a, b)
		}
		w := stems{bloom.FilterPolicy(bloomBits)}.NewWriter(pebble.TableFilter)
		w.AddKey(a)
		if filter := w.Finish(nil); !(stems{bloom.FilterPolicy(bloomBits)}).MayContain(pebble.TableFilter, filter, stemA) {
			t.Errorf("the filter has not got the stem of %x", a)
		}
	})
}
