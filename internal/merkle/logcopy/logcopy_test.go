package logcopy_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/trillian"
	"github.com/google/trillian/storage"

	"sigstack/internal/fault"
	"sigstack/internal/merkle"
	"sigstack/internal/merkle/logcopy"
	"sigstack/internal/merkle/pglog"
	"sigstack/internal/pgtest"
)

func mustCopy(t testing.TB, from, to store, id int64) logcopy.Copied {
	t.Helper()
	done, err := logcopy.Copy(t.Context(), logcopy.Config{From: from, To: to, Tree: id})
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// TestCopiesAreTheSameLog copies there and back, between all kinds of storage, at sizes
// around those of chunks and tiles, and goes on writing to the copies.
func TestCopiesAreTheSameLog(t *testing.T) {
	for _, size := range []int{0, 1, 255, 257, 2049} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			places := newPlaces(t)
			first := open(t, places["directory"]())
			id := newLog(t, first, size)
			want := look(t, first, id)
			times := queued(t, first, id)
			from := first
			for _, kind := range []string{"PostgreSQL", "PostgreSQL", "directory", "directory"} {
				to := open(t, places[kind]())
				done := mustCopy(t, from, to, id)
				if done.Tree != id || done.Name != "tlog" || done.Head != want.Head || done.Frozen || done.Had != 0 || done.Whole {
					t.Errorf("copy to %s: got %+v, want a copy of %+v", kind, done, want.Head)
				}
				same(t, look(t, to, id), want)
				if head, err := merkle.CheckTree(t.Context(), to, id); err != nil || head != want.Head {
					t.Errorf("recomputed: got %+v, %v, want %+v", head, err, want.Head)
				}
				from = to
			}
			if got := queued(t, from, id); !reflect.DeepEqual(got, times) {
				t.Error("times of queueing are others after a way there and back")
			}
			grow(t, from, id, size, size+10)
			grow(t, first, id, size, size+10)
			if a, b := look(t, from, id).Head, look(t, first, id).Head; a.Size != b.Size || a.Size != uint64(size+10) {
				t.Errorf("the copy has grown to %d, the first one to %d, want %d", a.Size, b.Size, size+10)
			}
		})
	}
}

// queued are the times at which entries were, as storage has them.
func queued(t testing.TB, s store, id int64) (times []time.Time) {
	t.Helper()
	leaves, err := s.ExportLeaves(t.Context(), id, 0, 1<<20, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range leaves {
		times = append(times, l.QueueTimestamp.AsTime())
	}
	return times
}

func TestFrozenTreesStayFrozen(t *testing.T) {
	for kind, place := range newPlaces(t) {
		t.Run(kind, func(t *testing.T) {
			from := open(t, newPlaces(t)["directory"]())
			id := newLog(t, from, 5)
			if _, err := storage.UpdateTree(t.Context(), from.Admin(), id, func(t *trillian.Tree) { t.TreeState = trillian.TreeState_FROZEN }); err != nil {
				t.Fatal(err)
			}
			to := open(t, place())
			if done := mustCopy(t, from, to, id); !done.Frozen {
				t.Errorf("got %+v, want it frozen", done)
			}
			same(t, look(t, to, id), look(t, from, id))
		})
	}
}

// interrupted fails after some chunks, as a process does that ends there.
type interrupted struct {
	store
	left int
}

var errCut = errors.New("cut short")

func (s *interrupted) ImportLeaves(ctx context.Context, t *trillian.Tree, leaves []*trillian.LogLeaf, nodes []node) error {
	if s.left--; s.left < 0 {
		return errCut
	}
	return s.store.ImportLeaves(ctx, t, leaves, nodes)
}

func (s *interrupted) ImportRows(ctx context.Context, t *trillian.Tree, keys, values [][]byte) error {
	if s.left--; s.left < 0 {
		return errCut
	}
	return s.store.ImportRows(ctx, t, keys, values)
}

func (s *interrupted) FinishImport(ctx context.Context, t *trillian.Tree, root *trillian.SignedLogRoot) error {
	if s.left--; s.left < 0 {
		return errCut
	}
	return s.store.FinishImport(ctx, t, root)
}

// TestHalfCopiesAreNoLogAndAreGoneOnWith cuts a copy short at each of its steps, and
// lets the log grow before it is taken up again.
func TestHalfCopiesAreNoLogAndAreGoneOnWith(t *testing.T) {
	for kind, place := range newPlaces(t) {
		t.Run(kind, func(t *testing.T) {
			from := open(t, newPlaces(t)["directory"]())
			size := 5000 // three chunks of leaves, and some of rows
			id := newLog(t, from, size)
			to := open(t, place())
			for cut := range 5 {
				_, err := logcopy.Copy(t.Context(), logcopy.Config{From: from, To: &interrupted{to, cut}, Tree: id})
				if !errors.Is(err, errCut) {
					t.Fatalf("cut after %d commits: got %v", cut, err)
				}
				if tree, err := merkle.Open(t.Context(), merkle.Config{Storage: to, TreeID: id, Now: time.Now}); err == nil {
					t.Fatalf("cut after %d commits: half a copy was opened, with head %+v", cut, tree.Head())
				}
				if found, err := merkle.FindTree(t.Context(), to, "tlog"); err != nil || found != 0 {
					t.Fatalf("cut after %d commits: half a copy is found as tree %d, %v", cut, found, err)
				}
				if got, err := logcopy.List(t.Context(), to); err != nil || len(got) > 0 {
					t.Fatalf("cut after %d commits: half a copy is listed as %+v, %v", cut, got, err)
				}
				grow(t, from, id, size, size+3)
				size += 3
			}
			if done := mustCopy(t, from, to, id); done.Had == 0 || done.Whole {
				t.Errorf("got %+v, want it gone on with", done)
			}
			same(t, look(t, to, id), look(t, from, id))
			want := []logcopy.Listed{{ID: id, Name: "tlog", Size: uint64(size)}}
			if got, err := logcopy.List(t.Context(), to); err != nil || !slices.Equal(got, want) {
				t.Errorf("listed: got %+v, %v, want %+v", got, err, want)
			}
			if done := mustCopy(t, from, to, id); !done.Whole {
				t.Errorf("again: got %+v, want nothing written", done)
			}
		})
	}
}

// TestOlderCopiesAreGoneOnWith copies again what has grown, or has but a fresh root.
func TestOlderCopiesAreGoneOnWith(t *testing.T) {
	for kind, place := range newPlaces(t) {
		t.Run(kind, func(t *testing.T) {
			from := open(t, newPlaces(t)["directory"]())
			id := newLog(t, from, 10)
			to := open(t, place())
			mustCopy(t, from, to, id)
			for i, fresh := range []func(){
				func() { grow(t, from, id, 10, 700) },
				func() { refresh(t, from, id) },
			} {
				fresh()
				if done := mustCopy(t, from, to, id); done.Whole || done.Had == 0 {
					t.Errorf("copy %d: got %+v, want the older one gone on with", i, done)
				}
				same(t, look(t, to, id), look(t, from, id))
			}
			if head, err := merkle.CheckTree(t.Context(), to, id); err != nil || head.Size != 700 {
				t.Errorf("recomputed: got %+v, %v, want 700 entries", head, err)
			}
		})
	}
}

// refresh gives a log a fresh root of the same entries.
func refresh(t *testing.T, s merkle.Storage, id int64) {
	t.Helper()
	tree, err := merkle.Open(t.Context(), merkle.Config{Storage: s, TreeID: id, Now: time.Now, RefreshEvery: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	before := tree.Head()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- tree.Run(ctx) }()
	for tree.Head() == before {
		runtime.Gosched()
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestPlacesThatHoldSomethingAreRefused(t *testing.T) {
	for kind, place := range newPlaces(t) {
		t.Run(kind, func(t *testing.T) {
			from := open(t, newPlaces(t)["directory"]())
			id := newLog(t, from, 10)
			to := open(t, place())
			mustCopy(t, from, to, id)
			before := look(t, to, id)
			grow(t, from, id, 10, 11)
			grow(t, to, id, 20, 22)
			for _, size := range []int{11, 12, 15} { // behind it, beside it, ahead of it
				if done, err := logcopy.Copy(t.Context(), logcopy.Config{From: from, To: to, Tree: id}); fault.KindOf(err) != fault.Conflict {
					t.Errorf("a log that went on was taken for a copy of one with %d entries: %+v, %v", size, done, err)
				}
				grow(t, from, id, size, size+3)
			}
			if after := look(t, to, id); after.Head.Size != before.Head.Size+2 {
				t.Errorf("refused copies changed the log to %+v", after.Head)
			}
		})
	}
	for kind, place := range newPlaces(t) {
		t.Run("another tree in "+kind, func(t *testing.T) {
			from, to := open(t, newPlaces(t)["directory"]()), open(t, place())
			id := newLog(t, from, 3)
			other := newLog(t, to, 2)
			_, err := logcopy.Copy(t.Context(), logcopy.Config{From: from, To: to, Tree: id})
			if fault.KindOf(err) != fault.Conflict {
				t.Errorf("got %v, want a conflict", err)
			}
			if _, err := logcopy.Copy(t.Context(), logcopy.Config{From: from, To: to, Tree: id, Beside: []int64{other}}); err != nil {
				t.Errorf("beside a tree that moves, too: %v", err)
			}
		})
	}
}

// TestWhatDiffersIsNamed spoils whole copies.
func TestWhatDiffersIsNamed(t *testing.T) {
	db := pgtest.New(t)
	from := open(t, place{Dir: t.TempDir()})
	id := newLog(t, from, 700)
	for i, tt := range []struct{ name, sql, want string }{
		{"value", "UPDATE LeafData SET LeafValue = 'x' WHERE LeafIdentityHash = (SELECT LeafIdentityHash FROM SequencedLeafData WHERE SequenceNumber = 7)", "entry 7: its value"},
		{"extra", "UPDATE LeafData SET ExtraData = 'x' WHERE LeafIdentityHash = (SELECT LeafIdentityHash FROM SequencedLeafData WHERE SequenceNumber = 8)", "entry 8: its extra data"},
		{"time", "UPDATE LeafData SET QueueTimestampNanos = 5 WHERE LeafIdentityHash = (SELECT LeafIdentityHash FROM SequencedLeafData WHERE SequenceNumber = 9)", "entry 9: its time of integration"},
		{"queued", "UPDATE SequencedLeafData SET IntegrateTimestampNanos = 5 WHERE SequenceNumber = 9", "entry 9: its time of queueing"},
		{"hash", "UPDATE SequencedLeafData SET MerkleLeafHash = sha256('x') WHERE SequenceNumber = 9", "entry 9: its leaf hash"},
		{"gone", "DELETE FROM SequencedLeafData WHERE SequenceNumber = 600", "600 is missing"},
		{"more", "INSERT INTO SequencedLeafData SELECT TreeId, 700, sha256('x'), MerkleLeafHash, 0 FROM SequencedLeafData WHERE SequenceNumber = 0; " +
			"INSERT INTO LeafData SELECT TreeId, sha256('x'), LeafValue, '', 0 FROM LeafData LIMIT 1", "more than the log's 700"},
		{"node", "DELETE FROM Subtree WHERE SubtreeId = (SELECT SubtreeId FROM Subtree ORDER BY length(SubtreeId) DESC, SubtreeId DESC LIMIT 1)", "node"},
		{"row", "UPDATE ExtraRow SET Value = 'x' WHERE Key = 'last 3'", fmt.Sprintf("row %x differs", "last 3")},
		{"row gone", "DELETE FROM ExtraRow WHERE Key = 'last 3'", fmt.Sprintf("row %x is missing", "last 3")},
		{"row more", "INSERT INTO ExtraRow SELECT TreeId, 'a', '' FROM Trees", fmt.Sprintf("row %x that the log has not", "a")},
		{"root", "INSERT INTO TreeHead SELECT TreeId, TreeHeadTimestamp + 1, TreeSize, RootHash, '' FROM TreeHead", "there is a log"},
		{"state", "UPDATE Trees SET TreeState = 'FROZEN'", "FROZEN"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := place{URL: db.URL, Schema: fmt.Sprintf("spoilt%d", i)}
			to := open(t, p)
			mustCopy(t, from, to, id)
			db.Exec(t, "SET search_path = "+p.Schema, tt.sql)
			done, err := logcopy.Copy(t.Context(), logcopy.Config{From: from, To: to, Tree: id})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %+v, %v, want %q in the error", done, err, tt.want)
			}
		})
	}
}

// TestRetiredLogsAreCopiedNoMore but for a copy that came to its end before.
func TestRetiredLogsAreCopiedNoMore(t *testing.T) {
	places := newPlaces(t)
	from, to := open(t, places["PostgreSQL"]()), open(t, places["directory"]())
	id := newLog(t, from, 20)
	want := look(t, from, id)
	late := openTree(t, from, id) // another process that does not know
	mustCopy(t, from, to, id)
	for range 2 {
		if err := from.(*pglog.Store).Retire(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- late.Run(ctx) }()
	if added, err := late.Add(t.Context(), leaf(99)); !errors.Is(err, merkle.ErrFrozen) {
		t.Errorf("a retired log took %+v (%v): there are two of it now", added, err)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	again := mustCopy(t, from, to, id)
	if !again.Whole || again.Frozen || again.Name != "tlog" {
		t.Errorf("got %+v, want the whole copy, which takes entries", again)
	}
	same(t, look(t, to, id), want)
	if _, err := logcopy.Copy(t.Context(), logcopy.Config{From: from, To: open(t, places["directory"]()), Tree: id}); err == nil || !strings.Contains(err.Error(), "goes on there") {
		t.Errorf("got %v, want a refusal to copy a log that went elsewhere", err)
	}
}
