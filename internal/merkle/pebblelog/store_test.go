package pebblelog_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/trillian"
	"github.com/google/trillian/storage"
	storageto "github.com/google/trillian/storage/testonly"
	"github.com/google/trillian/storage/tree"
	"github.com/google/trillian/types"
	"github.com/transparency-dev/merkle/compact"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sigstack/internal/merkle/pebblelog"
)

func TestOpenRefusesADirectoryThatIsOpen(t *testing.T) {
	for name, fs := range map[string]vfs.FS{"disk": vfs.Default, "memory": vfs.NewMem()} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := fs.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			first, err := pebblelog.Open(dir, pebblelog.Options{FS: fs, Now: time.Now})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := pebblelog.Open(dir, pebblelog.Options{FS: fs, Now: time.Now}); err == nil || !strings.Contains(err.Error(), "open already") {
				t.Errorf("second open: got %v, want it refused", err)
			}
			for range 2 { // closing again does nothing
				if err := first.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			}
			open(t, fs, dir)
		})
	}
}

func TestOpenRefusesAnotherLayout(t *testing.T) {
	fs := vfs.NewMem()
	s, err := pebblelog.Open("db", pebblelog.Options{FS: fs, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := pebble.Open("db", &pebble.Options{FS: fs, FormatMajorVersion: pebble.FormatNewest})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Set([]byte("\x00layout"), []byte{99}, pebble.Sync); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the first refusal must release the directory
		if _, err := pebblelog.Open("db", pebblelog.Options{FS: fs, Now: time.Now}); err == nil || !strings.Contains(err.Error(), "layout 63") {
			t.Errorf("got %v, want the layout named", err)
		}
	}
}

func TestOpenWantsAClock(t *testing.T) {
	if _, err := pebblelog.Open("db", pebblelog.Options{FS: vfs.NewMem()}); err == nil {
		t.Error("opened without a clock")
	}
}

func TestUseAfterClose(t *testing.T) {
	s := open(t, vfs.NewMem(), "db")
	log := newLog(t, s, storageto.LogTree)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, snapshotErr := s.SnapshotForTree(t.Context(), log)
	_, adminErr := s.Admin().Snapshot(t.Context())
	for name, err := range map[string]error{
		"accessible": s.CheckDatabaseAccessible(t.Context()),
		"snapshot":   snapshotErr,
		"admin":      adminErr,
		"write":      s.ReadWriteTransaction(t.Context(), log, func(context.Context, storage.LogTreeTX) error { return nil }),
	} {
		if err == nil || !strings.Contains(err.Error(), "closed") {
			t.Errorf("%s: got %v, want it to say closed", name, err)
		}
	}
}

func TestLogReceivesTheDatabasesMessages(t *testing.T) {
	var lines bytes.Buffer
	log := slog.New(slog.NewTextHandler(&lines, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s, err := pebblelog.Open("db", pebblelog.Options{FS: vfs.NewMem(), Now: time.Now, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(lines.String(), "level=INFO") {
		t.Errorf("routine messages above debug: %q", lines.String())
	}
}

// newLog makes a tree with an empty root.
func newLog(t *testing.T, s *pebblelog.Store, kind *trillian.Tree) *trillian.Tree {
	t.Helper()
	log, err := storage.CreateTree(t.Context(), s.Admin(), kind)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.ReadWriteTransaction(t.Context(), log, func(ctx context.Context, tx storage.LogTreeTX) error {
		return storeRoot(ctx, tx, 0, make([]byte, 32))
	}); err != nil {
		t.Fatal(err)
	}
	return log
}

func storeRoot(ctx context.Context, tx storage.LogTreeTX, size uint64, hash []byte) error {
	root, err := (&types.LogRootV1{TreeSize: size, RootHash: hash}).MarshalBinary()
	if err != nil {
		return err
	}
	return tx.StoreSignedLogRoot(ctx, &trillian.SignedLogRoot{LogRoot: root})
}

func testLeaf(index int64, identity, hash byte) *trillian.LogLeaf {
	return &trillian.LogLeaf{
		LeafIndex:        index,
		LeafIdentityHash: bytes.Repeat([]byte{identity}, 32),
		MerkleLeafHash:   bytes.Repeat([]byte{hash}, 32),
		LeafValue:        []byte{identity, hash},
	}
}

func TestQueueLeavesAnswersDuplicatesWithTheOriginal(t *testing.T) {
	s := open(t, vfs.NewMem(), "db")
	log := newLog(t, s, storageto.LogTree)
	at := time.Unix(100, 5)
	queue := func(leaves ...*trillian.LogLeaf) []*trillian.QueuedLogLeaf {
		t.Helper()
		res, err := s.QueueLeaves(t.Context(), log, leaves, at)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	assert := func(what string, q *trillian.QueuedLogLeaf, want codes.Code, hash byte) {
		t.Helper()
		if got := status.FromProto(q.GetStatus()).Code(); got != want || q.Leaf.MerkleLeafHash[0] != hash {
			t.Errorf("%s: got %v and leaf %x, want %v and %x", what, got, q.Leaf.MerkleLeafHash[0], want, hash)
		}
	}
	first := queue(testLeaf(0, 1, 11), testLeaf(0, 1, 12), testLeaf(0, 2, 22))
	assert("new", first[0], codes.OK, 11)
	assert("same identity in one call", first[1], codes.AlreadyExists, 11)
	assert("other identity", first[2], codes.OK, 22)
	assert("queued before", queue(testLeaf(0, 1, 13))[0], codes.AlreadyExists, 11)

	if err := s.ReadWriteTransaction(t.Context(), log, func(ctx context.Context, tx storage.LogTreeTX) error {
		leaves, err := tx.DequeueLeaves(ctx, 10, at)
		if err != nil {
			return err
		}
		for i, l := range leaves {
			l.LeafIndex = int64(i)
		}
		if err := tx.UpdateSequencedLeaves(ctx, leaves); err != nil {
			return err
		}
		return storeRoot(ctx, tx, uint64(len(leaves)), make([]byte, 32))
	}); err != nil {
		t.Fatal(err)
	}
	again := queue(testLeaf(0, 1, 14))[0]
	assert("sequenced", again, codes.AlreadyExists, 11)
	if again.Leaf.LeafIndex != 0 || again.Leaf.QueueTimestamp.AsTime().UnixNano() != at.UnixNano() {
		t.Errorf("sequenced original: %v, want index 0 queued at %v", again.Leaf, at)
	}
}

func TestQueueLeavesHonoursTheCutoff(t *testing.T) {
	s := open(t, vfs.NewMem(), "db")
	log := newLog(t, s, storageto.LogTree)
	for i, at := range []int64{-5, 10, 20} {
		if _, err := s.QueueLeaves(t.Context(), log, []*trillian.LogLeaf{testLeaf(0, byte(i+1), 1)}, time.Unix(0, at)); err != nil {
			t.Fatal(err)
		}
	}
	for cutoff, want := range map[int64]int{-6: 0, -5: 1, 9: 1, 10: 2, 19: 2, 20: 3} {
		if err := s.ReadWriteTransaction(t.Context(), log, func(ctx context.Context, tx storage.LogTreeTX) error {
			leaves, err := tx.DequeueLeaves(ctx, 10, time.Unix(0, cutoff))
			if len(leaves) != want {
				t.Errorf("cutoff %d: got %d leaves, want %d", cutoff, len(leaves), want)
			}
			more, moreErr := tx.DequeueLeaves(ctx, 10, time.Unix(0, cutoff))
			if len(more) != 0 || moreErr != nil {
				t.Errorf("cutoff %d, again: got %d leaves, %v; want none", cutoff, len(more), moreErr)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAddSequencedLeavesReportsEachConflict(t *testing.T) {
	s := open(t, vfs.NewMem(), "db")
	log := newLog(t, s, storageto.PreorderedLogTree)
	add := func(leaves ...*trillian.LogLeaf) (statuses []codes.Code) {
		t.Helper()
		res, err := s.AddSequencedLeaves(t.Context(), log, leaves, time.Unix(1, 0))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range res {
			statuses = append(statuses, status.FromProto(r.Status).Code())
		}
		return statuses
	}
	tests := []struct {
		name string
		leaf *trillian.LogLeaf
		want codes.Code
	}{
		{"new", testLeaf(0, 1, 1), codes.OK},
		{"the same", testLeaf(0, 1, 1), codes.AlreadyExists},
		{"index taken", testLeaf(0, 2, 2), codes.FailedPrecondition},
		{"identity taken", testLeaf(1, 1, 1), codes.FailedPrecondition},
		{"next", testLeaf(1, 2, 2), codes.OK},
		{"beyond a gap", testLeaf(9, 9, 9), codes.OK},
	}
	for _, tt := range tests {
		if got := add(tt.leaf); got[0] != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got[0], tt.want)
		}
	}
	got := add(testLeaf(2, 3, 3), testLeaf(2, 4, 4), testLeaf(3, 3, 3))
	for i, want := range []codes.Code{codes.OK, codes.FailedPrecondition, codes.FailedPrecondition} {
		if got[i] != want {
			t.Errorf("within one call, leaf %d: got %v, want %v", i, got[i], want)
		}
	}
	if _, err := s.AddSequencedLeaves(t.Context(), log, []*trillian.LogLeaf{testLeaf(-1, 5, 5)}, time.Unix(1, 0)); status.Code(err) != codes.InvalidArgument {
		t.Errorf("negative index: got %v, want InvalidArgument", err)
	}
}

func TestWritesThatWouldForkTheLogAreRefused(t *testing.T) {
	s := open(t, vfs.NewMem(), "db")
	log := newLog(t, s, storageto.LogTree)
	hash := func(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }
	write := func(f func(context.Context, storage.LogTreeTX) error) error {
		return s.ReadWriteTransaction(t.Context(), log, f)
	}
	if err := write(func(ctx context.Context, tx storage.LogTreeTX) error { return storeRoot(ctx, tx, 5, hash(5)) }); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		do   func(context.Context, storage.LogTreeTX) error
	}{
		{"a smaller root", func(ctx context.Context, tx storage.LogTreeTX) error { return storeRoot(ctx, tx, 4, hash(4)) }},
		{"another root of the size", func(ctx context.Context, tx storage.LogTreeTX) error { return storeRoot(ctx, tx, 5, hash(6)) }},
		{"another leaf below the size", func(ctx context.Context, tx storage.LogTreeTX) error {
			return tx.UpdateSequencedLeaves(ctx, []*trillian.LogLeaf{testLeaf(4, 1, 1)})
		}},
		{"a leaf with a short hash", func(ctx context.Context, tx storage.LogTreeTX) error {
			return tx.UpdateSequencedLeaves(ctx, []*trillian.LogLeaf{{LeafIndex: 5, MerkleLeafHash: hash(1)[:31], LeafIdentityHash: hash(1)}})
		}},
		{"a node with a short hash", func(ctx context.Context, tx storage.LogTreeTX) error {
			return tx.SetMerkleNodes(ctx, []tree.Node{{ID: compact.NewNodeID(0, 0), Hash: hash(1)[:31]}})
		}},
		{"a root that is no root", func(ctx context.Context, tx storage.LogTreeTX) error {
			return tx.StoreSignedLogRoot(ctx, &trillian.SignedLogRoot{LogRoot: []byte("x")})
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := write(tt.do); err == nil {
				t.Error("accepted, want it refused")
			}
		})
	}
	if err := write(func(ctx context.Context, tx storage.LogTreeTX) error { return storeRoot(ctx, tx, 5, hash(5)) }); err != nil {
		t.Errorf("the same root again: %v", err)
	}
}

func TestLeavesOfOneHashAreAllFound(t *testing.T) {
	s := open(t, vfs.NewMem(), "db")
	log := newLog(t, s, storageto.PreorderedLogTree)
	// Leaf 3 has its hash as identity, the others have their own; two come in
	// one transaction.
	leaves := []*trillian.LogLeaf{testLeaf(0, 1, 7), testLeaf(1, 2, 7), testLeaf(2, 3, 8), testLeaf(3, 7, 7)}
	for _, batch := range [][]*trillian.LogLeaf{leaves[:2], leaves[2:]} {
		if _, err := s.AddSequencedLeaves(t.Context(), log, batch, time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
	}
	tx, err := s.SnapshotForTree(t.Context(), log)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Close() //nolint:errcheck // closed below; a second close does nothing
	hash := func(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }
	found, err := tx.GetLeavesByHash(t.Context(), [][]byte{hash(7), hash(9)}, true)
	if err != nil {
		t.Fatal(err)
	}
	var got []int64
	for _, l := range found {
		got = append(got, l.LeafIndex)
	}
	if len(got) != 3 || got[0] != 0 || got[1] != 1 || got[2] != 3 {
		t.Errorf("leaves of the hash: %v, want [0 1 3]", got)
	}
	// An identity alone is no leaf hash.
	found, err = tx.GetLeavesByHash(t.Context(), [][]byte{hash(1)}, true)
	if err != nil || len(found) != 0 {
		t.Errorf("by an identity: %v, %v; want none", found, err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestHardDeletionRemovesOneTreeOnly(t *testing.T) {
	s := open(t, vfs.NewMem(), "db")
	kept, doomed := newLog(t, s, storageto.PreorderedLogTree), newLog(t, s, storageto.PreorderedLogTree)
	for _, log := range []*trillian.Tree{kept, doomed} {
		if _, err := s.AddSequencedLeaves(t.Context(), log, []*trillian.LogLeaf{testLeaf(0, 1, 2)}, time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := storage.SoftDeleteTree(t.Context(), s.Admin(), doomed.TreeId); err != nil {
		t.Fatal(err)
	}
	if err := storage.HardDeleteTree(t.Context(), s.Admin(), doomed.TreeId); err != nil {
		t.Fatal(err)
	}
	if _, err := s.SnapshotForTree(t.Context(), doomed); status.Code(err) != codes.NotFound {
		t.Errorf("deleted tree: got %v, want NotFound", err)
	}
	tx, err := s.SnapshotForTree(t.Context(), kept)
	if err != nil {
		t.Fatal(err)
	}
	leaves, err := tx.GetLeavesByRange(t.Context(), 0, 5)
	if err != nil || len(leaves) != 1 {
		t.Errorf("kept tree: %d leaves, %v; want 1", len(leaves), err)
	}
	if err := tx.Close(); err != nil {
		t.Error(err)
	}
	ids, err := s.GetActiveLogIDs(t.Context())
	if err != nil || len(ids) != 1 || ids[0] != kept.TreeId {
		t.Errorf("active logs %v, %v; want [%d]", ids, err, kept.TreeId)
	}
}
