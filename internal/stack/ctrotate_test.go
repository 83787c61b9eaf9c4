package stack_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sigstack/internal/admin"
	"sigstack/internal/config"
	"sigstack/internal/stack"
)

// ctVariable makes this test binary prepare and publish a CT log in the directory of
// that name, which nothing serves.
const ctVariable = "STACK_TEST_CT"

// ctFromEnvironment is what the test binary does in place of tests.
func ctFromEnvironment(dir string) {
	opts := options(dir, config.ProfileUp)
	opts.Unpublished = true
	err := offline(context.Background(), opts, func(ctx context.Context) error {
		if err := admin.Dial(dir).Post(ctx, stack.AdminCTLogPrepare, stack.CTLogOrder{}, nil); err != nil {
			return err
		}
		return publishCTLogs(ctx, dir)
	})
	if err != nil {
		panic(err)
	}
}

func prepareCT(t *testing.T, dir string, order stack.CTLogOrder) stack.CTLogDraft {
	t.Helper()
	var draft stack.CTLogDraft
	if err := admin.Dial(dir).Post(t.Context(), stack.AdminCTLogPrepare, order, &draft); err != nil {
		t.Fatal(err)
	}
	return draft
}

// ctStates are the CT logs of a directory whose acts are answered: name, state, place.
func ctStates(t *testing.T, dir string) string {
	t.Helper()
	var list stack.CTLogList
	if err := admin.Dial(dir).Get(t.Context(), stack.AdminCTLogs, &list); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, l := range list.Logs {
		name := l.Prefix
		if !l.Own {
			name = l.URL
		}
		out = append(out, fmt.Sprintf("%s %s %d", name, l.State, l.Asked))
	}
	return strings.Join(out, ", ")
}

func wantCT(t *testing.T, dir, when, want string) {
	t.Helper()
	if got := ctStates(t, dir); got != want {
		t.Errorf("%s: CT logs %s, want %s", when, got, want)
	}
}

// useCT puts a prepared CT log into config.yaml, as the one that is asked first.
func useCT(t *testing.T, dir string, l stack.CTLogStatus) {
	t.Helper()
	edit(t, dir, func(c *config.Config) {
		c.CTLog.First = l.Prefix
		c.CTLog.Shards = append(c.CTLog.Shards, config.CTShard{Key: l.Key, TreeID: l.TreeID, Prefix: l.Prefix})
	})
}

func getSTH(t *testing.T, r running, prefix string) (int, string) {
	t.Helper()
	rec := httptest.NewRecorder()
	r.Handler().ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/"+prefix+"/ct/v1/get-sth", nil))
	return rec.Code, rec.Body.String()
}

// TestCTLogReplaced: a log is prepared, published, waits, is taken, and the one before
// is closed and frozen, while the stack is served. Each act can be repeated.
func TestCTLogReplaced(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	var c clock
	opts := options(dir, config.ProfileUp)
	opts.Now = c.now
	r := start(t, opts)
	first := prepareCT(t, dir, stack.CTLogOrder{})
	if again := prepareCT(t, dir, stack.CTLogOrder{Prefix: "ct2"}); again.Log != first.Log || !slices.Equal(again.Added, first.Added) || len(first.Added) != 1 {
		t.Errorf("prepared %+v, then %+v", first.Log, again.Log)
	}
	wantCT(t, dir, "prepared", "ctlog active 1, ct2 preparing 0")
	var refused *admin.RefusedError
	if err := admin.Dial(dir).Post(t.Context(), stack.AdminCTLogPrepare, stack.CTLogOrder{Prefix: "ct2", NotAfterLimit: "2099-01-01T00:00:00Z"}, nil); !asRefused(err, &refused) {
		t.Errorf("the same prefix for another time: %v, want it refused", err)
	}
	useCT(t, dir, first.Log)
	if _, err := reloaded(t, dir); err == nil || !strings.Contains(err.Error(), "ctlog.shards[0]: clients do not know the CT log http://stack.test:8080/ct2 yet: run `sigstack ctlog publish") {
		t.Errorf("reload before it is published: %v, want it refused", err)
	}
	for range 2 {
		if err := publishCTLogs(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
	}
	if draft := prepareCT(t, dir, stack.CTLogOrder{}); draft.Log.State != stack.CTLogPrepared || draft.Targets != nil {
		t.Errorf("prepared once more: %+v, want the log that is published", draft)
	}
	got, err := reloaded(t, dir)
	if err != nil || len(got.Waiting) != 1 || !strings.Contains(got.Waiting[0], "/ct2 has not had time") || len(got.Changed)+len(got.NeedsRestart) > 0 {
		t.Errorf("reload before its time: %+v, %v, want that it waits", got, err)
	}
	wantCT(t, dir, "before its time", "ctlog active 1, ct2 prepared 0")
	if code, _ := getSTH(t, r, "ct2"); code != http.StatusNotFound {
		t.Errorf("before its time the log answers %d", code)
	}
	c.add(time.Minute)
	r.LookAtFiles(t.Context())
	wantCT(t, dir, "at its time", "ctlog active 2, ct2 active 1")
	if code, body := getSTH(t, r, "ct2"); code != http.StatusOK {
		t.Errorf("the log answers %d %s", code, body)
	}
	state := func(state, want string) {
		t.Helper()
		edit(t, dir, func(c *config.Config) { c.CTLog.State = state })
		if got, err := reloaded(t, dir); err != nil || len(got.Changed) == 0 || len(got.NeedsRestart)+len(got.Waiting) > 0 {
			t.Errorf("state %q: %+v, %v", state, got, err)
		}
		wantCT(t, dir, "state "+state, want)
	}
	state(config.CTReadOnly, "ctlog readonly 0, ct2 active 1")
	state("", "ctlog active 2, ct2 active 1")
	state(config.CTFrozen, "ctlog frozen 0, ct2 active 1")
	_, head := getSTH(t, r, "ctlog")
	edit(t, dir, func(c *config.Config) { c.CTLog.State = "" })
	if _, err := reloaded(t, dir); err == nil || !strings.Contains(err.Error(), "ctlog.state: the CT log http://stack.test:8080/ctlog was frozen, and stays so") {
		t.Errorf("thawed: %v, want it refused", err)
	}
	edit(t, dir, func(c *config.Config) { c.CTLog.State = config.CTFrozen })
	if next := prepareCT(t, dir, stack.CTLogOrder{}); next.Log.Prefix != "ct3" {
		t.Errorf("the next log is %+v, want ct3", next.Log)
	}
	end(t, r)
	r = start(t, opts)
	wantCT(t, dir, "after a start", "ctlog frozen 0, ct2 active 1, ct3 preparing 0")
	if _, again := getSTH(t, r, "ctlog"); again != head {
		t.Errorf("after a start the frozen log has the head %s, want %s", again, head)
	}
	edit(t, dir, func(c *config.Config) { c.CTLog.Shards, c.CTLog.First, c.CTLog.State = nil, "", "" })
	if _, err := reloaded(t, dir); err == nil || !strings.Contains(err.Error(), "the published CT log http://stack.test:8080/ct2 is missing") {
		t.Errorf("taken out: %v, want it refused", err)
	}
}

func asRefused(err error, into **admin.RefusedError) bool { return errors.As(err, into) }

// TestCTLogWaitsAcrossStarts: a published log that config.yaml does not have yet, or
// has too early, and in whose favour the one before is closed, leaves a stack that
// starts, and issues with what every client knows.
func TestCTLogWaitsAcrossStarts(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	var c clock
	opts := options(dir, config.ProfileUp)
	opts.Now = c.now
	r := start(t, opts)
	log := prepareCT(t, dir, stack.CTLogOrder{}).Log
	if err := publishCTLogs(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	end(t, r)
	end(t, start(t, opts)) // config.yaml does not have it
	useCT(t, dir, log)
	edit(t, dir, func(c *config.Config) { c.CTLog.State = config.CTFrozen })
	path := stack.Layout{Dir: dir}.CTLogs() // it waits longer than this test lasts
	late := regexp.MustCompile(`"distributed": "[^"]*"`).ReplaceAllString(readFile(t, path), `"distributed": "`+time.Now().Add(time.Hour).UTC().Format(time.RFC3339)+`"`)
	if err := os.WriteFile(path, []byte(late), 0o600); err != nil {
		t.Fatal(err)
	}
	r = start(t, opts)
	wantCT(t, dir, "too early", "ctlog active 1, ct2 active 0")
	c.add(2 * time.Hour)
	r.LookAtFiles(t.Context())
	wantCT(t, dir, "at its time", "ctlog frozen 0, ct2 active 1")
}

// TestPrepareCTSurvivesKill kills a prepare with its publication as soon as it has made
// each of the things on its way. The stack can be served after each, and the next
// prepare and publication make what is missing, once.
func TestPrepareCTSurvivesKill(t *testing.T) {
	for _, made := range []string{"admin.sock", "keys/ctlog-ct2.key", "ctlogs.json", "tuf/2.targets.json", "tuf/2.snapshot.json"} {
		t.Run(strings.ReplaceAll(made, "/", "-"), func(t *testing.T) {
			t.Parallel()
			dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), ctVariable+"="+dir)
			killWhenMade(t, cmd, filepath.Join(dir, made))
			var c clock
			opts := options(dir, config.ProfileUp)
			opts.Now = c.now
			r := start(t, opts)
			log := prepareCT(t, dir, stack.CTLogOrder{}).Log
			if err := publishCTLogs(t.Context(), dir); err != nil {
				t.Fatal(err)
			}
			wantCT(t, dir, "gone on with", "ctlog active 1, ct2 prepared 0")
			useCT(t, dir, log)
			c.add(time.Minute)
			if got, err := reloaded(t, dir); err != nil || len(got.Waiting) > 0 {
				t.Errorf("reload: %+v, %v", got, err)
			}
			wantCT(t, dir, "used", "ctlog active 2, ct2 active 1")
			end(t, r)
		})
	}
}

// TestCTPublicationIsNotedAtTheNextStart: the key is out, and the process ended before
// it could say so. From then on the key has its time to reach clients.
func TestCTPublicationIsNotedAtTheNextStart(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	r := start(t, options(dir, config.ProfileUp))
	prepareCT(t, dir, stack.CTLogOrder{})
	path := stack.Layout{Dir: dir}.CTLogs()
	unnoted := readFile(t, path)
	if err := publishCTLogs(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	end(t, r)
	if err := os.WriteFile(path, []byte(unnoted), 0o600); err != nil {
		t.Fatal(err)
	}
	began := time.Now().Truncate(time.Second)
	serve(t, options(dir, config.ProfileUp))
	var list stack.CTLogList
	if err := admin.Dial(dir).Get(t.Context(), stack.AdminCTLogs, &list); err != nil {
		t.Fatal(err)
	}
	if l := list.Logs[1]; l.State != stack.CTLogPrepared || l.Published.Before(began) || !l.Distributed.After(l.Published) {
		t.Errorf("log %+v, want it published at the start, %v", l, began)
	}
}

// FuzzCTLogs: what is taken is written again as the same.
func FuzzCTLogs(f *testing.F) {
	f.Add([]byte(`{"version":1,"logs":[]}`))
	f.Add([]byte(`{"version":1,"logs":[{"url":"https://a/ct2","key":"AAAA","start":"2026-01-01T00:00:00Z","own":{"prefix":"ct2","key":"ctlog-ct2","tree_id":"5"},"published":"2026-03-01T12:00:00Z","distributed":"2026-03-02T12:00:00Z","used":"2026-03-03T12:00:00Z"},{"url":"https://b/log","key":"AAAB","start":"2026-01-01T00:00:00Z","end":"2027-01-01T00:00:00Z"}]}`))
	f.Add([]byte(`{"version":1,"logs":[{"url":"https://a/ct2","key":"AAAA","start":"2026-01-01T00:00:00Z","own":{"prefix":"ct3","key":"ctlog-ct2","tree_id":"5"}}]}`))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		once, err := stack.CheckCTLogs(dir, data)
		if err != nil {
			return
		}
		again, err := stack.CheckCTLogs(dir, once)
		if err != nil || !bytes.Equal(once, again) {
			t.Errorf("%q was taken, and written as %q, then %q, %v", data, once, again, err)
		}
	})
}

// TestCTLogOfOthersWhileServing: a log of others that config.yaml names is published,
// waits, is asked, and is retired, while the stack is served.
func TestCTLogOfOthersWhileServing(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	other := otherLog(t, dir)
	edit(t, dir, func(c *config.Config) { c.CA.CTLogs = []config.CTClient{other, {Own: true}} })
	text := readFile(t, filepath.Join(dir, "config.yaml"))
	publishCT(t, dir) // it answers nobody: no process that serves would publish it
	edit(t, dir, func(c *config.Config) { c.CA.CTLogs = nil })
	var c clock
	opts := options(dir, config.ProfileUp)
	opts.Now = c.now
	r := start(t, opts)
	wantCT(t, dir, "not in config.yaml", "ctlog active 1, https://ct.example/log prepared 0")
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := reloaded(t, dir); err != nil || len(got.Changed) != 1 || len(got.NeedsRestart)+len(got.Waiting) > 0 {
		t.Errorf("reload: %+v, %v, want that the CA asks it", got, err)
	}
	wantCT(t, dir, "added", "ctlog active 2, https://ct.example/log active 1")
	edit(t, dir, func(c *config.Config) { c.CA.CTLogs[0].Retired = true })
	if got, err := reloaded(t, dir); err != nil || len(got.Changed) != 1 {
		t.Errorf("reload: %+v, %v, want that the CA asks it no more", got, err)
	}
	wantCT(t, dir, "retired", "ctlog active 1, https://ct.example/log retired 0")
	edit(t, dir, func(c *config.Config) { c.CA.CTLogs = nil })
	if _, err := reloaded(t, dir); err == nil || !strings.Contains(err.Error(), "the published CT log https://ct.example/log is missing") {
		t.Errorf("taken out: %v, want it refused", err)
	}
	end(t, r)
}
