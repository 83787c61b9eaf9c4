package rekorv1_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/prometheus/client_golang/prometheus"

	"sigstack/internal/keys"
	"sigstack/internal/merkle"
	"sigstack/internal/merkle/pebblelog"
	"sigstack/services/tlog"
	"sigstack/services/tlog/rekorv1"
	"sigstack/services/tlog/tlogtest"
)

// everyCut is the environment variable that has every cut point tried. Without it
// one in cutShare is.
const (
	everyCut = "FAULTS_EVERY_CUT"
	cutShare = 12
)

// site is a log across power cuts: its keys, and the trees it was given.
type site struct {
	keys   []keys.Key
	ledger *tlogtest.Ledger
	idle   func() // called when every answer is there and the log still open

	mu    sync.Mutex
	trees []int64 // guarded by mu: the oldest first
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{ledger: tlogtest.NewLedger("log.example"), idle: func() {}}
	for range 2 {
		key, err := keys.Ephemeral("rekor", keys.ECDSAP256, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		s.keys = append(s.keys, key)
	}
	return s
}

func (s *site) known() []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.trees)
}

func (s *site) add(tree int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trees = append(s.trees, tree)
}

// running is the log while it is open.
type running struct {
	store *pebblelog.Store
	mux   http.Handler
	stops []func() error
}

// open opens the trees, of which the first that is not frozen takes entries.
func (s *site) open(t *testing.T, o pebblelog.Options, trees []int64) (_ *running, err error) {
	t.Helper()
	o.Now = time.Now
	r := &running{}
	if r.store, err = pebblelog.Open("db", o); err != nil {
		return nil, err
	}
	r.stops = append(r.stops, r.store.Close)
	defer func() {
		if err != nil {
			err = errors.Join(err, r.stop())
		}
	}()
	var shards []tlog.Shard
	for i, id := range trees {
		tree, err := merkle.Open(t.Context(), merkle.Config{Storage: r.store, TreeID: id, Now: time.Now})
		if err != nil {
			return nil, err
		}
		r.run(tree)
		shards = append(shards, tlog.Shard{Tree: tree, Signer: s.keys[i]})
		if !tree.Frozen() {
			break
		}
	}
	last := len(shards) - 1
	svc, err := tlog.New(tlog.Config{
		Shard: shards[last], Earlier: shards[:last], URL: "https://log.example:3000/base", Host: "log.example",
		Now: time.Now, Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		return nil, err
	}
	api, err := rekorv1.New(rekorv1.Config{Log: svc})
	if err != nil {
		return nil, err
	}
	r.mux = mount(api)
	return r, nil
}

func (r *running) run(tree *merkle.Tree) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tree.Run(ctx) }()
	r.stops = append(r.stops, func() error { cancel(); return <-done })
}

func (r *running) stop() (err error) {
	for _, f := range slices.Backward(r.stops) {
		err = errors.Join(err, f())
	}
	r.stops = nil
	return err
}

// ask is a tlogtest.Ask.
func (r *running) ask(ctx context.Context, method, path string, body []byte) (int, []byte, error) {
	req := httptest.NewRequestWithContext(ctx, method, path, bytes.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	r.mux.ServeHTTP(w, req)
	return w.Code, w.Body.Bytes(), nil
}

// add logs an entry, and notes what it was answered.
func (s *site) post(t *testing.T, r *running, signer tlogtest.Signer, text string) error {
	t.Helper()
	artifact := []byte(text)
	status, answer, err := r.ask(t.Context(), http.MethodPost, "/api/v1/log/entries",
		tlogtest.JSON(t, tlogtest.HashedRekord(t, signer, crypto.SHA256, artifact)))
	if err != nil || status != http.StatusCreated {
		return fmt.Errorf("status %d %s: %w", status, answer, err)
	}
	digest := sha256.Sum256(artifact)
	s.ledger.Note(answer, tlogtest.Object{"hash": hex.EncodeToString(digest[:])})
	return nil
}

// live is a life of the log with all that it writes for: two trees, each with
// several writers, and restarts between.
func (s *site) live(t *testing.T, o pebblelog.Options) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	o.Now = time.Now
	for i := range 2 {
		store, err := pebblelog.Open("db", o)
		must(err)
		if i == 0 {
			id, err := merkle.CreateTree(t.Context(), store, "rekor")
			must(err)
			s.add(id)
		} else {
			id, err := merkle.PrepareTree(t.Context(), store, "rekor-2")
			must(err)
			s.add(id)
			must(merkle.Succeed(t.Context(), store, s.known()[0], id))
		}
		must(store.Close())
		for range 2 {
			r, err := s.open(t, o, s.known())
			must(err)
			var wg sync.WaitGroup
			for w := range 4 {
				signer := tlogtest.NewSigner(t)
				wg.Go(func() {
					for n := range 4 {
						if err := s.post(t, r, signer, fmt.Sprint(i, w, n, rand.Text())); err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			s.idle()
			_, err = s.ledger.Check(t.Context(), r.ask, nil)
			must(err)
			must(r.stop())
		}
	}
}

// idleCut names the power cuts when everything was acknowledged and nothing was
// under way.
const idleCut = "closing, with all acknowledged"

// powerOff is what a power cut leaves, with all that was acknowledged by then.
type powerOff struct {
	op     string
	kept   int
	disk   *vfs.MemFS
	ledger *tlogtest.Ledger
	trees  []int64
}

// cutter takes what a power cut would leave of a disk before each operation that
// changes it: with nothing of what was not synced, and with half of it.
type cutter struct {
	disk *vfs.MemFS
	site *site

	mu   sync.Mutex // guards the rest
	cuts []powerOff
}

func (c *cutter) String() string { return "power cuts" }

// MaybeError is called before each operation. What was acknowledged is taken
// before the disk is, so that the disk must have it.
func (c *cutter) MaybeError(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && op.Kind != errorfs.OpLock && op.Kind != errorfs.OpFileClose {
		c.cut(fmt.Sprintf("operation %d on %s", op.Kind, op.Path))
	}
	return nil
}

func (c *cutter) cut(op string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	trees, ledger := c.site.known(), c.site.ledger.Copy()
	for _, kept := range []int{0, 50} {
		clone := c.disk.CrashClone(vfs.CrashCloneCfg{
			UnsyncedDataPercent: kept, RNG: mathrand.New(mathrand.NewPCG(uint64(len(c.cuts)), 7)),
		})
		c.cuts = append(c.cuts, powerOff{op, kept, clone, ledger, trees})
	}
}

// lifeWithCuts returns every power cut of a log's life.
func lifeWithCuts(t *testing.T, noSync bool) (*site, []powerOff) {
	t.Helper()
	c := &cutter{disk: vfs.NewCrashableMem(), site: newSite(t)}
	c.site.idle = func() { c.cut(idleCut) }
	c.site.live(t, pebblelog.Options{FS: errorfs.Wrap(c.disk, c), NoSync: noSync})
	c.cut("the end")
	entries, heads := c.site.ledger.Size()
	t.Logf("%d power cuts in a life of %d entries and %d checkpoints", len(c.cuts), entries, heads)
	return c.site, c.cuts
}

// recover starts the log on what a cut left and holds it to everything before;
// then it must go on.
func (s *site) recover(t *testing.T, c powerOff) (err error) {
	t.Helper()
	if len(c.trees) == 0 { // nobody had a log yet: it must be possible to make one
		store, err := pebblelog.Open("db", pebblelog.Options{FS: c.disk, Now: time.Now})
		if err != nil {
			return err
		}
		_, err = merkle.CreateTree(t.Context(), store, "rekor")
		if err != nil && strings.Contains(err.Error(), "exists already") {
			err = nil
		}
		return errors.Join(err, store.Close())
	}
	r, err := s.open(t, pebblelog.Options{FS: c.disk}, c.trees)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.stop()) }()
	ledger := c.ledger.Copy() // which another cut has, too
	if _, err := ledger.Check(t.Context(), r.ask, nil); err != nil {
		return err
	}
	after := &site{ledger: ledger}
	if err := after.post(t, r, tlogtest.NewSigner(t), "after the power came back"); err != nil {
		return err
	}
	_, err = ledger.Check(t.Context(), r.ask, func(int) bool { return false })
	return err
}

// TestPowerCutAtEveryWrite cuts the power before every single operation that
// changes the disk, of opening, writing, handing over to a second tree and
// closing, and demands from what is left every answer that was given before.
func TestPowerCutAtEveryWrite(t *testing.T) {
	s, cuts := lifeWithCuts(t, false)
	step := cutShare
	if os.Getenv(everyCut) != "" {
		step = 1
	}
	tried := 0
	for i := 0; i < len(cuts); i += step {
		if err := s.recover(t, cuts[i]); err != nil {
			t.Errorf("cut %d of %d, before %s, %d%% of what was not synced kept: %v", i, len(cuts), cuts[i].op, cuts[i].kept, err)
		}
		tried++
	}
	t.Logf("%d of %d power cuts tried", tried, len(cuts))
}

// TestPowerCutWithoutSyncIsNoticed: the same, on a log that does not sync, loses
// acknowledged entries, and the test above would say so.
func TestPowerCutWithoutSyncIsNoticed(t *testing.T) {
	s, cuts := lifeWithCuts(t, true)
	tried := 0
	for _, c := range cuts {
		if c.op != idleCut || c.kept != 0 {
			continue
		}
		tried++
		if err := s.recover(t, c); !errors.Is(err, tlogtest.ErrLost) {
			t.Errorf("after a power cut before %s: %v, want %v: nothing was synced", c.op, err, tlogtest.ErrLost)
		}
	}
	if tried == 0 {
		t.Error("no power cut was tried")
	}
}
