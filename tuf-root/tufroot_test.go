package tufroot_test

import (
	"bytes"
	"crypto/elliptic"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"sigstack/internal/trust"
	tufroot "sigstack/tuf-root"
)

func TestClientFollowsTheRepository(t *testing.T) {
	c, keys := newClock(), newKeys(t)
	r, dir := newRepo(t, c, keys)
	m := newMirror(t, dir)
	cl := newClient(t, m, r.RootJSON(), c)
	cl.want(t, "one")

	if err := r.PublishTargets(targetsOf("two"), keys.Targets, keys.Online); err != nil {
		t.Fatal(err)
	}
	cl.want(t, "two")

	c.Add(3 * day)
	if done, err := r.Refresh(keys.Online); !done || err != nil {
		t.Fatalf("refresh: got %v, %v; want it done", done, err)
	}
	cl.want(t, "two")

	if err := r.RenewRoot(keys.Root); err != nil {
		t.Fatal(err)
	}
	cl.want(t, "two")
	newClient(t, m, r.RootJSON(), c).want(t, "two")
	if got, want := versions(r), [4]int64{2, 2, 3, 3}; got != want {
		t.Errorf("got versions %v, want %v", got, want)
	}
}

func TestLayoutOnDisk(t *testing.T) {
	_, dir := newRepo(t, newClock(), newKeys(t))
	sum := trust.RootSHA256([]byte("one"))
	got := files(t, dir)
	for _, want := range []string{"1.root.json", "1.targets.json", "1.snapshot.json", "timestamp.json", "targets/" + sum + ".trusted_root.json"} {
		if _, ok := got[want]; !ok {
			t.Errorf("no %s among %d files", want, len(got))
		}
		if !tufroot.Serves(want) {
			t.Errorf("%s is not served", want)
		}
	}
	for _, name := range []string{
		".timestamp.next", "", "targets", "targets/", "0.root.json", "01.root.json", "root.json", "../x", "1.timestamp.json",
		"targets/rekor.pub", "targets/" + sum + ".", "targets/" + sum + ".a/b", "targets/" + sum + "..", "x/" + sum + ".a", ".1.root.json.tmp-1",
	} {
		if tufroot.Serves(name) {
			t.Errorf("%q is served", name)
		}
	}
	if !strings.Contains(got["1.targets.json"], `"usage": "Rekor"`) {
		t.Errorf("no custom metadata in %s", got["1.targets.json"])
	}
	for name, data := range got {
		if strings.HasSuffix(name, ".json") && strings.Contains(name, "root.json") && strings.Contains(data, `00.`) {
			t.Errorf("%s: a time has fractions of a second: %s", name, data)
		}
	}
}

func TestRefreshAtAThirdOfLife(t *testing.T) {
	c, keys := newClock(), newKeys(t)
	r, _ := newRepo(t, c, keys)
	for _, step := range []struct {
		after time.Duration
		want  [4]int64
	}{
		{8*time.Hour - time.Second, [4]int64{1, 1, 1, 1}},
		{time.Second, [4]int64{1, 1, 1, 2}},
		{2 * time.Hour, [4]int64{1, 1, 1, 2}},
		{56*time.Hour - 10*time.Hour, [4]int64{1, 1, 2, 3}},
		{time.Hour, [4]int64{1, 1, 2, 3}},
		{30 * day, [4]int64{1, 1, 3, 4}},
	} {
		c.Add(step.after)
		wasDue := !c.now.Before(r.NextRefresh())
		done, err := r.Refresh(keys.Online)
		if err != nil || done != wasDue {
			t.Fatalf("after %s: refresh %v, %v; want %v", step.after, done, err, wasDue)
		}
		if got := versions(r); got != step.want {
			t.Fatalf("after %s: got versions %v, want %v", step.after, got, step.want)
		}
	}
}

func TestStatusTellsExpiry(t *testing.T) {
	c := newClock()
	r, _ := newRepo(t, c, newKeys(t))
	start := c.now.Truncate(time.Second)
	want := []tufroot.RoleStatus{
		{Role: "root", Version: 1, Expires: start.Add(5 * 365 * day)},
		{Role: "targets", Version: 1, Expires: start.Add(5 * 365 * day)},
		{Role: "snapshot", Version: 1, Expires: start.Add(7 * day)},
		{Role: "timestamp", Version: 1, Expires: start.Add(day)},
	}
	for i, got := range r.Status() {
		if got != want[i] {
			t.Errorf("got %+v, want %+v", got, want[i])
		}
	}
}

func TestExpiredMetadataIsRefused(t *testing.T) {
	c, keys := newClock(), newKeys(t)
	r, dir := newRepo(t, c, keys)
	m := newMirror(t, dir)
	cl := newClient(t, m, r.RootJSON(), c)
	cl.want(t, "one")
	c.Add(day + time.Second)
	if got, err := cl.update(); !errors.Is(err, &metadata.ErrExpiredMetadata{}) {
		t.Errorf("got %q, %v; want expired metadata refused", got, err)
	}
	// A start after a long pause opens it all the same and makes it fresh.
	reopened, err := tufroot.Open(c.cfg(dir))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reopened.Refresh(keys.Online); err != nil {
		t.Fatal(err)
	}
	cl.want(t, "one")
}

func TestTamperedFilesAreRefused(t *testing.T) {
	c, keys := newClock(), newKeys(t)
	r, dir := newRepo(t, c, keys)
	for name, content := range files(t, dir) {
		if !tufroot.Serves(name) || strings.HasSuffix(name, ".rekor.pub") {
			continue // this client does not download the latter
		}
		t.Run(name, func(t *testing.T) {
			bad := copyDir(t, dir)
			i := strings.LastIndexAny(content, "0123456789abcdefo")
			flipped := content[:i] + string(content[i]^1) + content[i+1:]
			if err := os.WriteFile(filepath.Join(bad, name), []byte(flipped), 0o600); err != nil {
				t.Fatal(err)
			}
			// A client has its own first root, so tampering that one shows only
			// to who opens the repository.
			if name != "1.root.json" {
				if got, err := newClient(t, newMirror(t, bad), r.RootJSON(), c).update(); err == nil {
					t.Errorf("client got %q, want an error", got)
				}
			}
			if _, err := tufroot.Open(c.cfg(bad)); err == nil {
				t.Error("opened all the same")
			}
		})
	}
}

func TestRollbackIsRefused(t *testing.T) {
	c, keys := newClock(), newKeys(t)
	r, dir := newRepo(t, c, keys)
	old := copyDir(t, dir)
	if err := r.PublishTargets(targetsOf("two"), keys.Targets, keys.Online); err != nil {
		t.Fatal(err)
	}
	m := newMirror(t, dir)
	cl := newClient(t, m, r.RootJSON(), c)
	cl.want(t, "two")
	m.dir = old
	if got, err := cl.update(); err == nil {
		t.Errorf("client went back to %q, want an error", got)
	}
}

func TestForeignKeysAreRefused(t *testing.T) {
	c, keys := newClock(), newKeys(t)
	r, dir := newRepo(t, c, keys)
	other := newKeys(t)
	before := files(t, dir)
	if err := r.CheckOnline(keys.Online); err != nil {
		t.Errorf("own keys: %v", err)
	}
	for name, online := range map[string]tufroot.Online{
		"snapshot":  {Snapshot: other.Snapshot, Timestamp: keys.Timestamp},
		"timestamp": {Snapshot: keys.Snapshot, Timestamp: other.Timestamp},
		"none":      {},
	} {
		if err := r.CheckOnline(online); err == nil {
			t.Errorf("%s: foreign key accepted", name)
		}
	}
	if err := r.PublishTargets(targetsOf("one"), other.Targets, keys.Online); err == nil {
		t.Error("published with a foreign targets key")
	}
	if err := r.RenewRoot(other.Root); err == nil {
		t.Error("renewed with a foreign root key")
	}
	c.Add(9 * time.Hour)
	if _, err := r.Refresh(tufroot.Online{Snapshot: keys.Snapshot, Timestamp: other.Timestamp}); err == nil {
		t.Error("refreshed with a foreign timestamp key")
	}
	if after := files(t, dir); len(after) != len(before) || after["timestamp.json"] != before["timestamp.json"] {
		t.Errorf("foreign keys left %d files, want the %d from before", len(after), len(before))
	}
}

func TestCreateRefuses(t *testing.T) {
	c, keys := newClock(), newKeys(t)
	_, dir := newRepo(t, c, keys)
	before := files(t, dir)
	if _, err := tufroot.Create(c.cfg(dir), newKeys(t), targetsOf("two")); !errors.Is(err, tufroot.ErrExists) {
		t.Errorf("second create: got %v, want ErrExists", err)
	}
	if after := files(t, dir); len(after) != len(before) || after["1.root.json"] != before["1.root.json"] {
		t.Error("the second create changed files")
	}
	for name, change := range map[string]func(*tufroot.Config, *tufroot.Keys, *[]trust.Target){
		"no directory":      func(cfg *tufroot.Config, _ *tufroot.Keys, _ *[]trust.Target) { cfg.Dir = "" },
		"no clock":          func(cfg *tufroot.Config, _ *tufroot.Keys, _ *[]trust.Target) { cfg.Now = nil },
		"tiny lifetime":     func(cfg *tufroot.Config, _ *tufroot.Keys, _ *[]trust.Target) { cfg.Lifetimes.Root = 1 },
		"no root key":       func(_ *tufroot.Config, k *tufroot.Keys, _ *[]trust.Target) { k.Root = nil },
		"P-384 key":         func(_ *tufroot.Config, k *tufroot.Keys, _ *[]trust.Target) { k.Targets = newECDSA(t, elliptic.P384()) },
		"target with slash": func(_ *tufroot.Config, _ *tufroot.Keys, ts *[]trust.Target) { (*ts)[0].Name = "../x" },
		"target twice":      func(_ *tufroot.Config, _ *tufroot.Keys, ts *[]trust.Target) { (*ts)[0].Name = "rekor.pub" },
	} {
		cfg, k, targets := c.cfg(filepath.Join(t.TempDir(), "tuf")), newKeys(t), targetsOf("one")
		change(&cfg, &k, &targets)
		if _, err := tufroot.Create(cfg, k, targets); err == nil {
			t.Errorf("%s: created", name)
		}
	}
}

func TestOpen(t *testing.T) {
	c, keys := newClock(), newKeys(t)
	r, dir := newRepo(t, c, keys)
	if err := r.RenewRoot(keys.Root); err != nil {
		t.Fatal(err)
	}
	if err := r.RenewRoot(keys.Root); err != nil {
		t.Fatal(err)
	}
	got, err := tufroot.Open(c.cfg(dir))
	if err != nil {
		t.Fatal(err)
	}
	if versions(got) != versions(r) || !bytes.Equal(got.RootJSON(), r.RootJSON()) {
		t.Errorf("got versions %v, want %v and the first root", versions(got), versions(r))
	}
	if data, err := got.Target("trusted_root.json"); err != nil || string(data) != "one" {
		t.Errorf("target: got %q, %v; want one", data, err)
	}
	if _, err := got.Target("missing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing target: got %v, want fs.ErrNotExist", err)
	}
	if _, err := tufroot.Open(c.cfg(t.TempDir())); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("empty directory: got %v, want fs.ErrNotExist", err)
	}
	for _, name := range []string{"2.root.json", "1.targets.json", "1.snapshot.json", "timestamp.json"} {
		bad := copyDir(t, dir)
		paths := []string{name}
		if name == "timestamp.json" {
			paths = append(paths, ".timestamp.next")
		}
		for _, p := range paths {
			if err := os.Remove(filepath.Join(bad, p)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := tufroot.Open(c.cfg(bad)); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: got %v, want an error that names it", name, err)
		}
	}
}
