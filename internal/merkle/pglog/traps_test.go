package pglog_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/trillian"
	"github.com/google/trillian/storage"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"

	"sigstack/internal/fault"
	"sigstack/internal/merkle"
	"sigstack/internal/merkle/pglog"
	"sigstack/internal/pgtest"
)

// Each trap of Trillian's SQL drivers is walked into twice: with the remedy taken
// out, which has to show the harm, and with the remedy.

// gate is where a process stands still in the middle of a batch.
type gate struct {
	reached chan struct{} // one value when it is there
	open    chan struct{} // closed: go on, now and later
	once    sync.Once     // only the first time counts
}

func newGate() *gate {
	return &gate{reached: make(chan struct{}, 1), open: make(chan struct{})}
}

func (g *gate) pass() {
	g.once.Do(func() {
		g.reached <- struct{}{}
		<-g.open
	})
}

// hooked is a transaction with something before or after its steps.
type hooked struct {
	tx
	beforeLeaves func()
	leaves       func(context.Context, tx, []*trillian.LogLeaf, time.Time) ([]*trillian.QueuedLogLeaf, error)
	beforeRoot   func()
}

func (h hooked) AddSequencedLeaves(ctx context.Context, leaves []*trillian.LogLeaf, at time.Time) ([]*trillian.QueuedLogLeaf, error) {
	if h.beforeLeaves != nil {
		h.beforeLeaves()
	}
	if h.leaves != nil {
		return h.leaves(ctx, h.tx, leaves, at)
	}
	return h.tx.AddSequencedLeaves(ctx, leaves, at)
}

func (h hooked) StoreSignedLogRoot(ctx context.Context, root *trillian.SignedLogRoot) error {
	if h.beforeRoot != nil {
		h.beforeRoot()
	}
	return h.tx.StoreSignedLogRoot(ctx, root)
}

// patient gives a process that stands still all the time that a test needs.
func patient(o pglog.Options) pglog.Options {
	o.Pause, o.Timeout = time.Minute, time.Minute
	return o
}

// Trap 1: the driver stores no time of integration for leaves with an index.
func TestTrapTimesOfIntegration(t *testing.T) {
	withoutTime := func(ctx context.Context, inner tx, leaves []*trillian.LogLeaf, _ time.Time) ([]*trillian.QueuedLogLeaf, error) {
		return inner.AddSequencedLeaves(ctx, leaves, time.Unix(0, 0))
	}
	for _, remedy := range []bool{false, true} {
		s := open(t, migrated(t, pgtest.New(t), "log"))
		h := hooked{}
		if !remedy {
			h.leaves = withoutTime
		}
		id := newTree(t, s)
		e := start(t, spoilt{s, func(inner tx) storage.LogTreeTX { h.tx = inner; return h }}, id)
		answered := mustAdd(t, e.Tree, leaf(1)).Entry
		stored, err := e.Entry(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		if same := stored.IntegratedAt.Equal(answered.IntegratedAt); same != remedy {
			t.Errorf("remedy %v: answered %v, reads back %v", remedy, answered.IntegratedAt, stored.IntegratedAt)
		}
		if raw := query(t, s, "SELECT IntegrateTimestampNanos FROM SequencedLeafData")[0][0]; raw != int64(0) {
			t.Errorf("the driver's own time is %v: the trap is gone, and so can be its remedy", raw)
		}
	}
}

// Trap 2: the driver reports a leaf that it did not store in the leaf's status, with
// a nil error. Two leaves meet one of another process, which is why the guard of
// roots alone does not see it.
func TestTrapConflictsInStatus(t *testing.T) {
	ignored := func(ctx context.Context, inner tx, leaves []*trillian.LogLeaf, at time.Time) ([]*trillian.QueuedLogLeaf, error) {
		queued, err := inner.AddSequencedLeaves(ctx, leaves, at)
		for _, q := range queued {
			q.Status.Code = int32(codes.OK)
		}
		return queued, err
	}
	for _, remedy := range []bool{false, true} {
		o := patient(migrated(t, pgtest.New(t), "log"))
		s := open(t, o)
		id := newTree(t, s)
		g := newGate()
		h := hooked{beforeLeaves: g.pass}
		if !remedy {
			h.leaves = ignored
		}
		metrics := prometheus.NewRegistry()
		stale := openTree(t, merkle.Config{
			Metrics: metrics, TreeID: id,
			Now:     func() time.Time { return time.Now().Add(3 * time.Second) }, // lest its root be too old
			Storage: spoilt{s, func(inner tx) storage.LogTreeTX { h := h; h.tx = inner; return h }},
		})
		answers := addBoth(t, stale, metrics)
		run(t, stale)
		<-g.reached
		mustAdd(t, start(t, open(t, o), id).Tree, leaf(3))
		close(g.open)
		for range 2 {
			if err := <-answers; (fault.KindOf(err) == fault.Unavailable) != remedy {
				t.Errorf("remedy %v: the stale batch was answered %v", remedy, err)
			}
		}
		_, err := merkle.CheckTree(t.Context(), s, id)
		if (err == nil) != remedy {
			t.Errorf("remedy %v: checking the tree: got %v", remedy, err)
		}
		if !remedy {
			continue
		}
		for i := range 2 { // the stale process heals by itself
			mustAdd(t, stale, leaf(1+i))
		}
		if size := whole(t, s, id).Size; size != 3 {
			t.Errorf("the tree has %d entries, want 3", size)
		}
	}
}

// addBoth queues two leaves that nothing runs for yet.
func addBoth(t *testing.T, tree *merkle.Tree, metrics *prometheus.Registry) <-chan error {
	t.Helper()
	answers := make(chan error, 2)
	for i := range 2 {
		go func() {
			_, err := tree.Add(context.WithoutCancel(t.Context()), leaf(1+i))
			answers <- err
		}()
	}
	eventually(t, "both are queued", func() bool { return gauge(t, metrics, "sigstack_merkle_queue_depth") == 2 })
	return answers
}

func gauge(t *testing.T, metrics *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ticker := time.NewTicker(2 * time.Millisecond)
	defer ticker.Stop()
	for !is() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// Trap 3: the newest root is the one with the latest time, and a transaction does
// not see what is committed behind its back. So a stale process that only refreshes
// the root, with a clock that is ahead, takes entries back.
func TestTrapStaleRefreshOfTheRoot(t *testing.T) {
	for _, remedy := range []bool{false, true} {
		db := pgtest.New(t)
		o := patient(migrated(t, db, "log"))
		if !remedy {
			db.Exec(t, "DROP TRIGGER guard_head ON log.TreeHead")
		}
		s := open(t, o)
		id := newTree(t, s)
		g := newGate()
		ahead := openTree(t, merkle.Config{
			TreeID: id, RefreshEvery: time.Millisecond,
			Now: func() time.Time { return time.Now().Add(3 * time.Second) },
			Storage: spoilt{s, func(inner tx) storage.LogTreeTX {
				return hooked{tx: inner, beforeRoot: g.pass}
			}},
		})
		e := run(t, ahead)
		<-g.reached
		var p promised
		p.note(mustAdd(t, start(t, open(t, o), id).Tree, leaf(1)))
		close(g.open)
		eventually(t, "the stale process goes on", func() bool { return ahead.Head().Time.After(p.added[0].Proof.Time) })
		if err := e.stop(); err != nil && remedy {
			t.Errorf("run: %v", err)
		}
		head, err := newestRoot(t, s, id)
		if err != nil {
			t.Fatal(err)
		}
		if (head == 1) != remedy {
			t.Errorf("remedy %v: one entry was acknowledged, the newest root is over %d", remedy, head)
		}
		if remedy {
			p.check(t, s, id)
		}
	}
}

func newestRoot(t *testing.T, s *pglog.Store, id int64) (size int64, err error) {
	t.Helper()
	err = s.Readers().QueryRow(t.Context(), "SELECT TreeSize FROM TreeHead WHERE TreeId = $1 ORDER BY TreeHeadTimestamp DESC LIMIT 1", id).Scan(&size)
	return size, err
}

// tableLocks is how Trillian's own procedures take turns.
const tableLocks = `CREATE OR REPLACE FUNCTION %.lock_tree(tree bigint) RETURNS void LANGUAGE plpgsql AS
	$$ BEGIN LOCK TABLE %.LeafData, %.SequencedLeafData IN SHARE ROW EXCLUSIVE MODE; END; $$`

// Trap 4: Trillian's procedures lock tables, so that a log that is slow is in the
// way of all others that share them. A schema for each log is in nobody's way, nor
// is a lock for each tree.
func TestTrapLockedTables(t *testing.T) {
	for _, tt := range []struct {
		name          string
		second        string // schema of the other log
		tableLocks    bool
		standInTheWay bool
	}{
		{"one schema", "one", true, true},
		{"schemas of their own", "two", true, false},
		{"locks of their own", "one", false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			db := pgtest.New(t)
			o := patient(migrated(t, db, "one"))
			other := patient(migrated(t, db, tt.second))
			other.LockTimeout = 200 * time.Millisecond
			for _, schema := range []string{"one", tt.second} {
				if tt.tableLocks {
					db.Exec(t, strings.ReplaceAll(tableLocks, "%", schema))
				}
			}
			s := open(t, o)
			g := newGate()
			slow := start(t, spoilt{s, func(inner tx) storage.LogTreeTX {
				return hooked{tx: inner, beforeRoot: g.pass}
			}}, newTree(t, s))
			go slow.Add(context.WithoutCancel(t.Context()), leaf(1)) //nolint:errcheck // it hangs until the end
			<-g.reached
			defer close(g.open)
			second := open(t, other)
			id, err := merkle.CreateTree(t.Context(), second, "other")
			if err == nil {
				_, err = start(t, second, id).Add(t.Context(), leaf(2))
			}
			if (err != nil) != tt.standInTheWay {
				t.Errorf("the other log answered %v, want it hindered: %v", err, tt.standInTheWay)
			}
		})
	}
}
