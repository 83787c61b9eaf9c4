package pgtest_test

import (
	"os"
	"testing"

	"sigstack/internal/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func TestDatabasesAreApartAndSynced(t *testing.T) {
	one, two := pgtest.New(t), pgtest.New(t)
	one.Exec(t, "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (7)")
	if got := pgtest.Value[int](t, one, "SELECT n FROM kept"); got != 7 {
		t.Errorf("got %d, want 7", got)
	}
	if pgtest.Value[bool](t, two, "SELECT EXISTS (SELECT FROM pg_tables WHERE tablename = 'kept')") {
		t.Error("the second database has the table of the first")
	}
	if got := pgtest.Value[string](t, one, "SHOW fsync"); got != "on" {
		t.Errorf("fsync is %q, want on", got)
	}
}

func TestACopyGoesItsOwnWay(t *testing.T) {
	first := pgtest.New(t)
	first.Exec(t, "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (7)")
	second := first.Copy(t)
	second.Exec(t, "UPDATE kept SET n = n + 1")
	first.Copy(t)
	for db, want := range map[*pgtest.Database]int{first: 7, second: 8} {
		if got := pgtest.Value[int](t, db, "SELECT n FROM kept"); got != want {
			t.Errorf("got %d, want %d", got, want)
		}
	}
}

func TestAServerOfOnesOwnSurvivesBeingKilled(t *testing.T) {
	server, db := pgtest.Start(t)
	db.Exec(t, "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (7)")
	for name, end := range map[string]func() error{"kill": server.Kill, "stop": server.Stop} {
		if err := end(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := server.Start(); err != nil {
			t.Fatalf("start after %s: %v", name, err)
		}
		if got := pgtest.Value[int](t, db, "SELECT n FROM kept"); got != 7 {
			t.Errorf("after %s: got %d, want 7", name, got)
		}
	}
	if err := server.Start(); err == nil {
		t.Error("a running server was started again")
	}
}
