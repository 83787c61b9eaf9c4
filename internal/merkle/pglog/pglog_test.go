package pglog_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/trillian/integration/storagetest"
	"github.com/google/trillian/storage"
	"github.com/google/trillian/storage/testonly"

	"sigstack/internal/merkle"
	"sigstack/internal/merkle/pglog"
	"sigstack/internal/pgdb"
	"sigstack/internal/pgtest"
)

var _ merkle.Storage = (*pglog.Store)(nil)

func TestMain(m *testing.M) {
	if text := os.Getenv(replicaVariable); text != "" {
		os.Exit(beReplica(text))
	}
	merkle.RouteKlog(slog.New(slog.DiscardHandler)) // refusals are what is tested
	os.Exit(pgtest.Main(m))
}

// migrated returns options for a new schema of this program's version.
func migrated(t testing.TB, db *pgtest.Database, schema string) pglog.Options {
	t.Helper()
	if _, err := pglog.Migrate(t.Context(), db.URL, schema); err != nil {
		t.Fatal(err)
	}
	return pglog.Options{URL: db.URL, Schema: schema, Now: time.Now}
}

func open(t testing.TB, o pglog.Options) *pglog.Store {
	t.Helper()
	s, err := pglog.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func TestTrillianLogStorageSuite(t *testing.T) {
	db := pgtest.New(t)
	var n atomic.Int64
	storagetest.RunLogStorageTests(t, func(_ context.Context, t *testing.T) (storage.LogStorage, storage.AdminStorage) {
		s := open(t, migrated(t, db, fmt.Sprintf("log%d", n.Add(1))))
		return s, s.Admin()
	})
}

func TestTrillianAdminStorageSuite(t *testing.T) {
	db := pgtest.New(t)
	var n atomic.Int64
	tester := &testonly.AdminStorageTester{NewAdminStorage: func() storage.AdminStorage {
		return open(t, migrated(t, db, fmt.Sprintf("log%d", n.Add(1)))).Admin()
	}}
	tester.RunAllTests(t)
}

func TestOpenRefusesSchemasOfOtherVersions(t *testing.T) {
	db := pgtest.New(t)
	for _, tt := range []struct{ name, schema, sql, want string }{
		{"none", "missing", "", "version 0, this program needs 2: migrate it first"},
		{"older", "older", "DELETE FROM older.goose_db_version WHERE version_id = 2", "version 1, this program needs 2"},
		{"newer", "newer", "INSERT INTO newer.goose_db_version (version_id, is_applied) VALUES (3, true)", "version 3, this program knows 2"},
		{"no name", "No-Name", "", "want lower-case letters"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.sql != "" {
				migrated(t, db, tt.schema)
				db.Exec(t, tt.sql)
			}
			s, err := pglog.Open(t.Context(), pglog.Options{URL: db.URL, Schema: tt.schema, Now: time.Now})
			if err == nil {
				t.Fatalf("opened %v", s)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %q, want %q in it", err, tt.want)
			}
		})
	}
}

func TestMigrateTakesTurnsAndIsRepeatable(t *testing.T) {
	db := pgtest.New(t)
	type result struct {
		v   pgdb.Version
		err error
	}
	const processes = 4
	results := make(chan result, processes)
	for range processes {
		go func() {
			v, err := pglog.Migrate(context.Background(), db.URL, "shared")
			results <- result{v, err}
		}()
	}
	empty := 0
	for range processes {
		r := <-results
		if r.err != nil {
			t.Error(r.err)
		}
		if r.v.Current == 0 {
			empty++
		}
	}
	if empty != 1 {
		t.Errorf("%d processes found the schema empty, want 1", empty)
	}
	v, err := pglog.ReadVersion(t.Context(), db.URL, "shared")
	if err != nil || v.Current != v.Target || v.Target == 0 {
		t.Errorf("got version %+v and error %v, want the target's", v, err)
	}
	db.Exec(t, "INSERT INTO shared.goose_db_version (version_id, is_applied) VALUES (99, true)")
	if _, err := pglog.Migrate(t.Context(), db.URL, "shared"); err == nil || !strings.Contains(err.Error(), "newer") {
		t.Errorf("migrating a newer schema: got %v, want it refused", err)
	}
}

func TestReadVersionMakesNothing(t *testing.T) {
	db := pgtest.New(t)
	if v, err := pglog.ReadVersion(t.Context(), db.URL, "absent"); err != nil || v.Current != 0 {
		t.Errorf("got %+v, %v, want version 0", v, err)
	}
	if pgtest.Value[bool](t, db, "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'absent')") {
		t.Error("asking for the version made the schema")
	}
}

func TestMigrationsAreNumberedFromOne(t *testing.T) {
	names, err := pglog.MigrationFiles()
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range names {
		if want := fmt.Sprintf("%05d_", i+1); !strings.HasPrefix(name, want) {
			t.Errorf("got %s, want %s…", name, want)
		}
	}
}

// TestMigrationsGoBack holds each migration's way down to what it made.
func TestMigrationsGoBack(t *testing.T) {
	db := pgtest.New(t)
	migrated(t, db, "log")
	if err := pglog.Unmigrate(t.Context(), db.URL, "log"); err != nil {
		t.Fatal(err)
	}
	const left = "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'log' AND c.relname NOT LIKE 'goose%'"
	if n := pgtest.Value[int](t, db, left); n != 0 {
		t.Errorf("%d tables and indexes are left", n)
	}
	migrated(t, db, "log")
}

// TestTreesAreOnTheLogsClock: the machine's is another, and years ahead.
func TestTreesAreOnTheLogsClock(t *testing.T) {
	o := migrated(t, pgtest.New(t), "log")
	now := time.Date(2021, 3, 1, 12, 0, 0, 123456789, time.UTC)
	o.Now = func() time.Time { return now }
	s := open(t, o)
	id := newTree(t, s)
	e := run(t, openTree(t, merkle.Config{Storage: s, TreeID: id, Now: func() time.Time { return now.Add(time.Second) }}))
	if at := mustAdd(t, e.Tree, leaf(1)).Entry.IntegratedAt; !at.Equal(now.Add(time.Second)) {
		t.Errorf("integrated at %v, want %v", at, now.Add(time.Second))
	}
	if err := storage.HardDeleteTree(t.Context(), s.Admin(), id); err == nil {
		t.Error("a tree that is not deleted was deleted for good")
	}
	tree, err := storage.SoftDeleteTree(t.Context(), s.Admin(), id)
	if err != nil {
		t.Fatal(err)
	}
	for name, at := range map[string]time.Time{"created": tree.CreateTime.AsTime(), "deleted": tree.DeleteTime.AsTime()} {
		if !at.Equal(now.Truncate(time.Millisecond)) {
			t.Errorf("%s at %v, want %v", name, at, now)
		}
	}
	if err := storage.HardDeleteTree(t.Context(), s.Admin(), id); err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"Trees", "TreeHead", "LeafData", "SequencedLeafData", "Subtree", "TreeControl"} {
		if n := query(t, s, "SELECT count(*) FROM "+table)[0][0]; n != int64(0) {
			t.Errorf("%v rows of %s are left of a tree that is gone", n, table)
		}
	}
}
