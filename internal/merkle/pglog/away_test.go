package pglog_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"sigstack/internal/fault"
	"sigstack/internal/merkle/pglog"
	"sigstack/internal/pgtest"
)

func TestIsAway(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{&pgconn.PgError{Code: "57P01"}, true},
		{fmt.Errorf("read: %w", &pgconn.PgError{Code: "08006"}), true},
		{&pgconn.PgError{Code: "53300"}, true},
		{&pgconn.PgError{Code: "23505"}, false},
		{&pgconn.PgError{Code: "SG001"}, false},
		{&net.OpError{Op: "read", Err: errors.New("reset")}, true},
		{io.ErrUnexpectedEOF, true},
		{context.DeadlineExceeded, true},
		{pgconn.ErrConnClosed, true},
		{errors.New("no such tree"), false},
	} {
		if got := pglog.IsAway(tt.err); got != tt.want {
			t.Errorf("%v: got %v, want %v", tt.err, got, tt.want)
		}
	}
}

// TestReadsWithoutTheDatabaseAreUnavailable has a server that is stopped.
func TestReadsWithoutTheDatabaseAreUnavailable(t *testing.T) {
	server, db := pgtest.Start(t)
	s := open(t, migrated(t, db, "log"))
	e := start(t, s, newTree(t, s))
	mustAdd(t, e.Tree, leaf(1))
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	for range 12 { // more than there are connections: broken ones, then none
		if _, err := e.Entry(t.Context(), 0); fault.KindOf(err) != fault.Unavailable {
			t.Fatalf("read: got %v (kind %v), want it unavailable", err, fault.KindOf(err))
		}
	}
	if _, err := e.Add(t.Context(), leaf(2)); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("add: got %v, want it unavailable", err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Entry(t.Context(), 0); err != nil {
		t.Errorf("read after the start: %v", err)
	}
}
