package fleet_test

import (
	"errors"
	"testing"

	"sigstack/internal/fleet"
	"sigstack/internal/pgtest"
)

// TestAnchorsOnlyGrow, and every replica reads them.
func TestAnchorsOnlyGrow(t *testing.T) {
	_, db := pgtest.Start(t)
	url := migrated(t, db)
	a := start(t, url, "a", founded(t, url), 0)
	b := start(t, url, "b", joined(t, url, "b"), 0)
	chain := [32]byte{1}
	for _, tt := range []struct {
		name string
		seq  uint64
		hash byte
		back bool
	}{
		{"first", 5, 5, false},
		{"again", 5, 5, false},
		{"further", 9, 9, false},
		{"earlier", 5, 5, true},
		{"another one", 9, 8, true},
	} {
		err := a.PutAnchor(t.Context(), fleet.Anchor{Chain: chain, Seq: tt.seq, Hash: [32]byte{tt.hash}, Signature: "s"})
		if errors.Is(err, fleet.ErrAnchorBack) != tt.back || !tt.back && err != nil {
			t.Errorf("%s: got %v, want refused %v", tt.name, err, tt.back)
		}
	}
	if err := a.Doubt(t.Context(), chain, "cut"); err != nil {
		t.Fatal(err)
	}
	if err := b.PutAnchor(t.Context(), fleet.Anchor{Chain: [32]byte{2}, Seq: 1, Signature: "t"}); err != nil {
		t.Fatal(err)
	}
	got, err := b.Anchors(t.Context())
	if err != nil || len(got) != 2 {
		t.Fatalf("got %+v, %v; want two", got, err)
	}
	if n := got[0]; n.Replica != "b" || n.Chain != [32]byte{2} || n.Doubt != "" {
		t.Errorf("the newest is %+v, want b's", n)
	}
	if n := got[1]; n.Replica != "a" || n.Seq != 9 || n.Hash != [32]byte{9} || n.Signature != "s" || n.Doubt != "cut" {
		t.Errorf("the other is %+v, want a's record 9", n)
	}
	if err := b.Doubt(t.Context(), chain, ""); err != nil {
		t.Fatal(err)
	}
	list, err := fleet.ListAnchors(t.Context(), config(t, url, "c", t.TempDir(), 0))
	if err != nil || len(list) != 2 || list[1].Doubt != "" {
		t.Errorf("listed %+v, %v; want two without doubt", list, err)
	}
	for range 2 {
		if err := a.PutStatements(t.Context(), []byte("one"), []byte("two"), []byte("one")); err != nil {
			t.Fatal(err)
		}
	}
	statements, err := fleet.ListStatements(t.Context(), config(t, url, "c", t.TempDir(), 0))
	if err != nil || len(statements) != 2 {
		t.Errorf("statements: got %q, %v; want two", statements, err)
	}
	for _, statement := range []string{"UPDATE Anchors SET Seq = 3", "DELETE FROM Anchors"} {
		if err := a.Exec(t.Context(), statement); err == nil {
			t.Errorf("%s: done", statement)
		}
	}
}
