package main

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"

	"sigstack/internal/pgtest"
)

// postgres FILE starts a PostgreSQL with an empty database, whose URL FILE gets. It
// ends with the test.
func postgres(t *testing.T) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 1 {
			ts.Fatalf("usage: postgres file")
		}
		_, db := pgtest.Start(t)
		ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(db.URL+"\n"), 0o600))
	}
}

// sql FILE STATEMENT carries out a statement in the database whose URL FILE has.
func sql(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: sql file statement")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, ts.ReadFile(args[0]))
	ts.Check(err)
	_, err = conn.Exec(ctx, args[1])
	ts.Check(err)
	ts.Check(conn.Close(ctx))
}
