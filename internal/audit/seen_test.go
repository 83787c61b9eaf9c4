package audit_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigstack/internal/audit"
)

// TestHolds: a record holds every head that it had, and one that was put back, or is
// another one of the same chain, does not.
func TestHolds(t *testing.T) {
	o := options(t)
	o.FileSize = 2000 // several files
	l := open(t, o)
	var seen []audit.Seen
	old := t.TempDir()
	for i := range 20 {
		record(t, l, issued(i))
		s, err := l.Seen()
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, s)
		if i == 9 {
			if err := os.CopyFS(old, os.DirFS(o.Dir)); err != nil {
				t.Fatal(err)
			}
		}
	}
	closeLog(t, l)
	last := seen[len(seen)-1]
	if last.Head != l.Head() {
		t.Errorf("seen %+v, the head is %+v", last.Head, l.Head())
	}
	for _, s := range seen {
		if err := audit.Holds(o.Dir, last.Seq, s.Head); err != nil {
			t.Errorf("record %d: %v", s.Seq, err)
		}
		if err := s.Verify(&keyOf(t, o).PublicKey); err != nil {
			t.Errorf("signature of record %d: %v", s.Seq, err)
		}
	}
	var back *audit.PutBackError
	if err := audit.Holds(old, seen[9].Seq, last.Head); !errors.As(err, &back) || back.Differs || back.Last != seen[9].Seq {
		t.Errorf("put back: %v", err)
	}
	if err := audit.Holds(old, seen[9].Seq, seen[9].Head); err != nil {
		t.Errorf("a head that the old record has: %v", err)
	}
	other := seen[4].Head
	other.Hash[0] ^= 1
	if err := audit.Holds(o.Dir, last.Seq, other); !errors.As(err, &back) || !back.Differs {
		t.Errorf("written anew: %v", err)
	}
	if err := last.Verify(&newKey(t).PublicKey); !errors.Is(err, audit.ErrOtherKey) {
		t.Errorf("another key: %v", err)
	}
	last.Seq++
	if err := last.Verify(&keyOf(t, o).PublicKey); err == nil {
		t.Error("the signature is good for another head")
	}
}

// TestSeenWhileAHeadIsWritten: the slot that is torn is not the one that counts.
func TestSeenWhileAHeadIsWritten(t *testing.T) {
	o := options(t)
	l := open(t, o)
	record(t, l, issued(1), issued(2))
	whole := read(t, o.Dir, "head")
	for slot := range 2 {
		torn := append([]byte(nil), whole...)
		copy(torn[slot*4096:], "sigstack audit head 1\nchain torn")
		write(t, o.Dir, "head", torn)
		got, err := l.Seen()
		if err != nil || got.Head != l.Head() {
			t.Errorf("slot %d torn: got %+v, %v; want %+v", slot, got.Head, err, l.Head())
		}
	}
	write(t, o.Dir, "head", []byte("sigstack audit head 1\n"))
	if got, err := l.Seen(); err == nil {
		t.Errorf("both torn: got %+v", got)
	}
	write(t, o.Dir, "head", whole)
}

func keyOf(t *testing.T, o audit.Options) *ecdsa.PrivateKey {
	t.Helper()
	key, ok := o.Signer.(*ecdsa.PrivateKey)
	if !ok {
		t.Fatalf("signer is a %T", o.Signer)
	}
	return key
}

func read(t *testing.T, dir, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func write(t *testing.T, dir, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestStatements are those that were anchored, and of that chain.
func TestStatements(t *testing.T) {
	o := options(t)
	var logged [][]byte
	o.Anchor = func(_ context.Context, statement []byte) ([]byte, error) {
		logged = append(logged, bytes.Clone(statement))
		return proofOf(statement), nil
	}
	l := open(t, o)
	for i := range 3 {
		record(t, l, issued(i))
		if _, err := l.Anchor(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	got, err := audit.Statements(o.Dir)
	if err != nil || !slices.EqualFunc(got, logged, bytes.Equal) {
		t.Fatalf("got %q, %v; want %q", got, err, logged)
	}
	for _, s := range got {
		if !audit.IsOf(s, l.Chain()) || audit.IsOf(s, strings.Repeat("0", 64)) || audit.IsOf(s, "") {
			t.Errorf("%q: whose it is is not told", s)
		}
	}
}
