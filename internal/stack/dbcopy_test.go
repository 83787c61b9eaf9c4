package stack_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"sigstack/internal/admin"
	"sigstack/internal/config"
	"sigstack/internal/durable"
	"sigstack/internal/fault"
	"sigstack/internal/pgtest"
	"sigstack/internal/signing"
	"sigstack/internal/stack"
)

// twoShards makes a stopped stack whose transparency log has a frozen shard, one that
// takes entries, and one that is prepared.
func twoShards(t *testing.T) (dir string, opts stack.Options) {
	t.Helper()
	dir = initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	var c clock
	opts = options(dir, config.ProfileUp)
	opts.Now = c.now
	r := start(t, opts)
	prepareShard(t, dir)
	c.add(10 * time.Second)
	if err := admin.Dial(dir).Post(t.Context(), stack.AdminShardActivate, nil, nil); err != nil {
		t.Fatal(err)
	}
	prepareShard(t, dir)
	r.end(t)
	for range 3 {
		runUntilReady(t, opts) // whose start adds entries
	}
	return dir, opts
}

// end stops a stack and waits for it.
func (r running) end(t *testing.T) {
	t.Helper()
	r.stop()
	if err := <-r.done; err != nil {
		t.Fatal(err)
	}
}

// logOf reads the transparency log of a stopped stack, wherever it is.
func logOf(t *testing.T, dir string) (all []signing.LogEntry) {
	t.Helper()
	log, err := stack.OpenStoppedLog(t.Context(), dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	}()
	for i := 0; ; i++ {
		e, err := log.Get(t.Context(), fmt.Sprint(i), 0)
		if errors.Is(err, signing.ErrNoEntry) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
}

func writeURL(t *testing.T, url string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "url")
	if err := os.WriteFile(file, []byte(url+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func mustCopyDatabase(t *testing.T, o stack.CopyOrder) stack.DatabaseCopy {
	t.Helper()
	done, err := stack.CopyDatabase(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// TestCopyDatabaseThereAndBack moves logs with shards, serves them, and moves them back.
func TestCopyDatabaseThereAndBack(t *testing.T) {
	dir, opts := twoShards(t)
	before := logOf(t, dir)
	_, db := pgtest.Start(t)
	to := stack.CopyOrder{Dir: dir, To: stack.InitDatabase{URLFile: writeURL(t, db.URL), Schema: "acme"}, Now: opts.Now}
	there := mustCopyDatabase(t, to)
	var words []string
	for _, log := range there.Logs {
		words = append(words, fmt.Sprintf("%s %v", log.Name, log.Frozen))
	}
	if got, want := strings.Join(words, ", "), "ctlog false, tlog true, tlog-2 false, tlog-3 true"; !sameWords(got, want) {
		t.Errorf("copied %s, want %s", got, want)
	}
	if conf, err := config.Load(stack.Layout{Dir: dir}.Config()); err != nil || conf.Database == nil || conf.Database.Schema != "acme" {
		t.Fatalf("configuration: %+v, %v, want it to name the database", conf, err)
	}
	if after := logOf(t, dir); !reflect.DeepEqual(after, before) {
		t.Errorf("entries differ:\n%+v\n%+v", after, before)
	}
	if _, err := stack.CopyDatabase(t.Context(), to); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("again: got %v", err)
	}
	runUntilReady(t, opts)
	grown := logOf(t, dir)
	if len(grown) <= len(before) {
		t.Fatalf("%d entries after a start, want more than %d", len(grown), len(before))
	}

	back := stack.CopyOrder{Dir: dir, Now: opts.Now}
	mustCopyDatabase(t, back)
	if after := logOf(t, dir); !reflect.DeepEqual(after, grown) {
		t.Errorf("entries differ:\n%+v\n%+v", after, grown)
	}
	report, err := stack.CheckLogs(t.Context(), stack.LogCheck{Dir: dir, Limit: 10})
	if err != nil || report.Count != 0 {
		t.Errorf("check of the logs: %+v, %v", report, err)
	}
	if n := pgtest.Value[int](t, db, "SELECT count(*) FROM acme_tlog.Trees WHERE TreeState <> 'FROZEN' OR DisplayName NOT LIKE '%(moved)'"); n != 0 {
		t.Errorf("%d logs that were left in the database take entries", n)
	}
	runUntilReady(t, opts)
}

// TestCopyDatabaseIsInterrupted ever later: the stack stays where it is until the copy
// comes to its end, and entries that it took meanwhile are copied too.
func TestCopyDatabaseIsInterrupted(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	_, db := pgtest.Start(t)
	o := stack.CopyOrder{Dir: dir, To: stack.InitDatabase{URLFile: writeURL(t, db.URL)}, Now: time.Now}
	for steps := 1; ; steps += 4 {
		if steps > 60 {
			t.Fatal("a copy of two logs takes more than 60 steps")
		}
		runUntilReady(t, options(dir, config.ProfileUp))
		ctx, cancel := context.WithCancel(t.Context())
		o.Progress = func(string, uint64, uint64) {
			if steps--; steps == 0 {
				cancel()
			}
		}
		left := steps
		done, err := stack.CopyDatabase(ctx, o)
		cancel()
		steps = left
		if err == nil {
			if len(done.Logs) != 2 || steps == 1 {
				t.Errorf("after %d steps: got %+v", steps, done)
			}
			break
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("after %d steps: %v", steps, err)
		}
	}
	runUntilReady(t, options(dir, config.ProfileUp))
}

// TestCopyDatabaseBackIsCutOffAtTheEnd between the logs that are left behind and the
// configuration: nobody can write to a log in two places, and another run finishes.
func TestCopyDatabaseBackIsCutOffAtTheEnd(t *testing.T) {
	_, db := pgtest.Start(t)
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp, Database: stack.InitDatabase{URLFile: writeURL(t, db.URL)}})
	opts := options(dir, config.ProfileUp)
	runUntilReady(t, opts)
	before := logOf(t, dir)
	file := stack.Layout{Dir: dir}.Config()
	elsewhere := filepath.Join(t.TempDir(), "config.yaml") // which SetDatabase leaves alone
	for _, err := range []error{os.Rename(file, elsewhere), os.Symlink(elsewhere, file)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	back := stack.CopyOrder{Dir: dir, Now: time.Now}
	if _, err := stack.CopyDatabase(t.Context(), back); err == nil || !strings.Contains(err.Error(), "is a link") {
		t.Fatalf("got %v, want the configuration refused", err)
	}
	if s, err := stack.Open(t.Context(), opts); err == nil || !strings.Contains(err.Error(), "takes entries") {
		t.Errorf("a stack whose logs were left behind: got %v, %v", s, err)
	}
	for _, err := range []error{os.Remove(file), os.Rename(elsewhere, file)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	mustCopyDatabase(t, back)
	if after := logOf(t, dir); !reflect.DeepEqual(after, before) {
		t.Errorf("entries differ:\n%+v\n%+v", after, before)
	}
	runUntilReady(t, opts)
}

func sameWords(a, b string) bool {
	x, y := map[string]bool{}, map[string]bool{}
	for _, w := range strings.Split(a, ", ") {
		x[w] = true
	}
	for _, w := range strings.Split(b, ", ") {
		y[w] = true
	}
	return reflect.DeepEqual(x, y)
}

// TestCopyDatabaseRefuses what it could do harm with.
func TestCopyDatabaseRefuses(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	_, db := pgtest.Start(t)
	url := writeURL(t, db.URL)
	wants := func(what string, o stack.CopyOrder, want string) {
		t.Helper()
		if done, err := stack.CopyDatabase(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %+v, %v, want %q", what, done, err, want)
		}
		if conf, err := config.Load(stack.Layout{Dir: dir}.Config()); err != nil || conf.Database != nil {
			t.Fatalf("%s: configuration is %+v, %v", what, conf.Database, err)
		}
	}
	to := stack.CopyOrder{Dir: dir, To: stack.InitDatabase{URLFile: url}, Now: time.Now}
	wants("to where it is", stack.CopyOrder{Dir: dir, Now: time.Now}, "already")
	wants("a schema that is none", stack.CopyOrder{Dir: dir, To: stack.InitDatabase{URLFile: url, Schema: "No"}, Now: time.Now}, "schema")

	other := initDir(t, stack.InitConfig{Profile: config.ProfileUp, URL: "http://other.test:8080"})
	mustCopyDatabase(t, stack.CopyOrder{Dir: other, To: stack.InitDatabase{URLFile: url}, Now: time.Now})
	wants("over another stack's", to, "another stack's")
	same := initDir(t, stack.InitConfig{Profile: config.ProfileUp, URL: "http://other.test:8080"})
	if _, err := stack.CopyDatabase(t.Context(), stack.CopyOrder{Dir: same, To: stack.InitDatabase{URLFile: url}, Now: time.Now}); fault.KindOf(err) != fault.Conflict {
		t.Errorf("over another stack's of the same URL: got %v", err)
	}

	r := start(t, options(dir, config.ProfileUp))
	if _, err := stack.CopyDatabase(t.Context(), to); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("of a stack that is served: got %v", err)
	}
	r.end(t)

	// A process that somebody forgot, on another machine.
	forgotten := start(t, options(other, config.ProfileUp))
	if err := os.Remove(filepath.Join(other, "lock")); err != nil {
		t.Fatal(err)
	}
	if _, err := stack.CopyDatabase(t.Context(), stack.CopyOrder{Dir: other, Now: time.Now}); err == nil || !strings.Contains(err.Error(), "other connections use schema") {
		t.Errorf("of a database that is used: got %v", err)
	}
	forgotten.end(t)
}
