package logcopy_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"sigstack/internal/merkle"
	"sigstack/internal/merkle/logcopy"
	"sigstack/internal/merkle/pebblelog"
	"sigstack/internal/merkle/pglog"
	"sigstack/internal/pgtest"
)

var (
	_ logcopy.Target = (*pebblelog.Store)(nil)
	_ logcopy.Target = (*pglog.Store)(nil)
)

func TestMain(m *testing.M) {
	merkle.RouteKlog(slog.New(slog.DiscardHandler)) // refusals are what is tested
	if text := os.Getenv(copierVariable); text != "" {
		os.Exit(beCopier(text))
	}
	os.Exit(pgtest.Main(m))
}

// place says where logs are.
type place struct {
	Dir         string // of an embedded database
	URL, Schema string // of PostgreSQL
}

// newPlaces returns an empty place of each kind.
func newPlaces(t testing.TB) map[string]func() place {
	db := pgtest.New(t)
	n := 0
	return map[string]func() place{
		"directory":  func() place { return place{Dir: filepath.Join(t.TempDir(), "db")} },
		"PostgreSQL": func() place { n++; return place{URL: db.URL, Schema: fmt.Sprintf("log%d", n)} },
	}
}

// store is what both kinds of storage are.
type store interface {
	logcopy.Target
	Close() error
}

func (p place) open(ctx context.Context) (store, error) {
	if p.Dir != "" {
		return pebblelog.Open(p.Dir, pebblelog.Options{Now: time.Now})
	}
	if _, err := pglog.Migrate(ctx, p.URL, p.Schema); err != nil {
		return nil, err
	}
	return pglog.Open(ctx, pglog.Options{URL: p.URL, Schema: p.Schema, Now: time.Now, Timeout: time.Minute, Pause: time.Minute})
}

func open(t testing.TB, p place) store {
	t.Helper()
	s, err := p.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// newLog makes a log of n entries of many shapes, and stops writing to it.
func newLog(t testing.TB, s merkle.Storage, n int) int64 {
	t.Helper()
	id, err := merkle.CreateTree(t.Context(), s, "tlog")
	if err != nil {
		t.Fatal(err)
	}
	grow(t, s, id, 0, n)
	return id
}

// grow adds entries, which come some hundreds at a time.
func grow(t testing.TB, s merkle.Storage, id int64, from, to int) {
	t.Helper()
	tree := openTree(t, s, id)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tree.Run(ctx) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	const width = 300
	for ; from < to; from += width {
		errs := make(chan error)
		end := min(from+width, to)
		for i := from; i < end; i++ {
			go func() { _, err := tree.Add(ctx, leaf(i)); errs <- err }()
		}
		for range end - from {
			if err := <-errs; err != nil {
				t.Fatal(err)
			}
		}
	}
}

func openTree(t testing.TB, s merkle.Storage, id int64) *merkle.Tree {
	t.Helper()
	tree, err := merkle.Open(t.Context(), merkle.Config{Storage: s, TreeID: id, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// leaf is with and without extra data, an identity of its own, a value that others
// have too, and rows that replace one another or do not.
func leaf(i int) merkle.Leaf {
	l := merkle.Leaf{Value: fmt.Appendf(nil, "leaf %d", i)}
	if i%3 == 0 {
		l.Extra = fmt.Appendf(nil, "extra %d", i)
	}
	if i%5 == 0 {
		l.Value, l.Identity = fmt.Appendf(nil, "shared %d", i%4), sha256.Sum256(fmt.Append(nil, i))
	}
	l.Rows = []merkle.Row{
		{Key: fmt.Appendf(nil, "by %d ", i%7), Value: []byte{1}, ByIndex: true},
		{Key: fmt.Append(nil, "last ", i%11), Value: fmt.Append(nil, i)},
	}
	return l
}

// view is all that a log tells its readers.
type view struct {
	Head    merkle.Head
	Frozen  bool
	Entries []merkle.Entry
	Rows    map[string]string
	ByKey   map[string][]merkle.IndexRow
	Proofs  [][][]byte // inclusion of some entries, consistency with some sizes
}

// look reads a log as the services do, and verifies its proofs.
func look(t testing.TB, s merkle.Storage, id int64) view {
	t.Helper()
	tree := openTree(t, s, id)
	v := view{Head: tree.Head(), Frozen: tree.Frozen(), Rows: map[string]string{}, ByKey: map[string][]merkle.IndexRow{}}
	for next := uint64(0); next < v.Head.Size; next = uint64(len(v.Entries)) {
		entries, err := tree.Entries(t.Context(), next, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if len(e.Leaf.Extra) == 0 {
				e.Leaf.Extra = nil
			}
			e.QueuedAt = time.Time{} // storage of one kind does not tell
			v.Entries = append(v.Entries, e)
		}
	}
	for i := uint64(0); i < v.Head.Size; i += 97 {
		p, err := tree.Inclusion(t.Context(), i, v.Head.Size)
		if err != nil {
			t.Fatal(err)
		}
		if err := proof.VerifyInclusion(rfc6962.DefaultHasher, i, p.Size, v.Entries[i].LeafHash[:], p.Hashes, v.Head.Root[:]); err != nil {
			t.Fatalf("entry %d: %v", i, err)
		}
		hashes, err := tree.Consistency(t.Context(), i, v.Head.Size)
		if err != nil {
			t.Fatal(err)
		}
		v.Proofs = append(v.Proofs, p.Hashes, hashes)
	}
	for i := range 11 {
		key := fmt.Append(nil, "last ", i)
		value, err := tree.Row(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		v.Rows[string(key)] = string(value)
	}
	for i := range 7 {
		key := fmt.Appendf(nil, "by %d ", i)
		rows, err := tree.RowsBefore(t.Context(), key, v.Head.Size, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		v.ByKey[string(key)] = rows
	}
	return v
}

func same(t testing.TB, got, want view) {
	t.Helper()
	if got.Head != want.Head || got.Frozen != want.Frozen {
		t.Errorf("got head %+v, frozen %v, want %+v, %v", got.Head, got.Frozen, want.Head, want.Frozen)
	}
	for i, e := range want.Entries {
		if i >= len(got.Entries) || !reflect.DeepEqual(got.Entries[i], e) {
			t.Fatalf("entry %d differs: got %d entries, want %+v", i, len(got.Entries), e)
		}
	}
	for name, equal := range map[string]bool{
		"entries": len(got.Entries) == len(want.Entries), "rows": reflect.DeepEqual(got.Rows, want.Rows),
		"index": reflect.DeepEqual(got.ByKey, want.ByKey), "proofs": reflect.DeepEqual(got.Proofs, want.Proofs),
	} {
		if !equal {
			t.Errorf("%s differ", name)
		}
	}
}
