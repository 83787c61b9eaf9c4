package tlog_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"sigstack/internal/fault"
	"sigstack/internal/keys"
	"sigstack/internal/merkle"
	"sigstack/services/tlog"
	"sigstack/services/tlog/entry"
)

// frozenTree takes no entries.
type frozenTree struct{ tlog.Tree }

func (frozenTree) Add(context.Context, merkle.Leaf) (merkle.Added, error) {
	return merkle.Added{}, fault.Wrap(fault.Unavailable, merkle.ErrFrozen, "try again")
}

// TestSuccessionThatFails changes nothing.
func TestSuccessionThatFails(t *testing.T) {
	c := config(t)
	s := newService(t, c)
	if _, _, err := s.Add(t.Context(), []byte("one"), entry.Terms{}, nil); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("no disk")
	fine := func() error { return nil }
	next := tlog.Shard{Tree: startTree(t), Signer: key(t, keys.ECDSAP256)}
	for name, tt := range map[string]struct {
		next   tlog.Shard
		freeze func() error
		want   error
	}{
		"storage":       {next, func() error { return broken }, broken},
		"same tree":     {tlog.Shard{Tree: c.Tree, Signer: next.Signer}, fine, nil},
		"same key":      {tlog.Shard{Tree: next.Tree, Signer: c.Signer}, fine, nil},
		"other key":     {tlog.Shard{Tree: next.Tree, Signer: key(t, keys.ECDSAP384)}, fine, nil},
		"no tree":       {tlog.Shard{Signer: next.Signer}, fine, nil},
		"no key at all": {tlog.Shard{Tree: next.Tree}, fine, nil},
	} {
		if err := s.Succeed(tt.next, tt.freeze); err == nil || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want it refused", name, err)
		}
	}
	if r, _, err := s.Add(t.Context(), []byte("two"), entry.Terms{}, nil); err != nil || r.TreeID != c.Tree.ID() || r.LogIndex != 1 {
		t.Errorf("add afterwards: %+v, %v, want index 1 of the same tree", r, err)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestFrozenWithoutSuccessor: an Add says that the log takes no entries, rather
// than looking for a successor for ever.
func TestFrozenWithoutSuccessor(t *testing.T) {
	c := config(t)
	c.Tree = frozenTree{c.Tree}
	s := newService(t, c)
	if _, _, err := s.Add(t.Context(), []byte("one"), entry.Terms{}, nil); !errors.Is(err, merkle.ErrFrozen) || fault.KindOf(err) != fault.Unavailable {
		t.Errorf("got %v, want ErrFrozen", err)
	}
}

// TestSearchIsCappedAcrossShards: the bound is one for all of them, the newest
// come first.
func TestSearchIsCappedAcrossShards(t *testing.T) {
	c := config(t)
	terms := entry.Terms{Body: []string{"word"}}
	old := newService(t, c)
	for i := range tlog.MaxFound - 1 {
		if _, _, err := old.Add(t.Context(), fmt.Appendf(nil, "old %d", i), terms, nil); err != nil {
			t.Fatal(err)
		}
	}
	c.Earlier = []tlog.Shard{c.Shard}
	c.Shard = tlog.Shard{Tree: startTree(t), Signer: key(t, keys.ECDSAP256)}
	s := newService(t, c)
	for i := range 3 {
		r, _, err := s.Add(t.Context(), fmt.Appendf(nil, "new %d", i), terms, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Search(t.Context(), []string{"word"}, false)
		if err != nil || len(got.IDs) != tlog.MaxFound || got.IDs[0] != r.EntryID() || got.More != (i > 0) {
			t.Errorf("after %d new ones: %d found, more %v, %v; want %d, the newest first, more %v", i+1, len(got.IDs), got.More, err, tlog.MaxFound, i > 0)
		}
	}
}
