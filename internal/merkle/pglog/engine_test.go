package pglog_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/trillian"

	"sigstack/internal/fault"
	"sigstack/internal/merkle"
	"sigstack/internal/merkle/pglog"
	"sigstack/internal/pgtest"
)

// query returns the rows of a query in the store's schema.
func query(t testing.TB, s *pglog.Store, sql string, args ...any) (rows [][]any) {
	t.Helper()
	found, err := s.Readers().Query(t.Context(), sql, args...)
	if err != nil {
		t.Fatal(err)
	}
	for found.Next() {
		values, err := found.Values()
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, values)
	}
	if err := found.Err(); err != nil {
		t.Fatal(err)
	}
	return rows
}

func TestEngineKeepsItsPromises(t *testing.T) {
	s := open(t, migrated(t, pgtest.New(t), "log"))
	id := newTree(t, s)
	e := start(t, s, id)
	var p promised
	var wg sync.WaitGroup
	const writers, each = 16, 20
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				l := leaf(w*each + i)
				l.Rows = []merkle.Row{{Key: []byte("by writer"), Value: fmt.Append(nil, w), ByIndex: true}, {Key: fmt.Append(nil, "last ", w), Value: fmt.Append(nil, i)}}
				a, err := e.Add(t.Context(), l)
				if err != nil {
					t.Error(err)
					return
				}
				p.note(a)
			}
		})
	}
	wg.Wait()
	p.check(t, s, id)
	if head := whole(t, s, id); head != e.Head() || head.Size != writers*each {
		t.Errorf("recomputed %+v, want %+v over %d", head, e.Head(), writers*each)
	}
	for w := range writers {
		value, err := e.Row(t.Context(), fmt.Append(nil, "last ", w))
		if err != nil || string(value) != fmt.Sprint(each-1) {
			t.Errorf("row of writer %d: got %q, %v, want its last", w, value, err)
		}
	}
	rows, err := e.RowsBefore(t.Context(), []byte("by writer"), 100, 7)
	if err != nil {
		t.Fatal(err)
	}
	var indexes []uint64
	for _, r := range rows {
		indexes = append(indexes, r.Index)
	}
	if want := []uint64{99, 98, 97, 96, 95, 94, 93}; !slices.Equal(indexes, want) {
		t.Errorf("rows before 100: got %v, want %v", indexes, want)
	}
}

func TestEntriesReadBackAsTheyWereAnswered(t *testing.T) {
	o := migrated(t, pgtest.New(t), "log")
	s := open(t, o)
	id := newTree(t, s)
	e := start(t, s, id)
	first := mustAdd(t, e.Tree, leaf(1))
	again := mustAdd(t, e.Tree, leaf(1))
	if !again.Duplicate || again.Entry.Index != first.Entry.Index {
		t.Errorf("second add: got %+v, want the first entry", again)
	}
	mustAdd(t, e.Tree, leaf(2))
	if err := e.stop(); err != nil {
		t.Fatal(err)
	}
	next := start(t, open(t, o), id) // another process
	got, err := next.Entry(t.Context(), first.Entry.Index)
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != fmt.Sprint(first.Entry) {
		t.Errorf("got %+v, want %+v", got, first.Entry)
	}
	byHash, err := next.EntryByHash(t.Context(), first.Entry.LeafHash)
	if err != nil || !byHash.IntegratedAt.Equal(first.Entry.IntegratedAt) {
		t.Errorf("by hash: got %+v, %v, want %+v", byHash, err, first.Entry)
	}
	if _, err := next.EntryByHash(t.Context(), [32]byte{1}); fault.KindOf(err) != fault.NotFound {
		t.Errorf("unknown hash: got %v, want not found", err)
	}
}

func TestTreesArePreordered(t *testing.T) {
	s := open(t, migrated(t, pgtest.New(t), "log"))
	id := newTree(t, s)
	if got := query(t, s, "SELECT TreeType::text FROM Trees WHERE TreeId = $1", id)[0][0]; got != trillian.TreeType_PREORDERED_LOG.String() {
		t.Errorf("got a %v", got)
	}
}

func TestFrozenTreesTakeNothing(t *testing.T) {
	o := migrated(t, pgtest.New(t), "log")
	s, other := open(t, o), open(t, o)
	id := newTree(t, s)
	e := start(t, s, id)
	mustAdd(t, e.Tree, leaf(1))
	next, err := merkle.PrepareTree(t.Context(), other, "next")
	if err != nil {
		t.Fatal(err)
	}
	// Another process freezes the tree, which this one finds out when it commits.
	if err := merkle.Succeed(t.Context(), other, id, next); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Add(t.Context(), leaf(2)); !errors.Is(err, merkle.ErrFrozen) {
		t.Errorf("add: got %v, want frozen", err)
	}
	if !e.Frozen() {
		t.Error("the tree does not say that it is frozen")
	}
	if size := whole(t, s, id).Size; size != 1 {
		t.Errorf("the frozen tree has %d entries, want 1", size)
	}
	mustAdd(t, start(t, s, next).Tree, leaf(2))
}

func TestALostDatabaseIsAnErrorThatHeals(t *testing.T) {
	server, db := pgtest.Start(t)
	o := migrated(t, db, "log")
	o.Timeout = 2 * time.Second
	s := open(t, o)
	id := newTree(t, s)
	e := start(t, s, id)
	var p promised
	p.note(mustAdd(t, e.Tree, leaf(0)))
	for round, lose := range []func() error{
		func() error { db.Disconnect(t); return nil }, // connections alone
		server.Kill,
		server.Stop,
	} {
		if err := lose(); err != nil {
			t.Fatal(err)
		}
		if round > 0 {
			_, err := e.Add(t.Context(), leaf(-round))
			if fault.KindOf(err) != fault.Unavailable {
				t.Errorf("round %d: add without a database: got %v, want unavailable", round, err)
			}
			if err := s.Ping(t.Context()); err == nil {
				t.Errorf("round %d: there is an answer without a database", round)
			}
			if _, err := e.Entry(t.Context(), 0); err == nil {
				t.Errorf("round %d: an entry was read without a database", round)
			}
			if err := server.Start(); err != nil {
				t.Fatal(err)
			}
		}
		p.note(healed(t, e.Tree, leaf(100+round)))
		if err := s.Ping(t.Context()); err != nil {
			t.Errorf("round %d: ping: %v", round, err)
		}
	}
	p.check(t, s, id)
	if head := whole(t, s, id); head != e.Head() {
		t.Errorf("recomputed %+v, published %+v", head, e.Head())
	}
}

// healed adds until it is answered, as callers are told to.
func healed(t testing.TB, tree *merkle.Tree, l merkle.Leaf) merkle.Added {
	t.Helper()
	for range 20 { // connections of the pool that have not yet noticed
		a, err := tree.Add(t.Context(), l)
		if err == nil {
			return a
		}
		if fault.KindOf(err) != fault.Unavailable {
			t.Fatal(err)
		}
	}
	t.Fatal("the tree does not heal")
	return merkle.Added{}
}

func TestPoolsAreBounded(t *testing.T) {
	db := pgtest.New(t)
	o := migrated(t, db, "log")
	o.Readers, o.Writers = 2, 1
	s := open(t, o)
	e := start(t, s, newTree(t, s))
	mustAdd(t, e.Tree, leaf(0))
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			if _, err := e.Entry(t.Context(), 0); err != nil {
				t.Error(err)
			}
			if _, err := e.Add(t.Context(), leaf(i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	const mine = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'sigstack log'"
	if n := pgtest.Value[int](t, db, mine); n < 1 || n > 3 {
		t.Errorf("%d connections, want at most 3", n)
	}
}

func TestUseAfterClose(t *testing.T) {
	s := open(t, migrated(t, pgtest.New(t), "log"))
	id := newTree(t, s)
	e := start(t, s, id)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.CheckDatabaseAccessible(t.Context()); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("got %v, want closed", err)
	}
	if _, err := e.Add(t.Context(), leaf(1)); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("add: got %v, want unavailable", err)
	}
	if err := e.stop(); err == nil || !strings.Contains(err.Error(), "lost") {
		t.Errorf("run: got %v, want storage lost", err)
	}
}

// TestBatchesReadNoMoreAsTheLogGrows: the planner knows nothing of a young table, and
// would have each batch read the whole log.
func TestBatchesReadNoMoreAsTheLogGrows(t *testing.T) {
	db := pgtest.New(t)
	s := open(t, migrated(t, db, "log"))
	e := start(t, s, newTree(t, s))
	const leaves, writers = 1600, 64
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := w; i < leaves; i += writers {
				l := leaf(i)
				l.Rows = []merkle.Row{{Key: fmt.Append(nil, "row ", i), Value: []byte{1}, ByIndex: true}}
				if _, err := e.Add(t.Context(), l); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if err := e.stop(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil { // statistics are written when connections end
		t.Fatal(err)
	}
	const mine = "FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'sigstack log'"
	eventually(t, "connections have ended", func() bool { return !pgtest.Value[bool](t, db, "SELECT EXISTS (SELECT "+mine+")") })
	const read = "SELECT coalesce(sum(idx_tup_read), 0)::bigint FROM pg_stat_user_indexes WHERE schemaname = 'log' AND relname <> 'treehead'"
	if n := pgtest.Value[int64](t, db, read); n > leaves {
		t.Errorf("%d leaves were added, and %d rows were read for that", leaves, n)
	}
	const inserted = "SELECT n_tup_ins FROM pg_stat_user_tables WHERE schemaname = 'log' AND relname = 'leafdata'"
	if n := pgtest.Value[int64](t, db, inserted); n != leaves {
		t.Errorf("the statistics know of %d leaves, want %d", n, leaves)
	}
}

// TestOldRootsGo: the newest counts, and those of the last day tell what has happened.
func TestOldRootsGo(t *testing.T) {
	db := pgtest.New(t)
	s := open(t, migrated(t, db, "log"))
	id := newTree(t, s)
	var ahead atomic.Int64 // of the machine's clock
	tree := run(t, openTree(t, merkle.Config{Storage: s, TreeID: id, Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }}))
	roots := func() int { return pgtest.Value[int](t, db, "SELECT count(*)::int FROM log.TreeHead") }
	for i := range 5 {
		mustAdd(t, tree.Tree, leaf(i))
	}
	if got := roots(); got != 6 {
		t.Errorf("%d roots of one day, want 6", got)
	}
	ahead.Store(int64(25 * time.Hour))
	last := mustAdd(t, tree.Tree, leaf(5))
	if got := roots(); got != 1 {
		t.Errorf("%d roots a day later, want 1", got)
	}
	if head := whole(t, s, id); head.Size != 6 || head.Root != last.Proof.Root {
		t.Errorf("head %+v, want 6 entries and root %x", head, last.Proof.Root)
	}
}
