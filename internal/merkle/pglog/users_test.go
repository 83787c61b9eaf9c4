package pglog_test

import (
	"testing"

	"sigstack/internal/merkle/pglog"
	"sigstack/internal/pgtest"
)

func TestUsersAreCounted(t *testing.T) {
	o := migrated(t, pgtest.New(t), "log")
	other := o
	other.Schema = "log2"
	if _, err := pglog.Migrate(t.Context(), o.URL, other.Schema); err != nil {
		t.Fatal(err)
	}
	newTree(t, open(t, other))
	if n, err := pglog.Users(t.Context(), o.URL, o.Schema); err != nil || n != 0 {
		t.Errorf("got %d, %v, want nobody", n, err)
	}
	s := open(t, o)
	newTree(t, s)
	if n, err := pglog.Users(t.Context(), o.URL, o.Schema); err != nil || n == 0 {
		t.Errorf("got %d, %v, want the store's connections", n, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n, err := pglog.Users(t.Context(), o.URL, o.Schema); err != nil || n != 0 {
		t.Errorf("after it was closed: got %d, %v, want nobody", n, err)
	}
}
