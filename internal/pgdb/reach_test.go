package pgdb_test

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"sigstack/internal/pgdb"
	"sigstack/internal/pgtest"
)

// TestReachGivesUp on a server that takes connections and says nothing, however many
// addresses there are, and on one that is not there.
func TestReachGivesUp(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close() //nolint:errcheck // nothing was accepted
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	port := func(l net.Listener) string { _, p, _ := net.SplitHostPort(l.Addr().String()); return p }
	for name, url := range map[string]string{
		"silent": "postgres://u:correct-horse@127.0.0.1:" + port(silent) + "/db",
		"closed": "postgres://u:correct-horse@127.0.0.1:" + port(closed) + "/db",
		"many": "host=127.0.0.1,127.0.0.1,127.0.0.1,127.0.0.1 port=" + strings.Repeat(port(silent)+",", 3) + port(silent) +
			" user=u password=correct-horse dbname=db connect_timeout=60",
	} {
		began := time.Now()
		_, err := pgdb.Reach(t.Context(), url, "some")
		if away := (*pgdb.AwayError)(nil); !errors.As(err, &away) || !pgdb.Away(err) || strings.Contains(err.Error(), "correct-horse") {
			t.Errorf("%s: got %v", name, err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%s: it took %v", name, took)
		}
	}
}

// TestReachTellsWhatIsRefused from a server that is away.
func TestReachTellsWhatIsRefused(t *testing.T) {
	db := pgtest.New(t)
	if version, err := pgdb.Reach(t.Context(), db.URL, "some", "other"); err != nil || version == "" {
		t.Fatalf("got %q, %v", version, err)
	}
	for _, statement := range []string{"DROP ROLE IF EXISTS poor", "CREATE ROLE poor LOGIN", "CREATE SCHEMA given AUTHORIZATION poor", "CREATE SCHEMA theirs"} {
		db.Exec(t, statement)
	}
	poor := strings.Replace(db.URL, "user=postgres", "user=poor", 1)
	if _, err := pgdb.Reach(t.Context(), poor, "given"); err != nil {
		t.Errorf("a schema that was given: %v", err)
	}
	for _, tt := range []struct{ url, schema, want string }{
		{poor, "missing", "CREATE SCHEMA missing AUTHORIZATION poor"},
		{poor, "theirs", "may not make schema theirs, or not use it"},
		{strings.Replace(db.URL, "dbname=", "dbname=no", 1), "some", "does not exist"},
	} {
		if _, err := pgdb.Reach(t.Context(), tt.url, tt.schema); err == nil || pgdb.Away(err) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.schema, err, tt.want)
		}
	}
	if there, err := pgdb.Existing(t.Context(), db.URL, "none", "given"); err != nil || len(there) != 1 || there[0] != "given" {
		t.Errorf("existing: got %v, %v", there, err)
	}
}
