// Package pgtest gives tests a real PostgreSQL: one server per test binary, a
// fresh database per test, and servers of a test's own to break. It needs
// PostgreSQL's programs, version 14 or later, and is for tests only.
package pgtest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// shared is the server of this test binary, started by the first test that asks.
type shared struct {
	start func() (*Server, error)
	used  atomic.Bool
	count atomic.Int64 // databases and copies made so far
}

// common starts the one server once, like the process that it belongs to.
var common = &shared{start: sync.OnceValues(func() (*Server, error) { return launch(memory()) })}

// Main runs the tests and ends the server that they shared; a TestMain passes
// what it returns to os.Exit.
func Main(m *testing.M) int {
	code := m.Run()
	if !common.used.Load() {
		return code
	}
	s, err := common.start()
	if err != nil {
		return max(code, 1) // some test has said why
	}
	if err := s.end(); err != nil {
		fmt.Fprintln(os.Stderr, "pgtest:", err) // there is no test left to say it
		return max(code, 1)
	}
	return code
}

// New makes a database on the server that the tests of this binary share. It goes with
// the server: to drop it alone would cost a checkpoint. Their TestMain must call Main.
// A benchmark has a server of its own, on a real disk.
func New(t testing.TB) *Database {
	t.Helper()
	if _, bench := t.(*testing.B); bench {
		_, db := Start(t)
		return db
	}
	common.used.Store(true)
	s, err := common.start()
	if err != nil {
		t.Fatal(err)
	}
	return s.database(t, fmt.Sprintf("test%d", common.count.Add(1)))
}

// Start starts a server that the test may stop, kill and start again, with one
// database. It is on a real disk and ends with the test.
func Start(t testing.TB) (*Server, *Database) {
	t.Helper()
	s, err := launch("")
	return s, own(t, s, err)
}

// StartIn is Start with all of the server in a folder, which its user can enter.
func StartIn(t testing.TB, dir string) (*Server, *Database) {
	t.Helper()
	s, err := launch(dir)
	return s, own(t, s, err)
}

// StartListening starts a server that also takes TCP connections at port 5432 of every
// address, from anybody without a password, with one database: call it only in a network
// namespace of the test's own. It ends with the test.
func StartListening(t testing.TB) *Database {
	t.Helper()
	s, err := launch(memory(), "listen_addresses=0.0.0.0")
	return own(t, s, err)
}

// own makes the database of a server that was just launched and ends with the test.
func own(t testing.TB, s *Server, err error) *Database {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.end(); err != nil {
			t.Errorf("end PostgreSQL: %v", err)
		}
	})
	return s.database(t, "test")
}

// Database is one database of a server.
type Database struct {
	// URL connects to it as its owner.
	URL string

	server *Server
	name   string
}

// At is the URL by a network address of a server that StartListening started.
func (d *Database) At(address string) string {
	return fmt.Sprintf("host=%s port=5432 user=postgres dbname=%s sslmode=disable", address, d.name)
}

func (s *Server) database(t testing.TB, name string) *Database {
	t.Helper()
	d := &Database{URL: s.url(name), server: s, name: name}
	if err := s.command("CREATE DATABASE " + name); err != nil {
		t.Fatal(err)
	}
	return d
}

// Copy makes another database with all that this one has, on the same server. It ends
// this one's connections.
func (d *Database) Copy(t testing.TB) *Database {
	t.Helper()
	d.Disconnect(t)
	name := fmt.Sprintf("%s_copy%d", d.name, common.count.Add(1))
	if err := d.server.command("CREATE DATABASE " + name + " TEMPLATE " + d.name); err != nil {
		t.Fatal(err)
	}
	return &Database{URL: d.server.url(name), server: d.server, name: name}
}

// KeepIn has tables that are made from now on in a folder of their own in dir, which the
// server's user can enter; all else of the server stays where it is.
func (d *Database) KeepIn(t testing.TB, dir string) {
	t.Helper()
	tables := filepath.Join(dir, "tables")
	err := os.Mkdir(tables, 0o700)
	if as := d.server.as; err == nil && as != nil {
		err = os.Chown(tables, int(as.Uid), int(as.Gid))
	}
	if err != nil {
		t.Fatal(err)
	}
	d.Exec(t, "CREATE TABLESPACE apart LOCATION '"+tables+"'")
	d.Exec(t, "ALTER DATABASE "+d.name+" SET default_tablespace = apart")
}

// Exec runs SQL of any number of statements, as the database's owner.
func (d *Database) Exec(t testing.TB, sql ...string) {
	t.Helper()
	if err := execute(d.URL, strings.Join(sql, ";\n")); err != nil {
		t.Fatal(err)
	}
}

// Value returns what a query of one row and one column does.
func Value[T any](t testing.TB, d *Database, sql string, args ...any) (value T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, d.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx) //nolint:errcheck // nothing was written
	if err := conn.QueryRow(ctx, sql, args...).Scan(&value); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return value
}

// Disconnect ends every connection to the database, as a network that is cut.
func (d *Database) Disconnect(t testing.TB) {
	t.Helper()
	if err := d.server.command("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '" + d.name + "'"); err != nil {
		t.Fatal(err)
	}
}

func (s *Server) command(sql string) error { return execute(s.url("postgres"), sql) }

// patience bounds each thing that a server does for a test.
const patience = 30 * time.Second

func execute(url, sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	defer conn.Close(ctx) //nolint:errcheck // what was written is committed
	if _, err := conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	return nil
}
