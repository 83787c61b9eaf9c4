package tufroot_test

import (
	"crypto"
	"crypto/ed25519"
	"crypto/elliptic"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	tufroot "sigstack/tuf-root"
)

// signers are keys of one role, of both kinds.
type signers []crypto.Signer

func newSigners(tb testing.TB, n int) signers {
	tb.Helper()
	var out signers
	for i := range n {
		if i%2 == 0 {
			out = append(out, newEd25519(tb))
		} else {
			out = append(out, newECDSA(tb, elliptic.P256()))
		}
	}
	return out
}

// need makes signers keys of a role.
func (s signers) need(threshold int) *tufroot.RoleKeys {
	k := &tufroot.RoleKeys{Threshold: threshold}
	for _, signer := range s {
		k.Keys = append(k.Keys, signer.Public())
	}
	return k
}

// sign signs a draft with every key.
func (s signers) sign(tb testing.TB, draft []byte) []byte {
	tb.Helper()
	for _, signer := range s {
		var err error
		if draft, err = tufroot.SignRole(draft, signer); err != nil {
			tb.Fatal(err)
		}
	}
	return draft
}

// council are the keys of a repository with thresholds.
type council struct {
	root, targets signers
	online        tufroot.Online
}

func newCouncil(tb testing.TB) council {
	tb.Helper()
	return council{newSigners(tb, 3), newSigners(tb, 3), newKeys(tb).Online}
}

func (k council) change() tufroot.RootChange {
	return tufroot.RootChange{
		Root: k.root.need(2), Targets: k.targets.need(2),
		Snapshot: signers{k.online.Snapshot}.need(1), Timestamp: signers{k.online.Timestamp}.need(1),
	}
}

// drafts returns signed first drafts.
func (k council) drafts(tb testing.TB, c *clock) (root, targets []byte) {
	tb.Helper()
	root, err := tufroot.FirstRoot(tufroot.Config{Now: c.Now}, k.change())
	if err != nil {
		tb.Fatal(err)
	}
	targets, err = tufroot.FirstTargets(tufroot.Config{Now: c.Now}, targetsOf("one"))
	if err != nil {
		tb.Fatal(err)
	}
	return k.root[:2].sign(tb, root), k.targets[1:].sign(tb, targets)
}

// newCouncilRepo creates a repository from signed drafts, whose trusted_root.json
// says "one".
func newCouncilRepo(tb testing.TB, c *clock, k council) (*tufroot.Repository, string) {
	tb.Helper()
	root, targets := k.drafts(tb, c)
	dir := filepath.Join(tb.TempDir(), "tuf")
	r, err := tufroot.CreateSigned(c.cfg(dir), root, targets, targetsOf("one"), k.online)
	if err != nil {
		tb.Fatal(err)
	}
	return r, dir
}

func draftRoot(tb testing.TB, r *tufroot.Repository, c tufroot.RootChange) []byte {
	tb.Helper()
	draft, err := r.DraftRoot(c)
	if err != nil {
		tb.Fatal(err)
	}
	return draft
}

func publishTargets(tb testing.TB, r *tufroot.Repository, content string, online tufroot.Online, by signers) {
	tb.Helper()
	draft, err := r.DraftTargets(targetsOf(content))
	if err != nil {
		tb.Fatal(err)
	}
	if err := r.PublishSigned(by.sign(tb, draft), targetsOf(content), online); err != nil {
		tb.Fatal(err)
	}
}

// TestClientFollowsTheRoots: a client that saw only root 1 follows to root 3, while a
// lost key is replaced, targets keys are exchanged and thresholds change.
func TestClientFollowsTheRoots(t *testing.T) {
	c, k := newClock(), newCouncil(t)
	r, dir := newCouncilRepo(t, c, k)
	m := newMirror(t, dir)
	old := newClient(t, m, r.RootJSON(), c)
	old.want(t, "one")

	c.Add(time.Hour)
	fresh := newSigners(t, 2)
	second := signers{k.root[0], k.root[1], fresh[0]} // root[2] is lost
	draft := draftRoot(t, r, tufroot.RootChange{Root: second.need(2)})
	if err := r.PublishRoot(k.root[:2].sign(t, draft)); err != nil {
		t.Fatal(err)
	}

	c.Add(time.Hour)
	third, targets := signers{fresh[0], fresh[1], k.root[0], k.root[1]}, newSigners(t, 2)
	draft = draftRoot(t, r, tufroot.RootChange{Root: third.need(3), Targets: targets.need(2), Life: 100 * day})
	signed := third.sign(t, draft)
	if err := r.PublishRoot(signed); err == nil || !strings.Contains(err.Error(), "published targets does not verify") {
		t.Errorf("before its targets keys have signed: got %v, want a refusal", err)
	}
	publishTargets(t, r, "two", k.online, append(targets[:2:2], k.targets[:2]...))
	if err := r.PublishRoot(signed); err != nil {
		t.Fatal(err)
	}
	publishTargets(t, r, "three", k.online, targets)

	old.want(t, "three")
	newClient(t, m, r.RootJSON(), c).want(t, "three")
	again, err := tufroot.Open(c.cfg(dir))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := versions(again), [4]int64{3, 3, 3, 3}; got != want {
		t.Errorf("got versions %v, want %v", got, want)
	}
	roles := again.Roles()
	if roles[0].Threshold != 3 || len(roles[0].Keys) != 4 || roles[1].Threshold != 2 || len(roles[1].Keys) != 2 {
		t.Errorf("got roles %+v, want 3 of 4 root keys and 2 of 2 targets keys", roles[:2])
	}
	// The root was published when it was drafted, but for fractions of a second.
	if got := roles[0].Life.Round(time.Second); got != 100*day {
		t.Errorf("root lives %s, want %s", got, 100*day)
	}
	if !roles[0].Keys[0].Public.(ed25519.PublicKey).Equal(fresh[0].Public()) {
		t.Errorf("first root key is %v, want %v", roles[0].Keys[0].Public, fresh[0].Public())
	}
}

// TestThresholdOfTargets: a draft reaches clients with as many signatures as the root
// asks for, and with no fewer.
func TestThresholdOfTargets(t *testing.T) {
	c, k := newClock(), newCouncil(t)
	r, dir := newCouncilRepo(t, c, k)
	draft, err := r.DraftTargets(targetsOf("two"))
	if err != nil {
		t.Fatal(err)
	}
	for name, by := range map[string]signers{"none": nil, "one": k.targets[:1], "one twice": {k.targets[0], k.targets[0]}, "root keys": k.root} {
		if err := r.PublishSigned(by.sign(t, draft), targetsOf("two"), k.online); err == nil || !strings.Contains(err.Error(), "not signed") {
			t.Errorf("%s: got %v, want that it is not signed", name, err)
		}
	}
	if err := r.PublishSigned(k.targets[1:].sign(t, draft), targetsOf("two"), k.online); err != nil {
		t.Fatal(err)
	}
	newClient(t, newMirror(t, dir), r.RootJSON(), c).want(t, "two")
	next, err := r.DraftTargets(targetsOf("three"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tufroot.Review(dir, next, k.targets[0]); err == nil {
		t.Error("reviewed for a key that has not signed what is published")
	}
	if change, err := tufroot.Review(dir, next, k.targets[0], k.targets[2]); err != nil || change.Version != 3 {
		t.Errorf("review: got %+v, %v; want version 3", change, err)
	}
}

// TestOnlineKeysAreExchanged: clients never see metadata that they refuse.
func TestOnlineKeysAreExchanged(t *testing.T) {
	c, k := newClock(), newCouncil(t)
	r, dir := newCouncilRepo(t, c, k)
	m := newMirror(t, dir)
	old := newClient(t, m, r.RootJSON(), c)
	old.want(t, "one")
	fresh := newKeys(t).Online
	draft := draftRoot(t, r, tufroot.RootChange{Snapshot: signers{fresh.Snapshot}.need(1), Timestamp: signers{fresh.Timestamp}.need(1)})
	root := k.root[1:].sign(t, draft)
	if err := r.CheckOnline(fresh); err == nil {
		t.Error("the root trusts keys that it does not know")
	}
	both := k.online
	both.AlsoSnapshot, both.AlsoTimestamp = []crypto.Signer{fresh.Snapshot, k.online.Snapshot}, []crypto.Signer{fresh.Timestamp}
	if err := r.Resign(both); err != nil {
		t.Fatal(err)
	}
	old.want(t, "one")
	if err := r.PublishRoot(root); err != nil {
		t.Fatal(err)
	}
	if err := r.PublishRoot(root); err != nil {
		t.Errorf("the same again: %v", err)
	}
	old.want(t, "one")
	newClient(t, m, r.RootJSON(), c).want(t, "one")
	if err := errors.Join(r.CheckOnline(both), r.CheckOnline(fresh)); err != nil {
		t.Error(err)
	}
	if err := r.CheckOnline(k.online); err == nil {
		t.Error("the root trusts the old keys")
	}
	c.Add(9 * time.Hour)
	if _, err := r.Refresh(k.online); err == nil {
		t.Error("refreshed with the old keys")
	}
	for _, online := range []tufroot.Online{both, fresh} {
		c.Add(9 * time.Hour)
		if done, err := r.Refresh(online); !done || err != nil {
			t.Fatalf("refresh: %v, %v", done, err)
		}
		old.want(t, "one")
	}
	publishTargets(t, r, "two", fresh, k.targets)
	old.want(t, "two")
	newClient(t, m, r.RootJSON(), c).want(t, "two")
}

func TestPublications(t *testing.T) {
	c, k := newClock(), newCouncil(t)
	r, dir := newCouncilRepo(t, c, k)
	want := []tufroot.Publication{{At: c.now.UTC(), Root: 1, Targets: 1}}
	c.Add(9 * time.Hour)
	if _, err := r.Refresh(k.online); err != nil {
		t.Fatal(err)
	}
	publishTargets(t, r, "two", k.online, k.targets)
	want = append(want, tufroot.Publication{At: c.now.UTC(), Root: 1, Targets: 2})
	c.Add(time.Hour)
	if err := r.PublishRoot(k.root.sign(t, draftRoot(t, r, tufroot.RootChange{}))); err != nil {
		t.Fatal(err)
	}
	want = append(want, tufroot.Publication{At: c.now.UTC(), Root: 2, Targets: 2})
	again, err := tufroot.Open(c.cfg(dir))
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]*tufroot.Repository{"same process": r, "next process": again} {
		if got, err := r.Publications(); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %v, %v; want %v", name, got, err, want)
		}
	}
}

// TestPublicationsAfterTheClockWasSetBack stay in order.
func TestPublicationsAfterTheClockWasSetBack(t *testing.T) {
	c, k := newClock(), newCouncil(t)
	r, _ := newCouncilRepo(t, c, k)
	at := c.now.UTC()
	c.Add(-time.Hour)
	publishTargets(t, r, "two", k.online, k.targets)
	want := []tufroot.Publication{{At: at, Root: 1, Targets: 2}}
	if got, err := r.Publications(); err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
}

// TestOneKeyBecomesMany: a repository with a key for each role gets thresholds, and a
// client follows.
func TestOneKeyBecomesMany(t *testing.T) {
	c, keys, k := newClock(), newKeys(t), newCouncil(t)
	r, dir := newRepo(t, c, keys)
	old := newClient(t, newMirror(t, dir), r.RootJSON(), c)
	old.want(t, "one")
	change := k.change()
	change.Snapshot, change.Timestamp = nil, nil
	root := append(k.root[:2:2], keys.Root).sign(t, draftRoot(t, r, change))
	publishTargets(t, r, "two", keys.Online, append(k.targets[:2:2], keys.Targets))
	if err := r.PublishRoot(root); err != nil {
		t.Fatal(err)
	}
	if err := r.PublishTargets(targetsOf("three"), keys.Targets, keys.Online); err == nil {
		t.Error("the one key still publishes")
	}
	publishTargets(t, r, "three", keys.Online, k.targets[1:])
	old.want(t, "three")
}

// TestDistributedAfterALongerLife: clients may hold a timestamp of a former, longer
// life, whatever is signed after it.
func TestDistributedAfterALongerLife(t *testing.T) {
	c, k := newClock(), newCouncil(t)
	root, targets := k.drafts(t, c)
	dir := filepath.Join(t.TempDir(), "tuf")
	cfg := c.cfg(dir)
	cfg.Lifetimes.Timestamp, cfg.Lifetimes.Snapshot = 90*day, 90*day
	if _, err := tufroot.CreateSigned(cfg, root, targets, targetsOf("one"), k.online); err != nil {
		t.Fatal(err)
	}
	end := c.now.Add(90 * day).Truncate(time.Second)
	for range 2 {
		r, err := tufroot.Open(c.cfg(dir))
		if err != nil {
			t.Fatal(err)
		}
		if done, err := r.Refresh(k.online); err != nil || !done {
			t.Errorf("refresh to a shorter life: got %v, %v; want it at once", done, err)
		}
		if got := r.Distributed(c.now); !got.Equal(end) {
			t.Errorf("distributed at %s, want %s", got, end)
		}
		c.Add(9 * time.Hour)
	}
}
