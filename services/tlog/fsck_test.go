package tlog_test

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
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

const dbDir = "db"

// wholeLog is a stopped directory with all that a log can have: two shards, a log
// with identities of its own, attestations, and search rows.
type wholeLog struct {
	fs    *vfs.MemFS
	heads string
	trees []fsck.Tree
}

func newWholeLog(t *testing.T) *wholeLog {
	t.Helper()
	l := &wholeLog{fs: vfs.NewMem(), heads: t.TempDir()}
	store, err := pebblelog.Open(dbDir, pebblelog.Options{FS: l.fs, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	var trees []*merkle.Tree
	for _, name := range []string{"tlog", "tlog-2", "ctlog"} {
		create := merkle.CreateTree
		if name == "tlog-2" {
			create = merkle.PrepareTree
		}
		id, err := create(t.Context(), store, name)
		if err != nil {
			t.Fatal(err)
		}
		head := filepath.Join(l.heads, name)
		tree, err := merkle.Open(t.Context(), merkle.Config{Storage: store, TreeID: id, Now: now, HeadFile: head})
		if err != nil {
			t.Fatal(err)
		}
		check := fsck.Tree{Name: name, ID: id, HeadFile: head, Refreshed: name == "ctlog"}
		if name != "ctlog" {
			check.Service = tlog.Derived()
		}
		l.trees, trees = append(l.trees, check), append(trees, tree)
	}
	stop := running(t, trees...)
	s := newService(t, tlog.Config{
		Shard: tlog.Shard{Tree: trees[0], Signer: key(t, keys.ECDSAP256)},
		URL:   "https://log.example", Host: "log.example", Now: now, AttestationLimit: 1 << 16,
	})
	addKinds(t, s, 5)
	next := tlog.Shard{Tree: trees[1], Signer: key(t, keys.ECDSAP256)}
	if err := s.Succeed(next, func() error { return trees[0].HandOver(t.Context(), trees[1]) }); err != nil {
		t.Fatal(err)
	}
	addKinds(t, s, 3)
	for i := range 4 { // two have one leaf hash
		leaf := merkle.Leaf{Value: fmt.Appendf(nil, "certificate %d", min(i, 2)), Extra: []byte("chain"), Identity: [32]byte{byte(i + 1)}}
		if _, err := trees[2].Add(t.Context(), leaf); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	return l
}

func running(t *testing.T, trees ...*merkle.Tree) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, len(trees))
	for _, tree := range trees {
		go func() { done <- tree.Run(ctx) }()
	}
	return func() {
		cancel()
		for range trees {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
}

// addKinds adds entries of several kinds, one of them with an attestation.
func addKinds(t *testing.T, s *tlog.Service, n int) {
	t.Helper()
	signer := tlogtest.NewSigner(t)
	for i := range n {
		statement := fmt.Appendf(nil, `{"subject":[{"digest":{"sha256":"%064x"}}],"n":%d}`, rand.Uint64(), i)
		env := tlogtest.Envelope(t, "application/vnd.in-toto+json", statement, signer)
		proposal := []tlogtest.Object{
			tlogtest.HashedRekord(t, signer, crypto.SHA256, statement), tlogtest.DSSE(t, env, signer),
			tlogtest.InTotoV001(t, env, signer), tlogtest.InTotoV002(t, env, signer),
		}[i%4]
		e, err := (entry.Parser{Types: entry.DefaultTypes(), Algorithms: entry.DefaultAlgorithms()}).Parse(tlogtest.JSON(t, proposal))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Add(t.Context(), e.Body, e.Terms(), e.Attestation); err != nil {
			t.Fatal(err)
		}
	}
}

// flushed is the same with all rows in tables.
func (l *wholeLog) flushed(t *testing.T) *wholeLog {
	t.Helper()
	out := l.clone(t)
	out.change(t, func(db *pebble.DB) error {
		return errors.Join(db.Flush(), db.Compact(t.Context(), []byte{0}, []byte{0xff}, false))
	})
	return out
}

func (l *wholeLog) clone(t *testing.T) *wholeLog {
	t.Helper()
	out := &wholeLog{vfs.NewMem(), t.TempDir(), slices.Clone(l.trees)}
	if _, err := vfs.Clone(l.fs, out.fs, dbDir, dbDir); err != nil {
		t.Fatal(err)
	}
	for i := range out.trees {
		data, err := os.ReadFile(l.trees[i].HeadFile)
		if err != nil {
			t.Fatal(err)
		}
		out.trees[i].HeadFile = filepath.Join(out.heads, out.trees[i].Name)
		if err := os.WriteFile(out.trees[i].HeadFile, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// change changes rows behind the back of everybody.
func (l *wholeLog) change(t *testing.T, do func(*pebble.DB) error) {
	t.Helper()
	db, err := pebble.Open(dbDir, pebblelog.PebbleOptions(l.fs))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(do(db), db.Close()); err != nil {
		t.Fatal(err)
	}
}

func (l *wholeLog) check(t *testing.T) *fsck.Report {
	t.Helper()
	r, err := fsck.Run(t.Context(), fsck.Config{Dir: dbDir, FS: l.fs, Heads: l.heads, Trees: l.trees})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// rows returns every row of the database.
func (l *wholeLog) rows(t *testing.T) (rows [][2][]byte) {
	t.Helper()
	l.clone(t).change(t, func(db *pebble.DB) error {
		it, err := db.NewIter(nil)
		if err != nil {
			return err
		}
		for ok := it.First(); ok; ok = it.Next() {
			rows = append(rows, [2][]byte{bytes.Clone(it.Key()), bytes.Clone(it.Value())})
		}
		return it.Close()
	})
	return rows
}

// TestSoundLogPasses is the control: nothing is wrong, and no byte is changed.
func TestSoundLogPasses(t *testing.T) {
	base := newWholeLog(t)
	for name, l := range map[string]*wholeLog{"in the write-ahead log": base, "in tables": base.flushed(t)} {
		before := l.files(t)
		r := l.check(t)
		for _, p := range r.Problems {
			t.Errorf("%s: %s", name, p)
		}
		if r.Count != 0 || len(r.Trees) != 3 || r.Trees[0].Size != 5 || r.Trees[1].Size != 3 || r.Trees[2].Size != 4 || r.Files == 0 {
			t.Errorf("%s: %+v", name, r)
		}
		if after := l.files(t); len(after) != len(before) {
			t.Errorf("%s: %d files became %d", name, len(before), len(after))
		} else {
			for file, content := range before {
				if !bytes.Equal(content, after[file]) {
					t.Errorf("%s: %s was changed", name, file)
				}
			}
		}
	}
}

// files returns the content of every file of the database.
func (l *wholeLog) files(t *testing.T) map[string][]byte {
	t.Helper()
	names, err := l.fs.List(dbDir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for _, name := range names {
		f, err := l.fs.Open(dbDir + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		out[name] = make([]byte, info.Size())
		if _, err := f.ReadAt(out[name], 0); err != nil && info.Size() > 0 {
			t.Fatal(err)
		}
	}
	return out
}

// TestNoSilentRow changes each row in every way; none may go unreported.
func TestNoSilentRow(t *testing.T) {
	base := newWholeLog(t)
	random := rand.New(rand.NewPCG(3, 4))
	kinds := map[pebblelog.RowKind]int{}
	rows := base.rows(t)
	for _, row := range rows {
		k := pebblelog.ParseKey(row[0])
		kinds[k.Kind]++
		name := fmt.Sprintf("kind %d, key %x", k.Kind, row[0])
		type change struct {
			what string
			do   func(db *pebble.DB) error
		}
		set := func(key, value []byte) func(*pebble.DB) error {
			return func(db *pebble.DB) error { return db.Set(key, value, pebble.Sync) }
		}
		changes := []change{
			{"removed", func(db *pebble.DB) error { return db.Delete(row[0], pebble.Sync) }},
			{"emptied", set(row[0], nil)},
			{"cut", set(row[0], row[1][:len(row[1])-1])},
			{"made longer", set(row[0], append(bytes.Clone(row[1]), 0))},
		}
		bits := []int{0, 8*len(row[1]) - 1}
		for range 6 {
			bits = append(bits, random.IntN(8*len(row[1])))
		}
		if len(row[1]) <= 65 && k.Kind != pebblelog.RowNode && k.Kind != pebblelog.RowExtra { // every bit of the few short ones
			bits = bits[:0]
			for bit := range 8 * len(row[1]) {
				bits = append(bits, bit)
			}
		}
		for _, bit := range bits {
			changes = append(changes, change{fmt.Sprintf("bit %d of %d", bit, 8*len(row[1])), set(row[0], flip(row[1], bit))})
		}
		moved := flip(row[0], 8*len(row[0])-1-random.IntN(8))
		if !slices.ContainsFunc(rows, func(r [2][]byte) bool { return bytes.Equal(r[0], moved) && bytes.Equal(r[1], row[1]) }) {
			changes = append(changes, change{fmt.Sprintf("there again as %x", moved), set(moved, row[1])})
		}
		for _, c := range changes {
			l := base.clone(t)
			l.change(t, c.do)
			if r := l.check(t); r.Count == 0 {
				t.Errorf("%s: %s, and nothing was reported", name, c.what)
			}
		}
	}
	for _, want := range []pebblelog.RowKind{
		pebblelog.RowLayout, pebblelog.RowTree, pebblelog.RowHashes, pebblelog.RowIdentity,
		pebblelog.RowLeaf, pebblelog.RowNode, pebblelog.RowRoot, pebblelog.RowExtra,
	} {
		if kinds[want] == 0 {
			t.Errorf("there was no row of kind %d to change", want)
		}
	}
}

func flip(b []byte, bit int) []byte {
	out := bytes.Clone(b)
	out[bit/8] ^= 1 << (bit % 8)
	return out
}

// TestWhatIsReported wants the very thing named that was changed.
func TestWhatIsReported(t *testing.T) {
	base := newWholeLog(t)
	id := base.trees[0].ID
	leaf := func(l *wholeLog) (key, value []byte) {
		for _, row := range l.rows(t) {
			if k := pebblelog.ParseKey(row[0]); k.Kind == pebblelog.RowLeaf && k.Tree == id && k.Index == 1 {
				return row[0], row[1]
			}
		}
		t.Fatal("no leaf")
		return nil, nil
	}
	leafKey, leafRow := leaf(base)
	search := func(prefix byte) []byte {
		for _, row := range base.rows(t) {
			if k := pebblelog.ParseKey(row[0]); k.Kind == pebblelog.RowExtra && k.Tree == id && k.Extra[0] == prefix {
				return row[0]
			}
		}
		t.Fatal("no row")
		return nil
	}
	stray := append(bytes.Clone(search('s')[:len(search('s'))-8]), 0, 0, 0, 0, 0, 0, 0, 0x77)
	for name, tt := range map[string]struct {
		do   func(*pebble.DB) error
		want string
	}{
		"value":            {func(db *pebble.DB) error { return db.Set(leafKey, flip(leafRow, 8*(len(leafRow)-20)), nil) }, "differs: tlog: leaf of entry 1, value"},
		"leaf hash":        {func(db *pebble.DB) error { return db.Set(leafKey, flip(leafRow, 8*5), nil) }, "differs: tlog: leaf of entry 1, leaf hash"},
		"integrated time":  {func(db *pebble.DB) error { return db.Set(leafKey, flip(leafRow, 8*(1+32+8+7)), nil) }, "differs: tlog: leaf of entry 1, times"},
		"leaf gone":        {func(db *pebble.DB) error { return db.Delete(leafKey, nil) }, "missing: tlog: leaf of entry 1"},
		"search row gone":  {func(db *pebble.DB) error { return db.Delete(search('s'), nil) }, "missing: tlog: search of entry"},
		"search row stray": {func(db *pebble.DB) error { return db.Set(stray, make([]byte, 32), nil) }, "extra: tlog: search of entry 119"},
		"attestation":      {func(db *pebble.DB) error { return db.Set(search('a'), []byte("x"), nil) }, "differs: tlog: attestation"},
		"attestation gone": {func(db *pebble.DB) error { return db.Delete(search('a'), nil) }, "missing: tlog: attestation of entry"},
	} {
		l := base.clone(t)
		l.change(t, tt.do)
		r := l.check(t)
		if len(r.Problems) == 0 || !strings.HasPrefix(r.Problems[0].String(), tt.want) {
			t.Errorf("%s: got %v, want %q first", name, r.Problems, tt.want)
		}
		if len(r.Problems) > 1 {
			t.Errorf("%s: one change, and %d reports: %v", name, len(r.Problems), r.Problems)
		}
	}
}
