package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"sigstack/internal/pgtest"
	"sigstack/services/tlog/entry"
)

func TestProposalsAreValidAndDiffer(t *testing.T) {
	all := make([]signer, 3)
	for i := range all {
		var err error
		if all[i], err = newSigner(i); err != nil {
			t.Fatal(err)
		}
	}
	parser := entry.Parser{Types: entry.Types{{Kind: "hashedrekord", Version: "0.0.1"}: entry.HashedRekord}, Algorithms: entry.DefaultAlgorithms()}
	seen := map[string]uint64{} // terms but for the address, by proposal
	for i := range uint64(20) {
		proposal, err := propose(all, i)
		if err != nil {
			t.Fatal(err)
		}
		e, err := parser.Parse(proposal)
		if err != nil {
			t.Fatalf("proposal %d: %v", i, err)
		}
		if len(e.Body) < 1200 || len(e.Body) > 2500 {
			t.Errorf("entry %d has %d bytes, want about as many as one of keyless signing", i, len(e.Body))
		}
		terms := e.Terms().Body
		if len(terms) != 3 {
			t.Fatalf("entry %d is found by %q, want its certificate, its address and its digest", i, terms)
		}
		for _, term := range []string{terms[0], terms[2]} {
			if before, ok := seen[term]; ok {
				t.Errorf("entries %d and %d are both found by %s", before, i, term)
			}
			seen[term] = i
		}
	}
}

func TestAtOnceStopsAtAnError(t *testing.T) {
	var calls atomic.Uint64
	broken := errors.New("broken")
	err := atOnce(t.Context(), 4, 1000, func(uint64) {}, func(_ context.Context, i uint64) error {
		calls.Add(1)
		if i == 10 {
			return broken
		}
		return nil
	})
	if !errors.Is(err, broken) || calls.Load() == 1000 {
		t.Errorf("got %v after %d calls, want %v before the last", err, calls.Load(), broken)
	}
	calls.Store(0)
	told := uint64(0)
	if err := atOnce(t.Context(), 4, 1000, func(done uint64) { told = done }, func(context.Context, uint64) error {
		calls.Add(1)
		return nil
	}); err != nil || calls.Load() != 1000 || told != 1000 {
		t.Errorf("got %v after %d calls, and %d as the last number, want 1000 of each", err, calls.Load(), told)
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{nil, {"grow"}, {"prefill", "-dir", t.TempDir()}, {"measure", "-max", "x"}, {"database"}, {"database", "-url-file", "/nonexistent"}} {
		if err := run(t.Context(), args, new(bytes.Buffer)); err == nil {
			t.Errorf("%q was taken", args)
		}
	}
}

func TestDatabase(t *testing.T) {
	_, db := pgtest.Start(t)
	file := filepath.Join(t.TempDir(), "url")
	if err := os.WriteFile(file, []byte(db.URL+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"database", "-url-file", file, "-from", "10", "-max", "100", "-rounds", "2", "-reads", "20", "-adds", "5"}
	var out strings.Builder
	if err := run(t.Context(), args, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\n10 entries\n", "\n100 entries\n", "table leafdata", "index extrarow_pkey", "get by index", "search", "add", "bytes of write-ahead log"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if err := run(t.Context(), args, &out); err == nil {
		t.Error("a log that is there already was taken")
	}
}
