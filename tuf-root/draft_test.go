package tufroot_test

import (
	"bytes"
	"crypto"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigstack/internal/trust"
	tufroot "sigstack/tuf-root"
)

// TestDraftIsSignedElsewhere: a draft reaches clients once it is signed with the
// targets key, which the repository never sees.
func TestDraftIsSignedElsewhere(t *testing.T) {
	c, keys := newClock(), newKeys(t)
	r, dir := newRepo(t, c, keys)
	client := newClient(t, newMirror(t, dir), r.RootJSON(), c)
	client.want(t, "one")
	draft, err := r.DraftTargets(targetsOf("two"))
	if err != nil {
		t.Fatal(err)
	}
	client.want(t, "one")
	signed, err := tufroot.SignTargets(draft, keys.Targets)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.PublishSigned(signed, targetsOf("two"), keys.Online); err != nil {
		t.Fatal(err)
	}
	client.want(t, "two")
	if again, err := tufroot.Open(c.cfg(dir)); err != nil || versions(again)[1] != 2 {
		t.Errorf("open: %v, %v, want targets version 2", versions(again), err)
	}
	if err := r.PublishSigned(signed, targetsOf("two"), keys.Online); !errors.Is(err, tufroot.ErrStale) {
		t.Errorf("the same again: got %v, want ErrStale", err)
	}
	if got, want := r.Distributed(c.Now()), c.Now().Add(day); !got.Equal(want) {
		t.Errorf("distributed at %v, want a timestamp's life later: %v", got, want)
	}
}

// TestDraftsThatAreRefused leave the repository as it was.
func TestDraftsThatAreRefused(t *testing.T) {
	c, keys := newClock(), newKeys(t)
	r, dir := newRepo(t, c, keys)
	draft, err := r.DraftTargets(targetsOf("two"))
	if err != nil {
		t.Fatal(err)
	}
	sign := func(draft []byte, key crypto.Signer) []byte {
		t.Helper()
		signed, err := tufroot.SignTargets(draft, key)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	signed := sign(draft, keys.Targets)
	for name, tt := range map[string]struct {
		data []byte
		want string
	}{
		"unsigned":      {draft, "not signed"},
		"another key":   {sign(draft, newEd25519(t)), "not signed"},
		"changed":       {bytes.Replace(signed, []byte(`"version": 2`), []byte(`"version": 3`), 1), "not signed"},
		"not next":      {sign(bytes.Replace(draft, []byte(`"version": 2`), []byte(`"version": 3`), 1), keys.Targets), "version 3"},
		"no such file":  {sign(bytes.Replace(draft, []byte(`"rekor.pub"`), []byte(`"other.pub"`), 1), keys.Targets), "other.pub"},
		"another role":  {[]byte(`{"signed":{"_type":"root"},"signatures":[]}`), "signed targets"},
		"not even JSON": {[]byte("x"), "signed targets"},
	} {
		if err := r.PublishSigned(tt.data, targetsOf("two"), keys.Online); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
	for _, others := range [][]trust.Target{targetsOf("three"), targetsOf("two")[1:], append(targetsOf("two"), trust.Target{Name: "more", Data: []byte("x")})} {
		if err := r.PublishSigned(signed, others, keys.Online); !errors.Is(err, tufroot.ErrStale) {
			t.Errorf("other targets than were to be signed: got %v, want ErrStale", err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "2.targets.json")); err == nil {
		t.Error("a refused draft was stored")
	}
	c.Add(6 * 365 * day)
	if err := r.PublishSigned(signed, targetsOf("two"), keys.Online); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("years later: got %v, want that it expired", err)
	}
	if _, err := tufroot.SignTargets(draft, nil); err == nil {
		t.Error("signed without a key")
	}
	if got := r.Distributed(time.Time{}); !got.Equal(r.Status()[3].Expires) {
		t.Errorf("distributed at %v, want the end of the timestamp that is out: %v", got, r.Status()[3].Expires)
	}
}
