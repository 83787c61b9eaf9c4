package tlog_test

import (
	"context"
	"crypto"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"

	"sigstack/internal/fault"
	"sigstack/internal/keys"
	"sigstack/internal/merkle"
	"sigstack/internal/merkle/pebblelog"
	"sigstack/internal/pki"
	"sigstack/services/tlog"
	"sigstack/services/tlog/entry"
	"sigstack/services/tlog/tlogtest"
)

func now() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

func startTree(t *testing.T) *merkle.Tree {
	t.Helper()
	store, err := pebblelog.Open("db", pebblelog.Options{FS: vfs.NewMem(), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	id, err := merkle.CreateTree(t.Context(), store, "rekor")
	if err != nil {
		t.Fatal(err)
	}
	tree, err := merkle.Open(t.Context(), merkle.Config{Storage: store, TreeID: id, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tree.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, store.Close()); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	return tree
}

func key(t *testing.T, alg keys.Algorithm) keys.Key {
	t.Helper()
	k, err := keys.Ephemeral("rekor", alg, now())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func config(t *testing.T) tlog.Config {
	return tlog.Config{Shard: tlog.Shard{Tree: startTree(t), Signer: key(t, keys.ECDSAP256)}, URL: "https://log.example:3000", Host: "log.example", Now: now}
}

func newService(t *testing.T, c tlog.Config) *tlog.Service {
	t.Helper()
	s, err := tlog.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestVectors: contract rekor-v1.md §3.
func TestVectors(t *testing.T) {
	leaf := tlogtest.LeafHash([]byte(`{"a":1}`))
	if got, want := tlog.EntryID(0x1a2b, leaf), "0000000000001a2bc7261463ebd776f4650b6d0fe942d9cc38c925d90f77d440ab6df8d5dd258c5f"; got != want {
		t.Errorf("entry ID %s, want %s", got, want)
	}
	spki, err := base64.StdEncoding.DecodeString("MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE2G2Y+2tabdTV5BcGiBIx0a9fAFwrkBbmLSGtks4L3qX6yYY0zufBnhC8Ur/iy55GhWP/9A/bY2LhC30M9+RYtw==")
	if err != nil {
		t.Fatal(err)
	}
	id := pki.LogID(spki)
	if got, want := hex.EncodeToString(id[:]), "c0d23d6ad406973f9559f3ba2d1ca01f84147d8ffc5b8445c224f98b9591801d"; got != want {
		t.Errorf("log ID %s, want %s", got, want)
	}
}

func TestNewRefusesConfig(t *testing.T) {
	good := config(t)
	newService(t, good)
	for name, change := range map[string]func(*tlog.Config){
		"no tree":          func(c *tlog.Config) { c.Tree = nil },
		"tree ID 0":        func(c *tlog.Config) { c.Tree = treeOf{c.Tree, func() int64 { return 0 }} },
		"no signer":        func(c *tlog.Config) { c.Signer = keys.Key{} },
		"P-384":            func(c *tlog.Config) { c.Signer = key(t, keys.ECDSAP384) },
		"Ed25519":          func(c *tlog.Config) { c.Signer = key(t, keys.Ed25519) },
		"key of tomorrow":  func(c *tlog.Config) { c.Now = func() time.Time { return now().Add(-time.Hour) } },
		"no clock":         func(c *tlog.Config) { c.Now = nil },
		"no URL":           func(c *tlog.Config) { c.URL = "" },
		"URL without host": func(c *tlog.Config) { c.URL, c.Host = "https://", "" },
		"URL of a file":    func(c *tlog.Config) { c.URL = "file://log.example/" },
		"host with port":   func(c *tlog.Config) { c.Host = "log.example:3000" },
		"other host":       func(c *tlog.Config) { c.Host = "example" },
		"negative timeout": func(c *tlog.Config) { c.AddTimeout = -1 },
	} {
		c := good
		change(&c)
		if _, err := tlog.New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// treeOf is a tree with another ID.
type treeOf struct {
	tlog.Tree
	id func() int64
}

func (t treeOf) ID() int64 { return t.id() }

func TestTrust(t *testing.T) {
	c := config(t)
	logs := newService(t, c).Trust()
	if len(logs) != 1 {
		t.Fatalf("trust %+v, want one log", logs)
	}
	got := logs[0]
	if got.BaseURL != c.URL || string(got.PublicKey) != string(c.Signer.SPKI()) || got.APIVersion != 1 ||
		!got.Window.Start.Equal(now()) || !got.Window.End.IsZero() {
		t.Errorf("trust %+v", got)
	}
}

// TestCheckpointIsShared: one tree head is signed once, for whoever asks.
func TestCheckpointIsShared(t *testing.T) {
	s := newService(t, config(t))
	added, created, err := s.Add(t.Context(), []byte(`{"a":1}`), entry.Terms{}, nil)
	if err != nil || !created {
		t.Fatalf("created %v, %v", created, err)
	}
	head, err := s.Checkpoint(t.Context())
	if err != nil || head != added.Proof.Checkpoint {
		t.Errorf("checkpoint %+v, %v, want that of the entry %+v", head, err, added.Proof.Checkpoint)
	}
	again, created, err := s.Add(t.Context(), []byte(`{"a":1}`), entry.Terms{}, nil)
	if err != nil || created || again.Proof.Checkpoint != head || again.EntryID() != added.EntryID() {
		t.Errorf("again: created %v, %+v, %v", created, again, err)
	}
	for range 6 { // more heads than are kept
		if _, _, err := s.Add(t.Context(), []byte(time.Now().String()), entry.Terms{}, nil); err != nil {
			t.Fatal(err)
		}
		if next, err := s.Checkpoint(t.Context()); err != nil || next.Size <= head.Size || next.Note == head.Note {
			t.Errorf("next checkpoint %+v, %v, after %+v", next, err, head)
		}
	}
}

// lyingTree returns an entry that was changed on its way from the disk.
type lyingTree struct {
	tlog.Tree
	change func(*merkle.Entry)
}

func (l lyingTree) Entry(ctx context.Context, index uint64) (merkle.Entry, error) {
	e, err := l.Tree.Entry(ctx, index)
	l.change(&e)
	return e, err
}

func TestCheck(t *testing.T) {
	c := config(t)
	s := newService(t, c)
	if err := s.Check(t.Context()); err != nil {
		t.Errorf("empty log: %v", err)
	}
	for _, body := range []string{"one", "two", "three"} {
		if _, _, err := s.Add(t.Context(), []byte(body), entry.Terms{}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Check(t.Context()); err != nil {
		t.Errorf("sound log: %v", err)
	}
	tree := c.Tree
	for name, change := range map[string]func(*merkle.Entry){
		"body":               func(e *merkle.Entry) { e.Leaf.Value = []byte("zwo") },
		"body and leaf hash": func(e *merkle.Entry) { e.Leaf.Value = []byte("zwo"); e.LeafHash = tlogtest.LeafHash(e.Leaf.Value) },
		"leaf hash":          func(e *merkle.Entry) { e.LeafHash[0] ^= 1 },
		"index":              func(e *merkle.Entry) { e.Index = 1 },
	} {
		c.Tree = lyingTree{tree, change}
		if err := newService(t, c).Check(t.Context()); err == nil {
			t.Errorf("changed %s: not noticed", name)
		}
	}
	c.Tree, c.Signer.Signer = tree, wrongSigner{c.Signer.Signer}
	if err := newService(t, c).Check(t.Context()); err == nil {
		t.Error("signatures of another message: not noticed")
	}
}

// wrongSigner signs something else than it is asked to.
type wrongSigner struct{ crypto.Signer }

func (w wrongSigner) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return w.Signer.Sign(random, make([]byte, len(digest)), opts)
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	c := config(t)
	c.Metrics = reg
	s := newService(t, c)
	for _, body := range []string{"one", "two", "one"} {
		if _, _, err := s.Add(t.Context(), []byte(body), entry.Terms{}, nil); err != nil {
			t.Fatal(err)
		}
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		got[f.GetName()] = f.GetMetric()[0].GetCounter().GetValue()
	}
	if got["rekor_new_entries"] != 2 || got["sigstack_tlog_duplicates_total"] != 1 {
		t.Errorf("metrics %v", got)
	}
	if _, err := tlog.New(c); err == nil || !strings.Contains(err.Error(), "register metrics") {
		t.Errorf("a second log with the same metrics: %v", err)
	}
}

func TestConsistencyRefusals(t *testing.T) {
	s := newService(t, config(t))
	if _, _, err := s.Add(t.Context(), []byte("one"), entry.Terms{}, nil); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Consistency(t.Context(), s.TreeID(), 1, 1); err != nil {
		t.Errorf("1 to 1: %v", err)
	}
	for name, args := range map[string]struct {
		tree        int64
		first, last uint64
	}{
		"other tree": {7, 1, 1}, "from 0": {0, 0, 1}, "backwards": {0, 2, 1}, "beyond": {0, 1, 2},
	} {
		if _, _, err := s.Consistency(t.Context(), args.tree, args.first, args.last); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%s: %v, want an invalid request", name, err)
		}
	}
	for _, tree := range []int64{7, -1} {
		if _, err := s.ByHash(t.Context(), tree, tlogtest.LeafHash([]byte("one"))); fault.KindOf(err) != fault.NotFound {
			t.Errorf("in tree %d: %v, want not found", tree, err)
		}
	}
}
