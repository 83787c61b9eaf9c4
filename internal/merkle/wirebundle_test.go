package merkle_test

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
	"time"

	"sigstack/internal/fault"
	"sigstack/internal/merkle"
)

// wireOutcomes are of the leaves wireSent: one of each kind.
func wireOutcomes() []merkle.Outcome {
	a := wireAnswers()
	return []merkle.Outcome{
		{Added: a[0]},
		{Added: a[1]},
		{Err: &fault.Error{Kind: fault.Unavailable, Public: "later", RetryAfter: time.Second}},
	}
}

func wireSent() []merkle.Leaf {
	return append(wireLeaves(), merkle.Leaf{Value: []byte("refused")})
}

func TestBundlesTravel(t *testing.T) {
	sent := wireSent()
	for n := range len(sent) + 1 {
		got, err := merkle.DecodeLeaves(merkle.EncodeLeaves(sent[:n]))
		if err != nil || len(got) != n || n > 0 && !reflect.DeepEqual(got, sent[:n]) {
			t.Errorf("leaves: got %+v, %v, want %+v", got, err, sent[:n])
		}
	}
	want := wireOutcomes()
	b := merkle.EncodeOutcomes(sent, want)
	got, err := merkle.DecodeOutcomes(sent, b)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("outcomes: got %+v, %v, want %+v", got, err, want)
	}
	if bytes.Count(b, []byte("w")) == 0 || bytes.Contains(b, sent[1].Value) {
		t.Errorf("%q: a leaf that was sent comes back, or one that was not does not", b)
	}
}

// TestErrorsTravelWithoutCauses: what no stranger may know stays where it is.
func TestErrorsTravelWithoutCauses(t *testing.T) {
	sent := wireSent()[:1]
	for _, tt := range []struct {
		err  error
		kind fault.Kind
		text string
	}{
		{errors.New("secret"), fault.Unavailable, fault.Public(errors.New("secret"))},
		{fault.Wrap(fault.Conflict, errors.New("secret"), "no"), fault.Conflict, "no"},
	} {
		b := merkle.EncodeOutcomes(sent, []merkle.Outcome{{Err: tt.err}})
		got, err := merkle.DecodeOutcomes(sent, b)
		if err != nil || fault.KindOf(got[0].Err) != tt.kind || fault.Public(got[0].Err) != tt.text || bytes.Contains(b, []byte("secret")) {
			t.Errorf("%v: got %v, %v, want kind %d and %q", tt.err, got, err, tt.kind, tt.text)
		}
	}
}

// TestBundlesAreWhole cuts every encoding short, and lengthens it.
func TestBundlesAreWhole(t *testing.T) {
	sent := wireSent()
	check := func(b []byte, read func([]byte) error) {
		t.Helper()
		for n := range b {
			if read(b[:n]) == nil {
				t.Errorf("%d bytes of %d are read", n, len(b))
			}
		}
		if read(append(b, 0)) == nil {
			t.Error("something behind it is read")
		}
		if read(append([]byte{2}, b[1:]...)) == nil {
			t.Error("another version is read")
		}
	}
	check(merkle.EncodeLeaves(sent), func(b []byte) error { _, err := merkle.DecodeLeaves(b); return err })
	check(merkle.EncodeOutcomes(sent, wireOutcomes()), func(b []byte) error { _, err := merkle.DecodeOutcomes(sent, b); return err })
	if _, err := merkle.DecodeOutcomes(sent, merkle.EncodeOutcomes(sent[:2], wireOutcomes()[:2])); err == nil {
		t.Error("two outcomes of three leaves are read")
	}
	if _, err := merkle.DecodeLeaves(merkle.EncodeLeaves(make([]merkle.Leaf, 1025))); err == nil {
		t.Error("more leaves than travel together are read")
	}
}

// FuzzDecodeLeaves: what is accepted is what its content encodes to.
func FuzzDecodeLeaves(f *testing.F) {
	f.Add(merkle.EncodeLeaves(wireSent()))
	f.Add(merkle.EncodeLeaves(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		leaves, err := merkle.DecodeLeaves(bytes.Clone(b))
		if err != nil {
			return
		}
		if again := merkle.EncodeLeaves(leaves); !bytes.Equal(again, b) {
			t.Errorf("%x is read, and encodes to %x", b, again)
		}
	})
}

// FuzzDecodeOutcomes: likewise, but for kinds of errors that there are not.
func FuzzDecodeOutcomes(f *testing.F) {
	sent := wireSent()
	f.Add(merkle.EncodeOutcomes(sent, wireOutcomes()))
	f.Fuzz(func(t *testing.T, b []byte) {
		outcomes, err := merkle.DecodeOutcomes(sent, bytes.Clone(b))
		if err != nil {
			return
		}
		whole := true
		for i, o := range outcomes {
			var e *fault.Error
			if errors.As(o.Err, &e) && (e.Kind <= fault.Internal || e.Kind > fault.Slow) {
				t.Errorf("outcome %d is of kind %d", i, e.Kind)
			}
			whole = whole && o.Err == nil
		}
		again := merkle.EncodeOutcomes(sent, outcomes)
		if whole && !bytes.Equal(again, b) {
			t.Errorf("%x is read, and encodes to %x", b, again)
		}
		if _, err := merkle.DecodeOutcomes(sent, again); err != nil {
			t.Errorf("%x cannot be read: %v", again, err)
		}
	})
}
