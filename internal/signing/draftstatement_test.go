package signing_test

import (
	"errors"
	"testing"
	"time"

	"sigstack/internal/signing"
	"sigstack/internal/signing/signingtest"
)

// TestDraftStatement has one session sign a statement, and another one of the same
// identity submit it, twice: the log has it once.
func TestDraftStatement(t *testing.T) {
	s := signingtest.New(t, time.Now)
	draft, err := newSession(t, s, signingtest.Email).DraftStatement(t.Context(), statement(t))
	if err != nil {
		t.Fatal(err)
	}
	if n := s.Calls("/api/v1/log/entries"); n != 0 {
		t.Errorf("the log was called %d times for a draft", n)
	}
	var indexes []int64
	for range 2 {
		signed, err := newSession(t, s, signingtest.Email).Submit(t.Context(), draft)
		if err != nil {
			t.Fatal(err)
		}
		if string(signed.Signature) != string(draft.Signature) || signed.Envelope == nil {
			t.Errorf("got signature %x and envelope %q, want %x in one", signed.Signature, signed.Envelope, draft.Signature)
		}
		indexes = append(indexes, signed.Result.LogIndex)
	}
	if indexes[0] != indexes[1] {
		t.Errorf("submitted twice, it is at %v", indexes)
	}
	if _, err := newSession(t, s, "mallory@sigstack.local").Submit(t.Context(), draft); !errors.Is(err, signing.ErrOtherSigner) {
		t.Errorf("by somebody else: got %v, want %v", err, signing.ErrOtherSigner)
	}
	other, err := signing.NewStatement([]signing.Subject{{Digest: map[string]string{"sha256": anyHex}}}, "https://example.com/other", nil)
	if err != nil {
		t.Fatal(err)
	}
	before := s.Calls("/api/v1/log/entries")
	draft.Statement = other
	if _, err := newSession(t, s, signingtest.Email).Submit(t.Context(), draft); err == nil {
		t.Error("a draft over another statement is submitted")
	}
	if n := s.Calls("/api/v1/log/entries"); n != before {
		t.Errorf("it was sent to the log")
	}
	if _, err := newSession(t, s, signingtest.Email).DraftStatement(t.Context(), []byte("{}")); err == nil {
		t.Error("no statement is signed")
	}
}

const anyHex = "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a"
