package tlog_test

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"sigstack/internal/keys"
	"sigstack/internal/merkle"
	"sigstack/internal/merkle/fsck"
	"sigstack/internal/merkle/pebblelog"
	"sigstack/services/tlog"
	"sigstack/services/tlog/entry"
	"sigstack/services/tlog/tlogtest"
)

// reindex makes the index of every shard again.
func (l *wholeLog) reindex(t *testing.T) error {
	t.Helper()
	store, err := pebblelog.Open(dbDir, pebblelog.Options{FS: l.fs, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	for _, tree := range l.trees {
		if tree.Service == nil {
			continue
		}
		if _, err := fsck.Reindex(t.Context(), store, tree, tlog.IndexPrefix, func(string, uint64, uint64) {}); err != nil {
			return errors.Join(err, store.Close())
		}
	}
	return store.Close()
}

// TestReindexMakesWhatAddsMade changes the index in any way, and wants every row of
// the database to be as it was.
func TestReindexMakesWhatAddsMade(t *testing.T) {
	base := newWholeLog(t)
	want := base.rows(t)
	random := rand.New(rand.NewPCG(7, 8))
	var index [][2][]byte
	for _, row := range want {
		if k := pebblelog.ParseKey(row[0]); k.Kind == pebblelog.RowExtra && k.Extra[0] == 's' {
			index = append(index, row)
		}
	}
	for round := range 40 {
		l := base.clone(t)
		l.change(t, func(db *pebble.DB) error {
			var errs []error
			for _, row := range index {
				switch n := random.IntN(6); {
				case round == 0 || n == 0: // round 0: a log from before there was an index
					errs = append(errs, db.Delete(row[0], nil))
				case n == 1:
					errs = append(errs, db.Set(row[0], flip(row[1], random.IntN(256)), nil))
				case n == 2:
					errs = append(errs, db.Set(flip(row[0], 8*10+8+random.IntN(8*40)), row[1], nil))
				case n == 3:
					errs = append(errs, db.Set(append(bytes.Clone(row[0]), 1), row[1], nil))
				}
			}
			return errors.Join(errs...)
		})
		if err := l.reindex(t); err != nil {
			t.Fatal(err)
		}
		got := l.rows(t)
		if len(got) != len(want) {
			t.Fatalf("round %d: %d rows, want %d", round, len(got), len(want))
		}
		for i := range got {
			if !bytes.Equal(got[i][0], want[i][0]) || !bytes.Equal(got[i][1], want[i][1]) {
				t.Fatalf("round %d: row %x is %x, want %x with %x", round, got[i][0], got[i][1], want[i][0], want[i][1])
			}
		}
		if r := l.check(t); r.Count != 0 {
			t.Errorf("round %d: %v", round, r.Problems)
		}
	}
}

// TestReindexLeavesRowsOfDamagedEntries: what cannot be told is not changed.
func TestReindexLeavesRowsOfDamagedEntries(t *testing.T) {
	l := newWholeLog(t)
	before := len(l.rows(t))
	l.change(t, func(db *pebble.DB) error {
		key := pebblelog.LeafRowKey(l.trees[0].ID, 1)
		value, closer, err := db.Get(key)
		if err != nil {
			return err
		}
		damaged := flip(value, 8*(len(value)-30))
		return errors.Join(closer.Close(), db.Set(key, damaged, nil))
	})
	store, err := pebblelog.Open(dbDir, pebblelog.Options{FS: l.fs, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	done, err := fsck.Reindex(t.Context(), store, l.trees[0], tlog.IndexPrefix, func(string, uint64, uint64) {})
	if err := errors.Join(err, store.Close()); err != nil {
		t.Fatal(err)
	}
	if done.DamagedCount != 1 || done.Damaged[0] != 1 || done.Written+done.Removed != 0 {
		t.Errorf("got %+v, want entry 1 damaged and nothing changed", done)
	}
	if after := len(l.rows(t)); after != before {
		t.Errorf("%d rows became %d", before, after)
	}
}

// TestReindexOfALogInUse adds entries all the while; then every row must be there.
func TestReindexOfALogInUse(t *testing.T) {
	fs := vfs.NewMem()
	store, id, s, stop := startPlainLog(t, fs)
	addRecords(t, s, 0, 300)
	low, high := pebblelog.ExtraRange(id, 's')
	view, err := store.View()
	if err != nil {
		t.Fatal(err)
	}
	var gone []pebblelog.Change
	if err := view.Scan(t.Context(), low, high, func(key, _ []byte) error {
		gone = append(gone, pebblelog.Change{Key: bytes.Clone(pebblelog.ParseKey(key).Extra)})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(view.Close(), store.ChangeExtra(id, gone)); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		addRecords(t, s, 300, 600)
	}()
	check := fsck.Tree{Name: "tlog", ID: id, Service: tlog.Derived()}
	for range 5 {
		if _, err := fsck.Reindex(t.Context(), store, check, tlog.IndexPrefix, func(string, uint64, uint64) {}); err != nil {
			t.Error(err)
		}
	}
	<-done
	stop()
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := fsck.Run(t.Context(), fsck.Config{Dir: dbDir, FS: fs, Trees: []fsck.Tree{check}})
	if err != nil || r.Count != 0 || r.Trees[0].Size != 600 {
		t.Errorf("afterwards: %+v, %v", r, err)
	}
}

// TestReindexCutShort cuts the power again and again while an index is made: what is
// there then is right, and another run does the rest.
func TestReindexCutShort(t *testing.T) {
	fs := vfs.NewCrashableMem()
	l := newPlainLog(t, fs, 800)
	l.change(t, func(db *pebble.DB) error {
		low, high := pebblelog.ExtraRange(l.trees[0].ID, 's')
		return db.DeleteRange(low, high, pebble.Sync)
	})
	var cuts []*vfs.MemFS
	store, err := pebblelog.Open(dbDir, pebblelog.Options{FS: fs, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	_, err = fsck.Reindex(t.Context(), store, l.trees[0], tlog.IndexPrefix, func(string, uint64, uint64) {
		cuts = append(cuts, fs.CrashClone(vfs.CrashCloneCfg{}))
	})
	if err := errors.Join(err, store.Close()); err != nil {
		t.Fatal(err)
	}
	counts := map[uint64]bool{}
	for i, cut := range cuts {
		after := &wholeLog{fs: cut, trees: l.trees}
		r := after.check(t)
		counts[r.Count] = true
		for _, p := range r.Problems {
			if p.Kind != fsck.Missing || p.What != "search" {
				t.Errorf("cut %d of %d: %s", i, len(cuts), p)
			}
		}
		if err := after.reindex(t); err != nil {
			t.Fatal(err)
		}
		if r := after.check(t); r.Count != 0 {
			t.Errorf("cut %d of %d, and made again: %v", i, len(cuts), r.Problems)
		}
	}
	if len(counts) < 2 {
		t.Errorf("after each of %d cuts as much was missing (%v): none came between two commits", len(cuts), counts)
	}
}

// startPlainLog is a log of one tree that takes entries until it is stopped.
func startPlainLog(t *testing.T, fs vfs.FS) (store *pebblelog.Store, id int64, s *tlog.Service, stop func()) {
	t.Helper()
	store, err := pebblelog.Open(dbDir, pebblelog.Options{FS: fs, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	if id, err = merkle.CreateTree(t.Context(), store, "tlog"); err != nil {
		t.Fatal(err)
	}
	tree, err := merkle.Open(t.Context(), merkle.Config{Storage: store, TreeID: id, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	s = newService(t, tlog.Config{
		Shard: tlog.Shard{Tree: tree, Signer: key(t, keys.ECDSAP256)}, URL: "https://log.example", Host: "log.example", Now: now,
	})
	return store, id, s, running(t, tree)
}

// newPlainLog is a stopped log of n entries of one kind.
func newPlainLog(t *testing.T, fs *vfs.MemFS, n int) *wholeLog {
	t.Helper()
	store, id, s, stop := startPlainLog(t, fs)
	addRecords(t, s, 0, n)
	stop()
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	return &wholeLog{fs: fs, trees: []fsck.Tree{{Name: "tlog", ID: id, Service: tlog.Derived()}}}
}

// addRecords adds entries of one key over numbered artifacts.
func addRecords(t *testing.T, s *tlog.Service, from, to int) {
	signer := tlogtest.NewSigner(t)
	for i := from; i < to; i++ {
		e, err := (entry.Parser{Types: entry.DefaultTypes(), Algorithms: entry.DefaultAlgorithms()}).Parse(
			tlogtest.JSON(t, tlogtest.HashedRekord(t, signer, crypto.SHA256, fmt.Appendf(nil, "artifact %d", i))))
		if err != nil {
			t.Error(err)
			return
		}
		if _, _, err := s.Add(context.Background(), e.Body, e.Terms(), nil); err != nil {
			t.Error(err)
			return
		}
	}
}
