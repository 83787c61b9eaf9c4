package stack_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sigstack/internal/admin"
	"sigstack/internal/config"
	"sigstack/internal/httpd"
	"sigstack/internal/keys"
	"sigstack/internal/keys/kmstest"
	"sigstack/internal/stack"
	tufroot "sigstack/tuf-root"
)

// shardVariable makes this test binary prepare the next shard of the directory of
// that name, which nothing serves.
const shardVariable = "STACK_TEST_SHARD"

// shardFromEnvironment is what the test binary does in place of tests.
func shardFromEnvironment(dir string) {
	if err := offline(context.Background(), options(dir, config.ProfileUp), func(ctx context.Context) error { return prepareOffline(ctx, dir) }); err != nil {
		panic(err)
	}
}

// offline does acts on a directory that nothing serves.
func offline(ctx context.Context, opts stack.Options, do func(context.Context) error) error {
	var err error
	if opts.Listener, err = new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
		return err
	}
	s, err := stack.Open(ctx, opts)
	if err != nil {
		return err
	}
	return s.RunActs(ctx, do)
}

// prepareOffline prepares and publishes the next shard of a test stack.
func prepareOffline(ctx context.Context, dir string) error {
	key, err := stack.TargetsKey(filepath.Join(dir, "offline"), nil, keys.Devices{})
	if err != nil {
		return err
	}
	var draft stack.ShardDraft
	if err := admin.Dial(dir).Post(ctx, stack.AdminShardPrepare, stack.ShardOrder{}, &draft); err != nil {
		return err
	}
	signed, err := draft.Sign(stack.Layout{Dir: dir}, key, time.Now())
	if err != nil {
		return err
	}
	return admin.Dial(dir).Post(ctx, stack.AdminShardPublish, signed, nil)
}

// TestPrepareSurvivesKill kills a prepare as soon as it has made each of the
// things on its way. The stack can be served after each, with one shard that takes
// entries, and the next prepare makes what is missing.
func TestPrepareSurvivesKill(t *testing.T) {
	for _, made := range []string{"admin.sock", "keys/tlog-2.key", "shards.json", "tuf/2.targets.json", "tuf/2.snapshot.json"} {
		t.Run(strings.ReplaceAll(made, "/", "-"), func(t *testing.T) {
			t.Parallel()
			dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), shardVariable+"="+dir)
			killWhenMade(t, cmd, filepath.Join(dir, made))
			var c clock
			opts := options(dir, config.ProfileUp)
			opts.Now = c.now
			r := start(t, opts)
			list := shards(t, dir)
			if list.Shards[0].State != stack.ShardActive || len(list.Shards) > 2 {
				t.Fatalf("shards %+v, want that the first takes entries", list)
			}
			if last := list.Shards[len(list.Shards)-1]; last.State != stack.ShardPrepared {
				if got := prepareShard(t, dir); got.Name != "tlog-2" || got.State != stack.ShardPrepared {
					t.Errorf("prepared again: %+v", got)
				}
			}
			if logs := rootLogs(t, dir); len(logs) != 2 {
				t.Errorf("trusted root has %d logs, want 2", len(logs))
			}
			c.add(time.Minute)
			if err := admin.Dial(dir).Post(t.Context(), stack.AdminShardActivate, nil, nil); err != nil {
				t.Error(err)
			}
			end(t, r)
		})
	}
}

// TestPublicationIsNotedAtTheNextStart: the key is out, and the process ended
// before it could say so. From then on the key has its time to reach clients.
func TestPublicationIsNotedAtTheNextStart(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	if err := offline(t.Context(), options(dir, config.ProfileUp), func(ctx context.Context) error { return prepareOffline(ctx, dir) }); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "shards.json")
	noted := readFile(t, file)
	forgotten := regexp.MustCompile(`,\s*"published": "[^"]*",\s*"distributed": "[^"]*"`).ReplaceAllString(noted, "")
	if forgotten == noted {
		t.Fatalf("%s does not tell when the key was published", noted)
	}
	if err := os.WriteFile(file, []byte(forgotten), 0o600); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	serve(t, options(dir, config.ProfileUp))
	if last := shards(t, dir).Shards[1]; last.State != stack.ShardPrepared || last.Published.Before(began.Add(-time.Second)) {
		t.Errorf("shard %+v, want it published at the start, %v", last, began)
	}
}

// TestShardsThatDoNotFit: a list and a database that are not of one moment are
// refused, and the error says which to restore.
func TestShardsThatDoNotFit(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	file := filepath.Join(dir, "shards.json")
	var c clock
	opts := options(dir, config.ProfileUp)
	opts.Now = c.now
	contents := []string{""}
	for range 2 {
		err := offline(t.Context(), opts, func(ctx context.Context) error {
			if err := prepareOffline(ctx, dir); err != nil {
				return err
			}
			c.add(time.Minute)
			return admin.Dial(dir).Post(ctx, stack.AdminShardActivate, nil, nil)
		})
		if err != nil {
			t.Fatal(err)
		}
		contents = append(contents, readFile(t, file))
	}
	whole := contents[2]
	for name, tt := range map[string]struct{ content, want string }{
		"missing":         {"", "no shard of the log takes entries"},
		"older":           {contents[1], "no shard of the log takes entries"},
		"another tree":    {regexp.MustCompile(`"tree_id": "\d+"`).ReplaceAllString(whole, `"tree_id": "12345"`), "shard tlog-2: look at tree 12345"},
		"another key":     {strings.ReplaceAll(whole, `"key": "tlog-3"`, `"key": "ctlog"`), "does not match"},
		"no such key":     {strings.ReplaceAll(whole, `"key": "tlog-3"`, `"key": "gone"`), "load key gone"},
		"not read":        {"{}", "read shards"},
		"newer format":    {strings.Replace(whole, `"version": 1`, `"version": 2`, 1), "version 2, this program reads 1"},
		"another's shard": {strings.Replace(whole, `"tlog-3"`, `"tlog-7"`, 1), "want tlog-3"},
	} {
		if err := os.WriteFile(file, []byte(tt.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if tt.content == "" {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		}
		s, err := stack.Open(t.Context(), opts)
		if err == nil {
			err = s.Close()
			t.Errorf("%s: opened (%v), want it refused", name, err)
			continue
		}
		if !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
	if err := os.WriteFile(file, []byte(whole), 0o600); err != nil {
		t.Fatal(err)
	}
	serve(t, opts)
	if got := states(shards(t, dir)); got != "tlog frozen, tlog-2 frozen, tlog-3 active" {
		t.Errorf("shards %s", got)
	}
}

// TestShardWaitsForTheLifeOfATimestamp, in an operator's stack.
func TestShardWaitsForTheLifeOfATimestamp(t *testing.T) {
	passphrase := []byte("correct horse")
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileServe, Passphrase: passphrase, OfflinePassphrase: []byte("battery staple")})
	var c clock
	opts := options(dir, config.ProfileServe)
	opts.Now, opts.Passphrase = c.now, passphrase
	serve(t, opts)
	key, err := stack.TargetsKey(filepath.Join(dir, "offline"), []byte("battery staple"), keys.Devices{})
	if err != nil {
		t.Fatal(err)
	}
	var draft stack.ShardDraft
	if err := admin.Dial(dir).Post(t.Context(), stack.AdminShardPrepare, stack.ShardOrder{}, &draft); err != nil {
		t.Fatal(err)
	}
	other, err := keys.Ephemeral("other", keys.ECDSAP256, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	forged, err := tufroot.SignTargets(draft.Targets, other)
	if err != nil {
		t.Fatal(err)
	}
	if err := admin.Dial(dir).Post(t.Context(), stack.AdminShardPublish, stack.SignedTargets{Targets: forged}, nil); err == nil || !strings.Contains(err.Error(), "not signed with the root's targets key") {
		t.Errorf("published with another key: %v, want it refused", err)
	}
	signed, err := draft.Sign(stack.Layout{Dir: dir}, key, c.now())
	if err != nil {
		t.Fatal(err)
	}
	// No name leads to this stack, and that is known.
	p := stack.Publication{Targets: signed.Targets, Unchecked: []string{"public-url"}}
	if err := admin.Dial(dir).Post(t.Context(), stack.AdminShardPublish, p, nil); err != nil {
		t.Fatal(err)
	}
	activate := func() error { return admin.Dial(dir).Post(t.Context(), stack.AdminShardActivate, nil, nil) }
	for _, wait := range []time.Duration{0, 23*time.Hour + 58*time.Minute} {
		c.add(wait)
		var refused *admin.RefusedError
		if err := activate(); !errors.As(err, &refused) || refused.Status != http.StatusConflict || !strings.Contains(err.Error(), "left, until") {
			t.Errorf("activated %v later: %v, want it refused", wait, err)
		}
	}
	c.add(2 * time.Minute)
	if err := activate(); err != nil {
		t.Error(err)
	}
}

// TestShardKeyElsewhere: the key of a shard in a key service is made there, tried
// before it is used, and looked after from then on, also when its shard is frozen.
func TestShardKeyElsewhere(t *testing.T) {
	service := kmstest.New(t)
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	var c clock
	opts := options(dir, config.ProfileUp)
	opts.KMSPlugins, opts.Now = service.Plugins, c.now
	r := start(t, opts)
	prepare := func(order stack.ShardOrder) (draft stack.ShardDraft, err error) {
		return draft, admin.Dial(dir).Post(t.Context(), stack.AdminShardPrepare, order, &draft)
	}
	if _, err := prepare(stack.ShardOrder{URI: "fake://shard"}); err == nil || !strings.Contains(err.Error(), "no key could be found") {
		t.Errorf("no key there: got %v, want it refused", err)
	}
	draft, err := prepare(stack.ShardOrder{URI: "fake://shard", Create: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := prepare(stack.ShardOrder{URI: "fake://elsewhere"}); err == nil || !strings.Contains(err.Error(), "at another place (fake://shard)") {
		t.Errorf("another place: got %v, want it refused", err)
	}
	signed, err := draft.Sign(stack.Layout{Dir: dir}, targetsKey(t, dir), c.now())
	if err != nil {
		t.Fatal(err)
	}
	if err := admin.Dial(dir).Post(t.Context(), stack.AdminShardPublish, signed, nil); err != nil {
		t.Fatal(err)
	}
	c.add(time.Minute)
	service.Stop(t)
	if err := admin.Dial(dir).Post(t.Context(), stack.AdminShardActivate, nil, nil); err == nil || !strings.Contains(err.Error(), "nothing was activated: the key of shard tlog-2 does not work") {
		t.Errorf("key away: got %v, want it refused", err)
	}
	service.Start(t)
	if err := admin.Dial(dir).Post(t.Context(), stack.AdminShardActivate, nil, nil); err != nil {
		t.Fatal(err)
	}
	away := func() { // and somebody signs
		t.Helper()
		service.Stop(t)
		if err := admin.Dial(dir).Post(t.Context(), "/v1/keys/tlog-2/test", nil, nil); err == nil {
			t.Error("a key that is away signs")
		}
	}
	away()
	eventually(t, "readiness names the key", func() bool {
		_, rep := r.report(t)
		return rep.Services["tlog"] == httpd.ServiceStatus{Status: httpd.Down, Detail: "key tlog-2 is unavailable"}
	})
	service.Start(t)
	eventually(t, "readiness is back", func() bool { code, _ := r.report(t); return code == http.StatusOK })
	end(t, r)
	r = start(t, opts) // which looks after it from the start
	away()
	eventually(t, "readiness names the key after a restart", func() bool {
		_, rep := r.report(t)
		return rep.Services["tlog"].Detail == "key tlog-2 is unavailable"
	})
	service.Start(t)
}

// FuzzShards: what is taken is written again as the same.
func FuzzShards(f *testing.F) {
	f.Add([]byte(`{"version":1,"shards":[]}`))
	f.Add([]byte(`{"version":1,"shards":[{"name":"tlog-2","key":"tlog-2","tree_id":"5","published":"2026-03-01T12:00:00Z","distributed":"2026-03-02T12:00:00Z"},{"name":"tlog-3","key":"k","tree_id":"6"}]}`))
	f.Add([]byte(`{"version":1,"shards":[{"name":"tlog-2","key":"","tree_id":"-5"}]}`))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		once, err := stack.CheckShards(dir, data)
		if err != nil {
			return
		}
		again, err := stack.CheckShards(dir, once)
		if err != nil || !bytes.Equal(once, again) {
			t.Errorf("%q was taken, and written as %q, then %q, %v", data, once, again, err)
		}
	})
}
