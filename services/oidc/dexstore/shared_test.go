package dexstore

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dexidp/dex/storage"
	"github.com/dexidp/dex/storage/conformance"

	"sigstack/internal/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

const testSchema = "test_dex"

func openShared(t *testing.T, db *pgtest.Database, opts Options) *Store {
	t.Helper()
	if opts.Secret == nil {
		opts.Secret = testSecret
	}
	if _, err := Migrate(t.Context(), db.URL, testSchema); err != nil {
		t.Fatal(err)
	}
	s, err := OpenShared(t.Context(), Database{URL: db.URL, Schema: testSchema, Connections: 4}, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func TestSharedConformance(t *testing.T) {
	conformance.RunTests(t, func(t *testing.T) storage.Storage {
		return openShared(t, pgtest.New(t), Options{})
	})
}

func TestSharedConcurrency(t *testing.T) {
	conformance.RunConcurrencyTests(t, func(t *testing.T) storage.Storage {
		return openShared(t, pgtest.New(t), Options{})
	})
}

func TestSharedTransactions(t *testing.T) {
	conformance.RunTransactionTests(t, func(t *testing.T) storage.Storage {
		return openShared(t, pgtest.New(t), Options{Turn: 500 * time.Millisecond})
	})
}

// Updaters of two processes take turns on a row: none runs beside another, and none
// of what they do is lost.
func TestSharedUpdatesTakeTurns(t *testing.T) {
	db := pgtest.New(t)
	stores := []*Store{openShared(t, db, Options{}), openShared(t, db, Options{})}
	if err := stores[0].CreateRefresh(t.Context(), refresh("r")); err != nil {
		t.Fatal(err)
	}
	var inside atomic.Int32
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			err := stores[i%2].UpdateRefreshToken(t.Context(), "r", func(old storage.RefreshToken) (storage.RefreshToken, error) {
				if n := inside.Add(1); n != 1 {
					t.Errorf("%d updaters at once", n)
				}
				defer inside.Add(-1)
				old.Token += "."
				return old, nil
			})
			if err != nil {
				t.Errorf("update: %v", err)
			}
		})
	}
	wg.Wait()
	if got, err := stores[0].GetRefresh(t.Context(), "r"); err != nil || got.Token != "t"+strings.Repeat(".", 20) {
		t.Errorf("token = %q, %v; want 20 dots", got.Token, err)
	}
}

func TestSharedRowsAreEncrypted(t *testing.T) {
	db := pgtest.New(t)
	s := openShared(t, db, Options{})
	row := refresh("id")
	row.Token = "content-of-the-row"
	if err := s.CreateRefresh(t.Context(), row); err != nil {
		t.Fatal(err)
	}
	box := pgtest.Value[[]byte](t, db, "SELECT Box FROM "+testSchema+".Issuer")
	if bytes.Contains(box, []byte(row.Token)) {
		t.Error("the database has the row's content")
	}
	other := openShared(t, db, Options{Secret: bytes.Repeat([]byte{8}, 32)})
	if _, err := other.GetRefresh(t.Context(), "id"); err == nil || !strings.Contains(err.Error(), "another secret") {
		t.Errorf("read under another secret: %v", err)
	}
	db.Exec(t, "UPDATE "+testSchema+".Issuer SET Key = 'refresh-token/moved'")
	if _, err := s.GetRefresh(t.Context(), "moved"); err == nil || errors.Is(err, storage.ErrNotFound) {
		t.Errorf("a row under another's key: %v", err)
	}
}

func TestSharedNeedsItsVersion(t *testing.T) {
	db := pgtest.New(t)
	_, err := OpenShared(t.Context(), Database{URL: db.URL, Schema: testSchema}, Options{Secret: testSecret})
	if err == nil || !strings.Contains(err.Error(), "migrate it first") {
		t.Errorf("open of a schema that is not there: %v", err)
	}
}

// A database that goes away is an error, and back again is work as before.
func TestSharedHeals(t *testing.T) {
	server, db := pgtest.Start(t)
	s := openShared(t, db, Options{})
	if err := s.CreateRefresh(t.Context(), refresh("r")); err != nil {
		t.Fatal(err)
	}
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := s.Check(t.Context()); err == nil {
		t.Error("Check without a database succeeded")
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Errorf("Check once the database is back: %v", err)
	}
	if _, err := s.GetRefresh(t.Context(), "r"); err != nil {
		t.Errorf("what was stored before: %v", err)
	}
}
