package ceremony_test

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sigstack/internal/trust"
	tufroot "sigstack/tuf-root"
	"sigstack/tuf-root/ceremony"
)

// TestFirstRoot goes from the proposal to a repository, with two of three signers.
func TestFirstRoot(t *testing.T) {
	p := newPeople(t)
	_, folder := p.start(t)
	mustSign(t, folder, p, 2)
	c := open(t, folder)
	_, _, err := c.Signed()
	if !errors.Is(err, ceremony.ErrTooFew) || !strings.Contains(err.Error(), keyID(t, p.keys[0])[:16]) {
		t.Errorf("after one signature: got %v, want ErrTooFew and who is missing", err)
	}
	if st := c.Status(); st.Complete || len(st.Roles) != 2 || len(st.Roles[0].Missing) != 2 {
		t.Errorf("after one signature: got %+v", st)
	}
	mustSign(t, folder, p, 0)
	c = open(t, folder)
	st := c.Status()
	if want := (ceremony.Signer{Key: keyID(t, p.keys[2]), Who: "Cleo", At: start.Add(3 * time.Hour).Truncate(time.Second)}); !st.Complete || st.Roles[0].Signed[1] != want {
		t.Errorf("got %+v, want it complete and signed by %+v", st, want)
	}
	root, targets, err := c.Signed()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "tuf")
	r, err := tufroot.CreateSigned(config(dir, start.Add(day)), root, targets, c.Files(), p.online)
	if err != nil {
		t.Fatal(err)
	}
	if data, err := r.Target("trusted_root.json"); err != nil || string(data) != "one" {
		t.Errorf("target: got %q, %v", data, err)
	}
	again, _, err := open(t, folder).Signed()
	if err != nil || !bytes.Equal(again, root) {
		t.Errorf("signed again: got other bytes, or %v", err)
	}
	if err := c.Current(root, targets); err != nil {
		t.Errorf("once published: %v", err)
	}
}

func TestTranscript(t *testing.T) {
	p := newPeople(t)
	_, folder := p.start(t)
	mustSign(t, folder, p, 1, 2)
	c := open(t, folder)
	lines, err := c.Transcript()
	if err != nil || len(lines) != 5 {
		t.Fatalf("got %d lines, %v; want 5", len(lines), err)
	}
	root, err := tufroot.ParseDocument(read(t, folder, "root.draft.json"))
	if err != nil {
		t.Fatal(err)
	}
	want := ceremony.Line{
		Previous: lines[1].Previous, At: start.Add(2 * time.Hour).Truncate(time.Second), What: ceremony.WhatSign,
		Ceremony: c.ID(), Who: "Bo", Role: "root", Key: keyID(t, p.keys[1]), Digest: root.SHA256,
	}
	if !slices.Contains(lines, want) || lines[0].What != ceremony.WhatStart || lines[0].Previous != "" {
		t.Errorf("got %+v, want a start and %+v", lines, want)
	}
	if c.Head() == lines[4].Previous || c.Head() != c.Status().Head {
		t.Errorf("head is %s, the line before %s", c.Head(), lines[4].Previous)
	}
}

// rotation is a ceremony upon a published repository: the third key is lost.
func rotation(t *testing.T, p people) (r *tufroot.Repository, proposal ceremony.Proposal, fresh crypto.Signer) {
	t.Helper()
	_, folder := p.start(t)
	mustSign(t, folder, p, 0, 1)
	c := open(t, folder)
	root, targets, err := c.Signed()
	if err != nil {
		t.Fatal(err)
	}
	r, err = tufroot.CreateSigned(config(filepath.Join(t.TempDir(), "tuf"), start), root, targets, c.Files(), p.online)
	if err != nil {
		t.Fatal(err)
	}
	fresh = newKey(t, 1)
	change := need(2, p.keys[0], p.keys[1], fresh)
	proposal = ceremony.Proposal{
		Title: "Cleo lost her key", CurrentRoot: root, CurrentTargets: targets, CurrentFiles: targetsOf("one"),
		Files: targetsOf("two"), Now: start.Add(day), Until: start.Add(10 * day),
	}
	if proposal.Root, err = r.DraftRoot(tufroot.RootChange{Root: change, Targets: change}); err != nil {
		t.Fatal(err)
	}
	if proposal.Targets, err = r.DraftTargets(targetsOf("two")); err != nil {
		t.Fatal(err)
	}
	return r, proposal, fresh
}

// TestLostKey: a ceremony replaces a key for which two of the old must sign, and two
// of the new.
func TestLostKey(t *testing.T) {
	p := newPeople(t)
	r, proposal, fresh := rotation(t, p)
	folder := filepath.Join(t.TempDir(), "medium")
	c, err := ceremony.Start(folder, proposal)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(c.Status().Roles); n != 4 {
		t.Errorf("got %d demands, want root and targets by the current and the new root", n)
	}
	for i, s := range []crypto.Signer{p.keys[0], fresh} {
		if err := sign(folder, s, names[i], start.Add(2*day)); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := open(t, folder).Signed(); !errors.Is(err, ceremony.ErrTooFew) || !strings.Contains(err.Error(), "the current root") {
		t.Errorf("one old key: got %v, want ErrTooFew for the current root", err)
	}
	if err := sign(folder, p.keys[1], "Bo", start.Add(2*day)); err != nil {
		t.Fatal(err)
	}
	c = open(t, folder)
	root, targets, err := c.Signed()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.PublishSigned(targets, c.Files(), p.online); err != nil {
		t.Fatal(err)
	}
	if err := r.PublishRoot(root); err != nil {
		t.Fatal(err)
	}
	if err := c.Current(root, targets); err != nil {
		t.Errorf("once published: %v", err)
	}
	if err := c.Current(nil, nil); !errors.Is(err, ceremony.ErrStale) {
		t.Errorf("nothing published: got %v, want ErrStale", err)
	}
}

func TestChanges(t *testing.T) {
	p := newPeople(t)
	_, proposal, fresh := rotation(t, p)
	wants := []string{
		"root of version 2 takes the place of version 1", "The root expires at 2031-02-28T12:00:00Z, 1824 days",
		"Role root: 2 of 3 keys must sign, as before", "Role root adds key " + keyID(t, fresh) + " (ECDSA P-256)",
		"Role root REMOVES key " + keyID(t, p.keys[2]) + " (Ed25519)", "Role root keeps key " + keyID(t, p.keys[0]),
		"targets of version 2 take the place of version 1", trust.RootSHA256([]byte("two")),
	}
	check := func(name string, proposal ceremony.Proposal, wants []string) {
		t.Helper()
		c, err := ceremony.Start(filepath.Join(t.TempDir(), "medium"), proposal)
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Join(c.Changes(), "\n")
		for _, want := range wants {
			if !strings.Contains(got, want) {
				t.Errorf("%s: got\n%s\nwant %q", name, got, want)
			}
		}
		if strings.Contains(got, "rekor.pub") && proposal.CurrentRoot != nil {
			t.Errorf("%s: tells of a file that stays as it is: %s", name, got)
		}
	}
	check("with files", proposal, wants)
	proposal.CurrentFiles = nil
	check("with digests", proposal, append(wants, "File trusted_root.json changes from SHA-256 "+trust.RootSHA256([]byte("one"))))
	careless := people{p.keys, tufroot.Online{Snapshot: p.keys[1], Timestamp: p.online.Timestamp}}
	check("an online key for all", careless.first(t), []string{"WARNING: key " + keyID(t, p.keys[1]) + " of role root is one of role snapshot"})
	check("first", p.first(t), []string{"the first one, version 1", "Role timestamp: 1 of 1 keys must sign", keyID(t, p.online.Timestamp), "rekor.pub"})
}

// TestProposalsThatAreRefused leave no ceremony behind.
func TestProposalsThatAreRefused(t *testing.T) {
	p := newPeople(t)
	_, rotate, fresh := rotation(t, p)
	signed, err := tufroot.SignRole(rotate.Root, p.keys[0])
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		change func(*ceremony.Proposal)
		want   string
	}{
		"nothing":            {func(p *ceremony.Proposal) { p.Root, p.Targets, p.Files = nil, nil, nil }, "nothing to sign"},
		"no title":           {func(p *ceremony.Proposal) { p.Title = " " }, "title"},
		"a title that moves": {func(p *ceremony.Proposal) { p.Title = "x\x1b[2J" }, "title"},
		"swapped":            {func(p *ceremony.Proposal) { p.Root, p.Targets = p.Targets, p.Root }, "not of root"},
		"a signed draft":     {func(p *ceremony.Proposal) { p.Root = signed }, "unsigned"},
		"a file is missing":  {func(p *ceremony.Proposal) { p.Files = p.Files[:1] }, "rekor.pub is missing"},
		"another file":       {func(p *ceremony.Proposal) { p.Files = targetsOf("three") }, "not the file"},
		"a file too many": {func(p *ceremony.Proposal) {
			p.Files = append(p.Files, trust.Target{Name: "more", Data: []byte("x")})
		}, "do not name it"},
		"a file elsewhere": {func(p *ceremony.Proposal) {
			p.Files = append(p.Files, trust.Target{Name: "../x", Data: []byte("x")})
		}, "no file of a ceremony"},
		"no current root":     {func(p *ceremony.Proposal) { p.CurrentRoot = nil }, "current root"},
		"not the next root":   {func(p *ceremony.Proposal) { p.CurrentRoot, p.CurrentTargets, p.CurrentFiles = nil, nil, nil }, "next one is 1"},
		"an unsigned current": {func(q *ceremony.Proposal) { q.CurrentRoot = p.first(t).Root }, "not signed"},
		"targets alone": {func(p *ceremony.Proposal) {
			p.Root, p.CurrentRoot, p.CurrentTargets, p.CurrentFiles = nil, nil, nil, nil
		}, "who signs it"},
		"targets left behind": {func(p *ceremony.Proposal) { p.Targets, p.Files = nil, nil }, ""},
		"expired":             {func(p *ceremony.Proposal) { p.Now, p.Until = start.Add(6*365*day), start.Add(7*365*day) }, "expired"},
		"ends at once":        {func(p *ceremony.Proposal) { p.Until = p.Now }, "ends before"},
		"not JSON":            {func(p *ceremony.Proposal) { p.Targets = []byte("x") }, "targets.draft.json"},
	} {
		proposal := rotate
		tt.change(&proposal)
		folder := filepath.Join(t.TempDir(), "medium")
		_, err := ceremony.Start(folder, proposal)
		if name == "targets left behind" { // the new targets keys contain two that signed
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
		if _, err := ceremony.Open(folder); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: there is a ceremony: %v", name, err)
		}
	}
	_, folder := p.start(t)
	if _, err := ceremony.Start(folder, rotate); !errors.Is(err, ceremony.ErrExists) {
		t.Errorf("in a folder that is taken: got %v, want ErrExists", err)
	}
	if _, err := tufroot.KeyID(fresh.Public()); err != nil {
		t.Error(err)
	}
}

// TestSignaturesThatAreRefused name the reason.
func TestSignaturesThatAreRefused(t *testing.T) {
	p := newPeople(t)
	_, folder := p.start(t)
	mustSign(t, folder, p, 0)
	before := files(t, folder)
	for name, tt := range map[string]struct {
		key  crypto.Signer
		who  string
		now  time.Time
		want error
		say  string
	}{
		"wrong key":      {newKey(t, 0), "Eve", start, ceremony.ErrWrongKey, keyID(t, p.keys[1])[:16]},
		"online key":     {p.online.Snapshot, "Eve", start, ceremony.ErrWrongKey, ""},
		"signed already": {p.keys[0], "Ada", start, ceremony.ErrSigned, "Ada, at 2026-03-01T13:00:00Z"},
		"too late":       {p.keys[1], "Bo", start.Add(31 * day), ceremony.ErrExpired, "start another ceremony"},
		"clock behind":   {p.keys[1], "Bo", start.Add(-2 * day), nil, "set the clock"},
		"no name":        {p.keys[1], "", start, nil, "name of the signer"},
		"a name of two":  {p.keys[1], "Bo\nEve", start, nil, "name of the signer"},
		"no key":         {nil, "Bo", start, nil, "no key"},
	} {
		err := sign(folder, tt.key, tt.who, tt.now)
		if err == nil || (tt.want != nil && !errors.Is(err, tt.want)) || !strings.Contains(err.Error(), tt.say) {
			t.Errorf("%s: got %v, want %v and %q", name, err, tt.want, tt.say)
		}
	}
	if after := files(t, folder); !slices.Equal(after, before) {
		t.Errorf("refused signatures left %v, want %v", after, before)
	}
}

// TestExpiredDraft: a ceremony outlives its draft.
func TestExpiredDraft(t *testing.T) {
	p := newPeople(t)
	proposal := p.first(t)
	var err error
	proposal.Targets, err = tufroot.FirstTargets(tufroot.Config{Now: func() time.Time { return start }, Lifetimes: tufroot.Lifetimes{Targets: time.Hour}}, targetsOf("one"))
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(t.TempDir(), "medium")
	if _, err := ceremony.Start(folder, proposal); err != nil {
		t.Fatal(err)
	}
	if err := sign(folder, p.keys[0], "Ada", start.Add(2*time.Hour)); !errors.Is(err, ceremony.ErrExpired) {
		t.Errorf("got %v, want ErrExpired", err)
	}
}

// TestStale: what was published meanwhile is told before anything is published.
func TestStale(t *testing.T) {
	p := newPeople(t)
	r, proposal, _ := rotation(t, p)
	c, err := ceremony.Start(filepath.Join(t.TempDir(), "medium"), proposal)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Current(proposal.CurrentRoot, proposal.CurrentTargets); err != nil {
		t.Errorf("nothing new is published: %v", err)
	}
	between, err := r.DraftRoot(tufroot.RootChange{Life: 10 * day})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Current(between, proposal.CurrentTargets); !errors.Is(err, ceremony.ErrStale) || !strings.Contains(err.Error(), "start another") {
		t.Errorf("another root was published: got %v, want ErrStale", err)
	}
	if err := c.Current([]byte("x"), nil); err == nil || errors.Is(err, ceremony.ErrStale) {
		t.Errorf("what is no root: got %v", err)
	}
}

// TestCopies: signatures that were made in copies of the folder count once their files
// are copied together, and Record enters them.
func TestCopies(t *testing.T) {
	p := newPeople(t)
	_, folder := p.start(t)
	other := copyFolder(t, folder)
	mustSign(t, folder, p, 0)
	mustSign(t, other, p, 1)
	for _, role := range []string{"root", "targets"} {
		name := signatureFile(t, role, p.keys[1])
		write(t, folder, name, read(t, other, name))
	}
	c := open(t, folder)
	if st := c.Status(); !st.Complete || st.Unrecorded != 2 {
		t.Errorf("got %+v, want it complete with 2 that are not recorded", st)
	}
	if err := c.Record(); err != nil {
		t.Fatal(err)
	}
	c = open(t, folder)
	if lines, err := c.Transcript(); err != nil || len(lines) != 5 || c.Status().Unrecorded != 0 {
		t.Errorf("got %d lines, %v, %d not recorded", len(lines), err, c.Status().Unrecorded)
	}
	// Cleo's signature in the other copy has seen a transcript that this one is not.
	mustSign(t, other, p, 2)
	write(t, folder, signatureFile(t, "root", p.keys[2]), read(t, other, signatureFile(t, "root", p.keys[2])))
	if _, err := ceremony.Open(folder); !errors.Is(err, ceremony.ErrChanged) {
		t.Errorf("got %v, want ErrChanged", err)
	}
}

// TestCrashBetweenWrites stops Start and Sign at each write; both can be repeated.
func TestCrashBetweenWrites(t *testing.T) {
	p := newPeople(t)
	proposal := p.first(t)
	starts, signs := 0, 0
	for n := 0; n < 20; n++ {
		for _, done := range []bool{false, true} {
			t.Run(fmt.Sprintf("start %d %v", n, done), func(t *testing.T) {
				folder := filepath.Join(t.TempDir(), "medium")
				err := ceremony.StartBroken(folder, proposal, n, done)
				if err == nil {
					return
				}
				starts++
				if _, err := ceremony.Start(folder, proposal); err != nil && !(done && errors.Is(err, ceremony.ErrExists)) {
					t.Fatalf("again: %v", err)
				}
				mustSign(t, folder, p, 0)
			})
			t.Run(fmt.Sprintf("sign %d %v", n, done), func(t *testing.T) {
				c, folder := p.start(t)
				c.Break(n, done)
				if err := c.Sign(p.keys[1], "Bo", start); err == nil {
					return
				}
				signs++
				err := sign(folder, p.keys[1], "Bo", start.Add(time.Hour))
				if err != nil && !errors.Is(err, ceremony.ErrSigned) {
					t.Fatalf("again: %v", err)
				}
				mustSign(t, folder, p, 2)
				c = open(t, folder)
				lines, err := c.Transcript()
				if st := c.Status(); err != nil || !st.Complete || st.Unrecorded != 0 || len(lines) != 5 {
					t.Errorf("got %+v and %d lines, %v; want it complete with 5", st, len(lines), err)
				}
			})
		}
	}
	if starts < 2*6 || signs != 2*3 {
		t.Errorf("interrupted %d writes of Start and %d of Sign, want 12 at least and 6", starts, signs)
	}
}
