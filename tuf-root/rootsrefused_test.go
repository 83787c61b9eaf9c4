package tufroot_test

import (
	"bytes"
	"crypto/elliptic"
	"errors"
	"maps"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tufroot "sigstack/tuf-root"
)

func TestRootsThatAreRefused(t *testing.T) {
	c, k := newClock(), newCouncil(t)
	r, dir := newCouncilRepo(t, c, k)
	other := newSigners(t, 3)
	same := draftRoot(t, r, tufroot.RootChange{})
	changed := draftRoot(t, r, tufroot.RootChange{Root: other.need(2)})
	before := files(t, dir)
	for name, tt := range map[string]struct {
		data []byte
		want string
	}{
		"unsigned":             {same, "version 1 have not signed"},
		"one signature":        {k.root[:1].sign(t, same), "version 1 have not signed"},
		"one key twice":        {signers{k.root[0], k.root[0]}.sign(t, same), "version 1 have not signed"},
		"foreign keys":         {other.sign(t, same), "version 1 have not signed"},
		"only the old keys":    {k.root.sign(t, changed), "own root keys"},
		"only the new keys":    {other.sign(t, changed), "version 1 have not signed"},
		"one of the new":       {append(k.root[:2:2], other[0]).sign(t, changed), "own root keys"},
		"changed after":        {bytes.Replace(k.root.sign(t, same), []byte(`"threshold": 2`), []byte(`"threshold": 1`), 1), "have not signed"},
		"not next":             {k.root.sign(t, bytes.Replace(same, []byte(`"version": 2`), []byte(`"version": 3`), 1)), "version 3"},
		"foreign targets keys": {k.root.sign(t, draftRoot(t, r, tufroot.RootChange{Targets: other.need(1)})), "published targets"},
		"foreign snapshot":     {k.root.sign(t, draftRoot(t, r, tufroot.RootChange{Snapshot: other.need(1)})), "published snapshot"},
		"foreign timestamp":    {k.root.sign(t, draftRoot(t, r, tufroot.RootChange{Timestamp: other.need(1)})), "published timestamp"},
		"not even JSON":        {[]byte("x"), "read root"},
		"targets":              {[]byte(`{"signed":{"_type":"targets"},"signatures":[]}`), "read root"},
	} {
		if err := r.PublishRoot(tt.data); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
	c.Add(6 * 365 * day)
	if err := r.PublishRoot(k.root.sign(t, same)); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("years later: got %v, want that it expired", err)
	}
	if after := files(t, dir); !maps.Equal(after, before) {
		t.Error("a refused root left traces")
	}
}

func TestDraftsOfRootsThatAreRefused(t *testing.T) {
	k := newCouncil(t)
	for name, change := range map[string]func(*tufroot.RootChange){
		"no root keys":      func(c *tufroot.RootChange) { c.Root = nil },
		"no keys":           func(c *tufroot.RootChange) { c.Targets = &tufroot.RoleKeys{Threshold: 1} },
		"threshold 0":       func(c *tufroot.RootChange) { c.Root = k.root.need(0) },
		"threshold too big": func(c *tufroot.RootChange) { c.Root = k.root.need(4) },
		"a key twice":       func(c *tufroot.RootChange) { c.Root = append(k.root[:2:2], k.root[0]).need(2) },
		"P-384":             func(c *tufroot.RootChange) { c.Root = signers{newECDSA(t, elliptic.P384())}.need(1) },
		"tiny life":         func(c *tufroot.RootChange) { c.Life = time.Millisecond },
	} {
		c := k.change()
		change(&c)
		if _, err := tufroot.FirstRoot(newClock().cfg(""), c); err == nil {
			t.Errorf("%s: drafted", name)
		}
	}
}

func TestCreateSignedRefuses(t *testing.T) {
	c, k := newClock(), newCouncil(t)
	root, targets := k.drafts(t, c)
	other := newCouncil(t)
	otherRoot, _ := other.drafts(t, c)
	bare, err := tufroot.FirstRoot(c.cfg(""), k.change())
	if err != nil {
		t.Fatal(err)
	}
	bareTargets, err := tufroot.FirstTargets(c.cfg(""), targetsOf("one"))
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		root, targets []byte
		content       string
		online        tufroot.Online
		after         time.Duration
		want          string
	}{
		"one root signature":    {k.root[:1].sign(t, bare), targets, "one", k.online, 0, "root keys"},
		"one targets signature": {root, k.targets[:1].sign(t, bareTargets), "one", k.online, 0, "targets keys"},
		"another root":          {otherRoot, targets, "one", k.online, 0, "targets keys"},
		"other files":           {root, targets, "two", k.online, 0, "others than were signed"},
		"other online keys":     {root, targets, "one", other.online, 0, "snapshot key"},
		"expired":               {root, targets, "one", k.online, 6 * 365 * day, "expired"},
		"swapped":               {targets, root, "one", k.online, 0, "read root"},
		"version 2": {
			k.root.sign(t, bytes.Replace(bare, []byte(`"version": 1`), []byte(`"version": 2`), 1)), targets, "one", k.online, 0, "version 2",
		},
	} {
		later := &clock{c.now.Add(tt.after)}
		dir := filepath.Join(t.TempDir(), "tuf")
		_, err := tufroot.CreateSigned(later.cfg(dir), tt.root, tt.targets, targetsOf(tt.content), tt.online)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
		if _, err := tufroot.Open(c.cfg(dir)); err == nil {
			t.Errorf("%s: there is a repository", name)
		}
	}
	r, dir := newCouncilRepo(t, c, k)
	if _, err := tufroot.CreateSigned(c.cfg(dir), root, targets, targetsOf("one"), k.online); !errors.Is(err, tufroot.ErrExists) {
		t.Errorf("twice: got %v, want ErrExists", err)
	}
	if err := r.RenewRoot(k.root[0]); err == nil {
		t.Error("renewed with one key of two")
	}
}

// FuzzParseDocument: what is accepted says the same when it is written again, and
// its roles can be satisfied.
func FuzzParseDocument(f *testing.F) {
	root, targets := newCouncil(f).drafts(f, newClock())
	f.Add(root)
	f.Add(targets)
	f.Add([]byte(`{"signed":{"_type":"root","keys":{"a":null},"roles":{"root":null}},"signatures":[]}`))
	f.Add([]byte(`{"signed":{"_type":"targets","targets":{"a":null}},"signatures":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := tufroot.ParseDocument(data)
		if err != nil {
			return
		}
		again, err := d.With(d.Signatures())
		if err != nil {
			t.Fatalf("encode: %v", err)
		}
		e, err := tufroot.ParseDocument(again)
		if err != nil || !bytes.Equal(e.Payload, d.Payload) || e.Version != d.Version || len(e.Signatures()) != len(d.Signatures()) {
			t.Fatalf("written again: %v, %s; want %s", err, e.Payload, d.Payload)
		}
		for _, role := range d.Roles {
			if role.Threshold < 1 || role.Threshold > len(role.Keys) || len(d.SignedBy(role)) > len(role.Keys) {
				t.Errorf("role %s needs %d of %d keys", role.Role, role.Threshold, len(role.Keys))
			}
		}
	})
}
