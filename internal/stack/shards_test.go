package stack_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sigstack/internal/admin"
	"sigstack/internal/config"
	"sigstack/internal/keys"
	"sigstack/internal/stack"
	"sigstack/internal/trust"
	tufroot "sigstack/tuf-root"
)

// clock is one that tests move on.
type clock struct {
	mu   sync.Mutex
	move time.Duration // guarded by mu
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.move)
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.move += d
}

// targetsKey is the key of a test stack's targets role.
func targetsKey(t *testing.T, dir string) keys.Key {
	t.Helper()
	key, err := keys.Open(filepath.Join(dir, "offline"), nil).Load("tuf-targets")
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// prepareShard prepares and publishes the next shard of a served directory.
func prepareShard(t *testing.T, dir string) stack.ShardStatus {
	t.Helper()
	var draft stack.ShardDraft
	if err := admin.Dial(dir).Post(t.Context(), stack.AdminShardPrepare, stack.ShardOrder{}, &draft); err != nil {
		t.Fatal(err)
	}
	signed, err := tufroot.SignTargets(draft.Targets, targetsKey(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	var st stack.ShardStatus
	if err := admin.Dial(dir).Post(t.Context(), stack.AdminShardPublish, stack.SignedTargets{Targets: signed}, &st); err != nil {
		t.Fatal(err)
	}
	return st
}

func shards(t *testing.T, dir string) stack.ShardList {
	t.Helper()
	var list stack.ShardList
	if err := admin.Dial(dir).Get(t.Context(), stack.AdminShards, &list); err != nil {
		t.Fatal(err)
	}
	return list
}

func states(list stack.ShardList) string {
	var words []string
	for _, s := range list.Shards {
		words = append(words, s.Name+" "+s.State)
	}
	return strings.Join(words, ", ")
}

// rootLogs returns the transparency logs of a directory's trusted root.
func rootLogs(t *testing.T, dir string) []trust.KnownLog {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "client", trust.TrustedRootName))
	if err != nil {
		t.Fatal(err)
	}
	root, err := trust.ParseTrustedRoot(data)
	if err != nil {
		t.Fatal(err)
	}
	return root.TLogs
}

// TestShardWhileServing: prepared, refused before its time, activated, served on,
// restarted, and again.
func TestShardWhileServing(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	var c clock
	opts := options(dir, config.ProfileUp)
	opts.Now = c.now
	r := start(t, opts)
	if got := states(shards(t, dir)); got != "tlog active" {
		t.Fatalf("shards %s, want one", got)
	}
	refused := func(path string, in any, want string) {
		t.Helper()
		var refusal *admin.RefusedError
		if err := admin.Dial(dir).Post(t.Context(), path, in, nil); !errors.As(err, &refusal) || refusal.Status != http.StatusConflict || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want a conflict that says %q", path, err, want)
		}
	}
	refused(stack.AdminShardActivate, nil, "prepare")
	refused(stack.AdminShardPublish, stack.SignedTargets{}, "prepare")
	oldPub := readFile(t, filepath.Join(dir, "client", "rekor.pub"))
	st := prepareShard(t, dir)
	if st.State != stack.ShardPrepared || !st.Distributed.After(st.Published) {
		t.Errorf("prepared %+v", st)
	}
	if logs := rootLogs(t, dir); len(logs) != 2 || logs[0].BaseURL != logs[1].BaseURL || logs[0].ID == logs[1].ID {
		t.Errorf("trusted root has logs %+v, want two of one URL", logs)
	}
	if readFile(t, filepath.Join(dir, "client", "rekor.pub")) != oldPub {
		t.Error("rekor.pub is the key of a shard that takes no entries yet")
	}
	refused(stack.AdminShardPrepare, stack.ShardOrder{}, "prepared already")
	refused(stack.AdminShardActivate, nil, "left")
	c.add(10 * time.Second)
	var got stack.ActivatedShard
	if err := admin.Dial(dir).Post(t.Context(), stack.AdminShardActivate, nil, &got); err != nil {
		t.Fatal(err)
	}
	if got.Frozen.Size == 0 || got.Active.First != got.Frozen.Size || got.Active.Size != 0 {
		t.Errorf("activated %+v, want that it follows the other", got)
	}
	if readFile(t, filepath.Join(dir, "client", "rekor.pub")) == oldPub {
		t.Error("rekor.pub is not the key of the shard that takes entries")
	}
	wantRecord(t, dir, `"action":"admin.log-shard-activate","outcome":"ok"`, `"shard":"tlog-2"`, `"frozen":"tlog"`)
	wantRecord(t, dir, `"action":"admin.log-shard-activate","outcome":"refused"`)
	var anchored stack.AuditStatus
	if err := admin.Dial(dir).Post(t.Context(), stack.AdminAnchor, nil, &anchored); err != nil {
		t.Errorf("anchor in the new shard: %v", err)
	}
	if size := shards(t, dir).Shards[1].Size; size != 1 {
		t.Errorf("the new shard has %d entries, want the anchor", size)
	}
	prepareShard(t, dir)
	if got := states(shards(t, dir)); got != "tlog frozen, tlog-2 active, tlog-3 prepared" {
		t.Errorf("shards %s", got)
	}
	before := shards(t, dir)
	r.stop()
	if err := <-r.done; err != nil {
		t.Fatal(err)
	}
	c.add(10 * time.Second)
	r = start(t, opts) // its self-test adds an entry
	after := shards(t, dir)
	if states(after) != states(before) || after.Shards[0] != before.Shards[0] || after.Shards[1].Size <= before.Shards[1].Size {
		t.Errorf("after a restart %+v, before %+v", after, before)
	}
	if err := admin.Dial(dir).Post(t.Context(), stack.AdminShardActivate, nil, &got); err != nil || got.Active.Name != "tlog-3" {
		t.Errorf("activated %+v, %v, want tlog-3", got, err)
	}
	if code, rep := r.report(t); code != http.StatusOK {
		t.Errorf("readiness %d %+v", code, rep)
	}
}

// TestOtherTargetsAreNotPublished: signed metadata without the key of the next
// shard is refused, and the key does not count as published.
func TestOtherTargetsAreNotPublished(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	serve(t, options(dir, config.ProfileUp))
	var draft stack.ShardDraft
	if err := admin.Dial(dir).Post(t.Context(), stack.AdminShardPrepare, stack.ShardOrder{}, &draft); err != nil {
		t.Fatal(err)
	}
	first := readFile(t, filepath.Join(dir, "tuf", "1.targets.json"))
	again := strings.Replace(first, `"version": 1`, `"version": 2`, 1)
	signed, err := tufroot.SignTargets([]byte(again), targetsKey(t, dir))
	if err != nil || again == first {
		t.Fatalf("targets of version 2: %v\n%s", err, again)
	}
	var refusal *admin.RefusedError
	err = admin.Dial(dir).Post(t.Context(), stack.AdminShardPublish, stack.SignedTargets{Targets: signed}, nil)
	if !errors.As(err, &refusal) || refusal.Status != http.StatusConflict || !strings.Contains(err.Error(), "prepare the shard again") {
		t.Errorf("targets without the key: got %v, want a conflict", err)
	}
	if got := states(shards(t, dir)); got != "tlog active, tlog-2 preparing" {
		t.Errorf("shards %s, want that the next is not published", got)
	}
	if st := prepareShard(t, dir); st.State != stack.ShardPrepared {
		t.Errorf("prepared %+v", st)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
