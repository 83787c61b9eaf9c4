package merkle_test

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"sigstack/internal/fault"
	"sigstack/internal/merkle"
	"sigstack/internal/merkle/pebblelog"
)

// addAll adds leaves [0, n) with writers at once and returns every answer.
func addAll(t *testing.T, tree *merkle.Tree, n, writers int) []merkle.Added {
	t.Helper()
	var wg sync.WaitGroup
	all := make([]merkle.Added, n)
	for w := range writers {
		wg.Go(func() {
			for i := w; i < n; i += writers {
				added, err := tree.Add(t.Context(), leaf(i))
				if err != nil {
					t.Errorf("add %d: %v", i, err)
					return
				}
				all[i] = added
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return all
}

func TestConcurrentWritersGetProvableEntries(t *testing.T) {
	r := start(t, merkle.Config{})
	const n = 1000
	all := addAll(t, r.Tree, n, 16)
	heads := map[uint64]merkle.Head{}
	seen := map[uint64]bool{}
	for i, a := range all {
		if err := verify(a.Entry, a.Proof); err != nil {
			t.Fatal(err)
		}
		if got, want := string(a.Entry.Leaf.Value), string(leaf(i).Value); got != want || a.Duplicate || seen[a.Entry.Index] {
			t.Fatalf("entry %d: got %q (duplicate %v, index seen %v), want %q", a.Entry.Index, got, a.Duplicate, seen[a.Entry.Index], want)
		}
		seen[a.Entry.Index] = true
		h := merkle.Head{Size: a.Proof.Size, Root: a.Proof.Root, Time: a.Proof.Time}
		if other, ok := heads[h.Size]; ok && other != h {
			t.Fatalf("two heads of size %d: %+v and %+v", h.Size, h, other)
		}
		heads[h.Size] = h
		if !a.Entry.IntegratedAt.Equal(h.Time) {
			t.Errorf("entry %d integrated at %v, its head is of %v", a.Entry.Index, a.Entry.IntegratedAt, h.Time)
		}
	}
	if got := r.Head().Size; got != n {
		t.Fatalf("head has %d entries, want %d", got, n)
	}
	checkConsistent(t, r.Tree, heads)
	if err := keepsPromises(t.Context(), r.Tree, all); err != nil {
		t.Fatal(err)
	}
	checkWhole(t, r)
}

// checkConsistent proves each head from the one before, and in time order.
func checkConsistent(t *testing.T, tree *merkle.Tree, heads map[uint64]merkle.Head) {
	t.Helper()
	sizes := make([]uint64, 0, len(heads))
	for size := range heads {
		sizes = append(sizes, size)
	}
	slices.Sort(sizes)
	for i := 1; i < len(sizes); i++ {
		older, newer := heads[sizes[i-1]], heads[sizes[i]]
		if err := extends(t.Context(), tree, older, newer); err != nil {
			t.Fatal(err)
		}
		if !newer.Time.After(older.Time) {
			t.Fatalf("head of %d is of %v, head of %d of %v", newer.Size, newer.Time, older.Size, older.Time)
		}
	}
}

func TestEveryHistoricalProofVerifies(t *testing.T) {
	r := start(t, merkle.Config{})
	const n = 70
	var entries []merkle.Entry
	heads := []merkle.Head{r.Head()}
	for i := range n {
		entries = append(entries, mustAdd(t, r.Tree, leaf(i)).Entry)
		heads = append(heads, r.Head())
	}
	for size := uint64(1); size <= n; size++ {
		for index := range size {
			p, err := r.Inclusion(t.Context(), index, size)
			if err != nil {
				t.Fatal(err)
			}
			if err := verify(entries[index], p); err != nil {
				t.Fatal(err)
			}
			if p.Root != heads[size].Root {
				t.Fatalf("root over %d is %x, want %x", size, p.Root, heads[size].Root)
			}
		}
		for first := range size {
			if err := extends(t.Context(), r.Tree, heads[first], heads[size]); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestDuplicates(t *testing.T) {
	tests := []struct {
		name  string
		again merkle.Leaf
	}{
		{"same leaf", leaf(3)},
		{"same value, other extra", merkle.Leaf{Value: leaf(3).Value, Extra: []byte("other")}},
	}
	r := start(t, merkle.Config{})
	var first []merkle.Added
	for i := range 8 {
		first = append(first, mustAdd(t, r.Tree, leaf(i)))
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := r.Head()
			got := mustAdd(t, r.Tree, tt.again)
			want := first[3].Entry
			if !got.Duplicate || got.Entry.Index != want.Index || got.Entry.IntegratedAt != want.IntegratedAt || string(got.Entry.Leaf.Extra) != "extra 3" {
				t.Errorf("got %+v, want the entry already there %+v", got, want)
			}
			if got.Proof.Size != before.Size || r.Head() != before {
				t.Errorf("a duplicate moved the head from %+v to %+v, proof is of size %d", before, r.Head(), got.Proof.Size)
			}
		})
	}
}

func TestDuplicatesByOwnIdentity(t *testing.T) {
	r := start(t, merkle.Config{})
	one := merkle.Leaf{Value: []byte("one"), Identity: [32]byte{1}}
	other := merkle.Leaf{Value: []byte("other"), Identity: [32]byte{1}}
	twin := merkle.Leaf{Value: []byte("one"), Identity: [32]byte{2}}
	mustAdd(t, r.Tree, one)
	if got := mustAdd(t, r.Tree, other); !got.Duplicate || string(got.Entry.Leaf.Value) != "one" {
		t.Errorf("same identity: got %+v, want a duplicate of the first", got)
	}
	got := mustAdd(t, r.Tree, twin)
	if got.Duplicate || got.Entry.Index != 1 {
		t.Errorf("same value, own identity: got %+v, want an entry of its own", got)
	}
	e, err := r.EntryByHash(t.Context(), got.Entry.LeafHash)
	if err != nil || e.Index != 0 {
		t.Errorf("by hash: got entry %d, %v; want the first of the two", e.Index, err)
	}
	checkWhole(t, r)
}

func TestDuplicatesWithinOneBatch(t *testing.T) {
	// Queued before Run starts, all of them are one batch.
	r := open(t, vfs.NewMem(), merkle.Config{})
	const n = 12
	answers := make(chan merkle.Added, n)
	var queued sync.WaitGroup
	for range n {
		queued.Add(1)
		go func() {
			ctx := &signalling{Context: t.Context(), asked: queued.Done}
			added, err := r.Add(ctx, leaf(1))
			if err != nil {
				t.Errorf("add: %v", err)
			}
			answers <- added
		}()
	}
	queued.Wait()
	run(t, r)
	originals := 0
	for range n {
		a := <-answers
		if err := verify(a.Entry, a.Proof); err != nil {
			t.Fatal(err)
		}
		if !a.Duplicate {
			originals++
		}
	}
	if originals != 1 || r.Head().Size != 1 {
		t.Errorf("%d originals in a log of %d, want 1 in 1", originals, r.Head().Size)
	}
}

// signalling calls asked when Add, having queued its leaf, begins to wait.
type signalling struct {
	context.Context
	asked func()
}

func (s *signalling) Done() <-chan struct{} {
	s.asked()
	return s.Context.Done()
}

func TestReadsAndTheirErrors(t *testing.T) {
	r := start(t, merkle.Config{})
	addAll(t, r.Tree, 20, 4)
	ctx := t.Context()
	entries, err := r.Entries(ctx, 15, 100)
	if err != nil || len(entries) != 5 || entries[0].Index != 15 {
		t.Errorf("entries from 15: %d, %v; want the last 5", len(entries), err)
	}
	e, err := r.EntryByHash(ctx, entries[2].LeafHash)
	if err != nil || e.Index != 17 {
		t.Errorf("by hash: entry %d, %v; want 17", e.Index, err)
	}
	tests := []struct {
		name string
		do   func() error
		want fault.Kind
	}{
		{"entry past the end", func() error { _, err := r.Entry(ctx, 20); return err }, fault.NotFound},
		{"entry at the largest index", func() error { _, err := r.Entry(ctx, ^uint64(0)); return err }, fault.NotFound},
		{"no entries", func() error { _, err := r.Entries(ctx, 0, 0); return err }, fault.Invalid},
		{"unknown hash", func() error { _, err := r.EntryByHash(ctx, [32]byte{9}); return err }, fault.NotFound},
		{"inclusion past the end", func() error { _, err := r.Inclusion(ctx, 3, 21); return err }, fault.Invalid},
		{"inclusion of an index outside", func() error { _, err := r.Inclusion(ctx, 5, 5); return err }, fault.Invalid},
		{"consistency backwards", func() error { _, err := r.Consistency(ctx, 5, 4); return err }, fault.Invalid},
		{"consistency past the end", func() error { _, err := r.Consistency(ctx, 5, 21); return err }, fault.Invalid},
		{"empty leaf", func() error { _, err := r.Add(ctx, merkle.Leaf{}); return err }, fault.Invalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.do(); err == nil || fault.KindOf(err) != tt.want {
				t.Errorf("got %v (kind %v), want kind %v", err, fault.KindOf(err), tt.want)
			}
		})
	}
}

func TestExtraRowsAreCommittedWithTheirLeaf(t *testing.T) {
	fs := vfs.NewMem()
	o := pebblelog.Options{NoSync: true}
	r := startOn(t, fs, o, merkle.Config{})
	l := leaf(1)
	l.Rows = []merkle.Row{{Key: []byte("k"), Value: []byte("v")}, {Key: []byte("empty")}}
	mustAdd(t, r.Tree, l)
	l.Rows = []merkle.Row{{Key: []byte("k"), Value: []byte("of a duplicate")}}
	mustAdd(t, r.Tree, l)
	r = r.restart(t, fs, o)
	for key, want := range map[string]string{"k": "v", "empty": "", "absent": ""} {
		got, err := r.Row(t.Context(), []byte(key))
		if err != nil || string(got) != want || (got == nil) != (key == "absent") {
			t.Errorf("row %q: got %q, %v; want %q", key, got, err, want)
		}
	}
}

// TestRowsByIndex: rows that entries share a key in are read from the newest
// entry down, whatever batches they came in, and after a restart.
func TestRowsByIndex(t *testing.T) {
	fs := vfs.NewMem()
	o := pebblelog.Options{NoSync: true}
	r := startOn(t, fs, o, merkle.Config{})
	const n = 300
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			l := leaf(i)
			l.Rows = []merkle.Row{
				{Key: []byte("all"), Value: l.Value, ByIndex: true},
				{Key: fmt.Appendf(nil, "mod %d", i%3), ByIndex: true},
				{Key: []byte("alloy"), Value: []byte("another key"), ByIndex: true},
			}
			if _, err := r.Add(t.Context(), l); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	r = r.restart(t, fs, o)
	rows, err := r.RowsBefore(t.Context(), []byte("all"), math.MaxUint64, n+1)
	if err != nil || len(rows) != n {
		t.Fatalf("%d rows, %v, want %d", len(rows), err, n)
	}
	for i, row := range rows {
		e, err := r.Entry(t.Context(), row.Index)
		if err != nil || row.Index != uint64(n-1-i) || !bytes.Equal(row.Value, e.Leaf.Value) {
			t.Fatalf("row %d is %d %q of entry %q, %v", i, row.Index, row.Value, e.Leaf.Value, err)
		}
	}
	for name, tt := range map[string]struct {
		key    string
		before uint64
		limit  int
		want   int
		newest uint64
	}{
		"limited":       {"all", n, 7, 7, n - 1},
		"from below":    {"all", 10, 100, 10, 9},
		"from the end":  {"all", 0, 100, 0, 0},
		"a third":       {"mod 0", n, n, n / 3, 0},
		"unknown key":   {"al", n, n, 0, 0},
		"longer key":    {"alloys", n, n, 0, 0},
		"nothing asked": {"all", n, 0, 0, 0},
	} {
		rows, err := r.RowsBefore(t.Context(), []byte(tt.key), tt.before, tt.limit)
		if err != nil || len(rows) != tt.want || tt.newest > 0 && rows[0].Index != tt.newest {
			t.Errorf("%s: %d rows, %v, want %d from %d down", name, len(rows), err, tt.want, tt.newest)
		}
	}
	if got, err := r.Row(t.Context(), []byte("all")); err != nil || got != nil {
		t.Errorf("row without an index: %q, %v, want none", got, err)
	}
}

func TestRestartKeepsEverything(t *testing.T) {
	fs, c := vfs.NewMem(), merkle.Config{HeadFile: headFile(t)}
	r := startOn(t, fs, pebblelog.Options{}, c)
	all := addAll(t, r.Tree, 300, 8)
	for range 3 {
		before := r.Head()
		r = r.restart(t, fs, pebblelog.Options{})
		if got := r.Head(); got != before {
			t.Fatalf("head after restart %+v, want %+v", got, before)
		}
		all = append(all, mustAdd(t, r.Tree, leaf(1000+len(all))))
		if got := mustAdd(t, r.Tree, leaf(7)); !got.Duplicate || got.Entry.Index != all[7].Entry.Index {
			t.Errorf("a leaf of before the restart: got %+v, want a duplicate of entry %d", got, all[7].Entry.Index)
		}
	}
	if err := keepsPromises(t.Context(), r.Tree, all); err != nil {
		t.Fatal(err)
	}
	checkWhole(t, r)
}

func TestCanceledCallerAndItsLeaf(t *testing.T) {
	r := open(t, vfs.NewMem(), merkle.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	var once sync.Once
	queued := make(chan struct{})
	failed := make(chan error, 1)
	go func() {
		_, err := r.Add(&signalling{Context: ctx, asked: func() { once.Do(func() { close(queued) }) }}, leaf(1))
		failed <- err
	}()
	<-queued
	cancel()
	if err := <-failed; fault.KindOf(err) != fault.Canceled {
		t.Errorf("canceled add: got %v, want kind Canceled", err)
	}
	run(t, r)
	mustAdd(t, r.Tree, leaf(2))
	late, stop := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer stop()
	if _, err := r.Add(late, leaf(3)); fault.KindOf(err) != fault.Timeout {
		t.Errorf("late add: got %v, want kind Timeout", err)
	}
	if got := mustAdd(t, r.Tree, leaf(1)); got.Duplicate {
		t.Logf("the canceled leaf was logged as entry %d", got.Entry.Index)
	}
	checkWhole(t, r)
}

func TestFullQueueRefuses(t *testing.T) {
	r := open(t, vfs.NewMem(), merkle.Config{QueueLimit: 3})
	var queued, done sync.WaitGroup
	for i := range 3 {
		queued.Add(1)
		done.Go(func() {
			if _, err := r.Add(&signalling{Context: t.Context(), asked: queued.Done}, leaf(i)); err != nil {
				t.Errorf("add %d: %v", i, err)
			}
		})
	}
	queued.Wait()
	if _, err := r.Add(t.Context(), leaf(9)); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("add to a full queue: got %v, want kind Unavailable", err)
	}
	run(t, r)
	done.Wait()
	if got := r.Head().Size; got != 3 {
		t.Errorf("the log has %d entries, want the 3 that were queued", got)
	}
}

func TestStopAnswersWhatWasQueuedAndRefusesTheRest(t *testing.T) {
	r := open(t, vfs.NewMem(), merkle.Config{})
	var queued sync.WaitGroup
	queued.Add(1)
	answered := make(chan error, 1)
	go func() {
		_, err := r.Add(&signalling{Context: t.Context(), asked: queued.Done}, leaf(1))
		answered <- err
	}()
	queued.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Run(ctx); err != nil {
		t.Fatalf("run: %v", err)
	}
	if err := <-answered; err != nil || r.Head().Size != 1 {
		t.Errorf("queued leaf: %v in a log of %d, want it logged", err, r.Head().Size)
	}
	if _, err := r.Add(t.Context(), leaf(2)); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("add after the end: got %v, want kind Unavailable", err)
	}
	if err := r.Run(t.Context()); err == nil {
		t.Error("a second Run did not fail")
	}
}
