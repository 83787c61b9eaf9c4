package merkle_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/trillian"
	"github.com/google/trillian/storage"
	"github.com/google/trillian/types"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/transparency-dev/merkle/rfc6962"
	"k8s.io/klog/v2"

	"sigstack/internal/fault"
	"sigstack/internal/merkle"
	"sigstack/internal/merkle/pebblelog"
)

func TestNewTreeIsEmpty(t *testing.T) {
	r := start(t, merkle.Config{})
	want := merkle.Head{Root: [32]byte(rfc6962.DefaultHasher.EmptyRoot()), Time: r.Head().Time}
	if got := r.Head(); got != want || got.Time.IsZero() || r.ID() <= 0 {
		t.Errorf("head %+v of tree %d, want %+v and a positive id", got, r.ID(), want)
	}
	checkWhole(t, r)
}

func TestCreateTreeRefusesASecondOfTheName(t *testing.T) {
	r := start(t, merkle.Config{})
	if _, err := merkle.CreateTree(t.Context(), r.store, "test"); fault.KindOf(err) != fault.Conflict {
		t.Errorf("got %v, want kind Conflict", err)
	}
	if id, err := merkle.CreateTree(t.Context(), r.store, "other"); err != nil || id == r.ID() {
		t.Errorf("another name: id %d, %v", id, err)
	}
}

func TestCreateTreeFinishesWhatACrashLeft(t *testing.T) {
	r := open(t, vfs.NewMem(), merkle.Config{})
	f := &flaky{Storage: r.store}
	f.before.Store(1) // of the two commits, the tree's is an admin one
	if _, err := merkle.CreateTree(t.Context(), f, "torn"); !errors.Is(err, errFlaky) {
		t.Fatalf("got %v, want the injected error", err)
	}
	trees, err := storage.ListTrees(t.Context(), r.store.Admin(), false)
	if err != nil || len(trees) != 2 {
		t.Fatalf("%d trees, %v; want 2", len(trees), err)
	}
	for _, tree := range trees {
		if tree.DisplayName != "torn" {
			continue
		}
		c := r.cfg
		c.TreeID = tree.TreeId
		if _, err := merkle.Open(t.Context(), c); !errors.Is(err, storage.ErrTreeNeedsInit) {
			t.Errorf("open a torn tree: got %v, want ErrTreeNeedsInit", err)
		}
		id, err := merkle.CreateTree(t.Context(), r.store, "torn")
		if err != nil || id != tree.TreeId {
			t.Errorf("create again: id %d, %v; want %d", id, err, tree.TreeId)
		}
		if _, err := merkle.Open(t.Context(), c); err != nil {
			t.Errorf("open: %v", err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	r := open(t, vfs.NewMem(), merkle.Config{})
	draining, err := merkle.CreateTree(t.Context(), r.store, "draining")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := storage.UpdateTree(t.Context(), r.store.Admin(), draining, func(t *trillian.Tree) {
		t.TreeState = trillian.TreeState_DRAINING
	}); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		change func(*merkle.Config)
		want   string
	}{
		{"unknown tree", func(c *merkle.Config) { c.TreeID = 12345 }, "tree 12345 not found"},
		{"draining tree", func(c *merkle.Config) { c.TreeID = draining }, "DRAINING"},
		{"no clock", func(c *merkle.Config) { c.Now = nil }, "clock"},
		{"no storage", func(c *merkle.Config) { c.Storage = nil }, "storage"},
		{"negative step", func(c *merkle.Config) { c.TimeStep = -1 }, "negative"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := r.cfg
			tt.change(&c)
			if _, err := merkle.Open(t.Context(), c); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	c := r.cfg
	c.TreeID = 12345
	if _, err := merkle.Open(t.Context(), c); fault.KindOf(err) != fault.NotFound {
		t.Errorf("unknown tree: got %v, want kind NotFound", err)
	}
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	r := start(t, merkle.Config{Metrics: registry})
	addAll(t, r.Tree, 10, 2)
	mustAdd(t, r.Tree, leaf(3))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		m := f.GetMetric()[0]
		if label := m.GetLabel()[0]; label.GetName() != "log" || label.GetValue() != "test" {
			t.Errorf("%s has label %v, want log=test", f.GetName(), label)
		}
		got[f.GetName()] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
	}
	for name, want := range map[string]float64{
		"sigstack_merkle_adds_total":       10,
		"sigstack_merkle_duplicates_total": 1,
		"sigstack_merkle_tree_size":        10,
		"sigstack_merkle_queue_depth":      0,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s is %v (there: %v), want %v", name, v, ok, want)
		}
	}
	for _, name := range []string{"sigstack_merkle_batch_size", "sigstack_merkle_commit_seconds"} {
		if got[name] == 0 {
			t.Errorf("%s has no samples", name)
		}
	}
	if _, err := merkle.Open(t.Context(), merkle.Config{Storage: r.store, TreeID: r.ID(), Now: time.Now, Metrics: registry}); err == nil {
		t.Error("a second tree of the same name registered its metrics too")
	}
}

func TestKlogIsRouted(t *testing.T) {
	var lines bytes.Buffer
	merkle.RouteKlog(slog.New(slog.NewTextHandler(&lines, &slog.HandlerOptions{Level: slog.LevelDebug})))
	t.Cleanup(func() { merkle.RouteKlog(slog.New(slog.DiscardHandler)) })
	klog.Info("routine")
	klog.Error("broken")
	for _, want := range []string{"level=DEBUG msg=routine", "level=ERROR msg=broken"} {
		if !strings.Contains(lines.String(), want) {
			t.Errorf("got %q, want %q in it", lines.String(), want)
		}
	}
}

func TestCheckTreeFindsDamage(t *testing.T) {
	tests := []struct {
		name   string
		damage func(ctx context.Context, tx storage.LogTreeTX) error
		want   string
	}{
		{"a root over nothing", func(ctx context.Context, tx storage.LogTreeTX) error {
			return storeRoot(ctx, tx, 7, [32]byte{1})
		}, "entry 6: leaf: it is missing"},
		{"a changed leaf ahead of the root", func(ctx context.Context, tx storage.LogTreeTX) error {
			l := &trillian.LogLeaf{LeafIndex: 6, LeafValue: []byte("x"), MerkleLeafHash: make([]byte, 32), LeafIdentityHash: make([]byte, 32)}
			return errors.Join(tx.UpdateSequencedLeaves(ctx, []*trillian.LogLeaf{l}), storeRoot(ctx, tx, 7, [32]byte{1}))
		}, "entry 6: leaf: it hashes to"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := start(t, merkle.Config{})
			addAll(t, r.Tree, 6, 1)
			if err := r.stop(); err != nil {
				t.Fatal(err)
			}
			tree, err := storage.GetTree(t.Context(), r.store.Admin(), r.ID())
			if err != nil {
				t.Fatal(err)
			}
			if err := r.store.ReadWriteTransaction(t.Context(), tree, tt.damage); err != nil {
				t.Fatal(err)
			}
			if _, err := merkle.CheckTree(t.Context(), r.store, r.ID()); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if _, err := merkle.Open(t.Context(), r.cfg); err == nil {
				t.Error("a damaged tree was opened")
			}
		})
	}
	if _, err := merkle.CheckTree(t.Context(), openOn(t, vfs.NewMem(), pebblelog.Options{}, merkle.Config{}).store, 1); err == nil {
		t.Error("checking an unknown tree succeeded")
	}
}

func storeRoot(ctx context.Context, tx storage.LogTreeTX, size uint64, hash [32]byte) error {
	root, err := (&types.LogRootV1{TreeSize: size, RootHash: hash[:]}).MarshalBinary()
	if err != nil {
		return err
	}
	return tx.StoreSignedLogRoot(ctx, &trillian.SignedLogRoot{LogRoot: root})
}
