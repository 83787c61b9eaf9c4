package fleet_test

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5"

	"sigstack/internal/fleet"
	"sigstack/internal/pgdb"
	"sigstack/internal/pgtest"
)

// upTo are the migrations of a program that knew the first n.
func upTo(t *testing.T, n int) fstest.MapFS {
	t.Helper()
	all, err := fleet.Migrations()
	if err != nil {
		t.Fatal(err)
	}
	names, err := fs.Glob(all, "*.sql")
	if err != nil || len(names) < n {
		t.Fatalf("%d migrations, %v, want %d or more", len(names), err, n)
	}
	slices.Sort(names)
	out := fstest.MapFS{}
	for _, name := range names[:n] {
		data, err := fs.ReadFile(all, name)
		if err != nil {
			t.Fatal(err)
		}
		out[path.Base(name)] = &fstest.MapFile{Data: data}
	}
	return out
}

// What a schema of a version holds, in SQL that a program of that version could have
// sent, and how to find it again.
var held = []struct {
	since           int
	statement, find string
}{
	{1, `INSERT INTO Fleets VALUES ('', 1, 7, 'a')`, `SELECT count(*) FROM Fleets WHERE Revision = 1 AND Term = 7 AND Leader = 'a'`},
	{1, `INSERT INTO Replicas VALUES ('', 'a', '127.0.0.1:1', decode(rpad('61', 64, '0'), 'hex'), 1)`, `SELECT count(*) FROM Replicas WHERE Name = 'a' AND Applied = 1`},
	{1, `INSERT INTO Files VALUES ('', 'config.yaml', 'one', 384, 1)`, `SELECT count(*) FROM Files WHERE Path = 'config.yaml' AND Content = 'one'`},
	{2, `SELECT take_attempt('', ARRAY[sha256('ann')], ARRAY[3600.0::float8], ARRAY[5], sha256('home'))`, `SELECT count(*) FROM Attempts WHERE Key = sha256('ann') AND FullAt > clock_timestamp()`},
	{2, `INSERT INTO Homes VALUES ('', sha256('home'), clock_timestamp() + interval '1 day')`, `SELECT count(*) FROM Homes`},
	{2, `INSERT INTO Anchors VALUES ('', sha256('chain'), 'a', 9, sha256('nine'), 'signature')`, `SELECT count(*) FROM Anchors WHERE Seq = 9`},
	{2, `INSERT INTO Statements VALUES ('', sha256('statement'), 'statement')`, `SELECT count(*) FROM Statements WHERE Statement = 'statement'`},
}

// TestMigrateFromEachVersion: a schema that an older program made and used comes to this
// version, by way of each version or at once, with what it holds, and replicas work with
// it.
func TestMigrateFromEachVersion(t *testing.T) {
	const newest = 3
	for _, by := range [][]int{{1, 2, newest}, {1, newest}, {2, newest}} {
		t.Run(fmt.Sprint(by), func(t *testing.T) {
			db := pgtest.New(t)
			var had []string
			for _, version := range by[:len(by)-1] {
				if _, err := pgdb.Migrate(t.Context(), db.URL, schema, upTo(t, version)); err != nil {
					t.Fatal(err)
				}
				had = fill(t, db.URL, version, had)
			}
			last := by[len(by)-2]
			if _, err := fleet.Open(t.Context(), config(t, db.URL, "a", t.TempDir(), 0)); err == nil {
				t.Error("a schema that is older is opened")
			}
			if got, err := fleet.Migrate(t.Context(), db.URL, schema); err != nil || got != (pgdb.Version{Current: int64(last), Target: newest}) {
				t.Fatalf("migrate: %+v, %v, want from %d to %d", got, err, last, newest)
			}
			wantHeld(t, db.URL, had)
			a := start(t, db.URL, "a", t.TempDir(), 0)
			a.within(t, patient, "a leads", leads)
			if got := read(t, a.dir, "config.yaml"); got != "one" {
				t.Errorf("config.yaml of a is %q", got)
			}
			s := a.Issuances(ignore)
			for i, want := range []int{0, 1} {
				if got := mustTake(t, s, slow("ann", 1), nil); got != want {
					t.Errorf("certificate %d: short of %d, want %d", i+1, got, want)
				}
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// fill puts into a schema what a version of it can hold, and returns how to find that
// besides what it had.
func fill(t *testing.T, url string, version int, had []string) []string {
	t.Helper()
	conn := connect(t, url)
	for _, h := range held {
		if h.since > version || slices.Contains(had, h.find) {
			continue
		}
		if _, err := conn.Exec(t.Context(), h.statement); err != nil {
			t.Fatalf("%s: %v", h.statement, err)
		}
		had = append(had, h.find)
	}
	return had
}

func wantHeld(t *testing.T, url string, had []string) {
	t.Helper()
	conn := connect(t, url)
	for _, find := range had {
		var n int
		if err := conn.QueryRow(t.Context(), find).Scan(&n); err != nil || n != 1 {
			t.Errorf("%s: %d, %v, want 1", find, n, err)
		}
	}
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conf, err := pgdb.Config(url, schema)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.ConnectConfig(t.Context(), conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}
