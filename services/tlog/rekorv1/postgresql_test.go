package rekorv1_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sigstack/internal/keys"
	"sigstack/internal/merkle"
	"sigstack/internal/merkle/pglog"
	"sigstack/internal/pgtest"
	"sigstack/services/tlog"
	"sigstack/services/tlog/tlogtest"
)

// storageVariable, set to "postgresql", has every test of the API that does not break
// its disk run on PostgreSQL.
const storageVariable = "REKORV1_TEST_STORAGE"

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func treeInPostgreSQL(tb testing.TB) *merkle.Tree {
	tb.Helper()
	store := storeInPostgreSQL(tb, migratedPostgreSQL(tb))
	return startedIn(tb, store, newTreeIn(tb, store))
}

func migratedPostgreSQL(tb testing.TB) pglog.Options {
	tb.Helper()
	o := pglog.Options{URL: pgtest.New(tb).URL, Schema: "rekor", Now: time.Now}
	if _, err := pglog.Migrate(tb.Context(), o.URL, o.Schema); err != nil {
		tb.Fatal(err)
	}
	return o
}

func storeInPostgreSQL(tb testing.TB, o pglog.Options) *pglog.Store {
	tb.Helper()
	store, err := pglog.Open(tb.Context(), o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := store.Close(); err != nil {
			tb.Errorf("close storage: %v", err)
		}
	})
	return store
}

func newTreeIn(tb testing.TB, store merkle.Storage) int64 {
	tb.Helper()
	id, err := merkle.CreateTree(tb.Context(), store, "rekor")
	if err != nil {
		tb.Fatal(err)
	}
	return id
}

func startedIn(tb testing.TB, store merkle.Storage, id int64) *merkle.Tree {
	tb.Helper()
	tree, err := merkle.Open(tb.Context(), merkle.Config{Storage: store, TreeID: id, Now: time.Now})
	if err != nil {
		tb.Fatal(err)
	}
	runTree(tb, tree)
	return tree
}

// TestPromisesOnPostgreSQL: two processes' worth of log on one database, which answer
// for one another, judged by all that they acknowledged.
func TestPromisesOnPostgreSQL(t *testing.T) {
	o := migratedPostgreSQL(t)
	key, err := keys.Ephemeral("rekor", keys.ECDSAP256, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	first := storeInPostgreSQL(t, o)
	id := newTreeIn(t, first)
	s := &site{ledger: tlogtest.NewLedger("log.example")}
	open := func(store *pglog.Store) *running {
		svc, err := tlog.New(tlog.Config{
			Shard: tlog.Shard{Tree: startedIn(t, store, id), Signer: key}, URL: "https://log.example:3000/base", Host: "log.example",
			Now: time.Now, Metrics: prometheus.NewRegistry(),
		})
		if err != nil {
			t.Fatal(err)
		}
		return &running{mux: newMux(t, svc)}
	}
	write := func(r *running, name string) {
		var wg sync.WaitGroup
		for w := range 4 {
			wg.Go(func() {
				signer := tlogtest.NewSigner(t)
				for i := range 5 {
					if err := s.post(t, r, signer, fmt.Sprint(name, w, i)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
	}
	write(open(first), "first")
	second := open(storeInPostgreSQL(t, o)) // which takes over
	write(second, "second")
	found, err := s.ledger.Check(t.Context(), second.ask, nil)
	if err != nil {
		t.Fatal(err)
	}
	if found.Entries != 40 {
		t.Errorf("%d entries were asked for, want 40", found.Entries)
	}
	digest := sha256.Sum256([]byte("none"))
	status, answer, err := second.ask(t.Context(), http.MethodPost, indexPath, tlogtest.JSON(t, tlogtest.Object{"hash": hex.EncodeToString(digest[:])}))
	if err != nil || status != http.StatusOK || string(answer) != "[]\n" {
		t.Errorf("search for nothing: %d %q %v, want an empty list", status, answer, err)
	}
}
