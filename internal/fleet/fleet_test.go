package fleet_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"sigstack/internal/fleet"
	"sigstack/internal/pgtest"
)

// patient is how long something may take that takes a moment, on a busy machine.
const patient = 30 * time.Second

func TestFilesFollowTheLeader(t *testing.T) {
	url := migrated(t, pgtest.New(t))
	dirA := founded(t, url)
	dirB := joined(t, url, "b")
	for path, want := range map[string]string{
		"config.yaml": "one", "keys/ca.key": "secret", "policies/ci.yaml": "rules", "chains.json": "{}",
		"db/log": "", "audit/head": "", "client/env.sh": "", "replica.yaml": "", "other.txt": "",
	} {
		if got := read(t, dirB, path); got != want {
			t.Errorf("%s of b is %q, want %q", path, got, want)
		}
	}
	a := start(t, url, "a", dirA, 0)
	a.within(t, patient, "a leads", leads)
	b := start(t, url, "b", dirB, 0)
	b.within(t, patient, "b knows who leads", func(s fleet.State) bool { return s.Leader == "a" && s.LeaderPin == fleet.Pin{'a'} && !s.Fenced })

	write(t, dirA, "config.yaml", "two")
	write(t, dirA, "keys/new.key", "new")
	write(t, dirA, "tuf/timestamp.json", "2")
	write(t, dirA, "tuf/targets/x", "")
	if err := removeAll(dirA, "chains.json"); err != nil {
		t.Fatal(err)
	}
	revision, err := a.Push(t.Context(), map[string][]byte{"tuf/timestamp.json": []byte("3")}, nil)
	if err != nil || revision != 2 {
		t.Fatalf("push: revision %d, %v, want 2", revision, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	if err := a.Await(ctx, revision); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"config.yaml": "two", "config.yaml.replaced": "one", "keys/new.key": "new", "tuf/timestamp.json": "3", "chains.json": "", "keys/ca.key": "secret",
	} {
		if got := read(t, dirB, path); got != want {
			t.Errorf("%s of b is %q, want %q", path, got, want)
		}
	}
	if again, err := a.Push(t.Context(), map[string][]byte{"tuf/timestamp.json": []byte("3")}, nil); err != nil || again != revision {
		t.Errorf("push of nothing: revision %d, %v, want %d", again, err, revision)
	}
	if _, err := b.Push(t.Context(), nil, nil); !errors.Is(err, fleet.ErrDeposed) {
		t.Errorf("push by a follower: %v, want ErrDeposed", err)
	}
	list, err := b.Replicas(t.Context())
	if err != nil || len(list) != 2 || !list[0].Leads || list[1].Leads || !list[1].Alive || list[1].Address != "127.0.0.1:2" {
		t.Errorf("replicas: %+v, %v", list, err)
	}
}

// TestFollowerTakesOver: what the leader had not pushed is nowhere afterwards, there
// neither.
func TestFollowerTakesOver(t *testing.T) {
	url := migrated(t, pgtest.New(t))
	dirA := founded(t, url)
	b := start(t, url, "b", joined(t, url, "b"), 0)
	b.within(t, patient, "b leads", leads)
	a := start(t, url, "a", dirA, 0)
	led := make(chan string, 10)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		_ = a.Lead(ctx, func(ctx context.Context) error {
			led <- "a"
			<-ctx.Done()
			return nil
		})
		close(led)
	}()
	a.within(t, patient, "a follows", func(s fleet.State) bool { return s.Leader == "b" })
	write(t, b.dir, "config.yaml", "pushed")
	if _, err := b.Push(t.Context(), nil, nil); err != nil {
		t.Fatal(err)
	}
	write(t, b.dir, "config.yaml", "never pushed")
	b.stop()
	a.within(t, patient, "a leads", leads)
	if got := <-led; got != "a" {
		t.Errorf("led by %q", got)
	}
	if got := read(t, dirA, "config.yaml"); got != "pushed" {
		t.Errorf("config.yaml of the new leader is %q", got)
	}
	again := start(t, url, "b", b.dir, 0)
	again.within(t, patient, "b follows", serving)
	if got, kept := read(t, b.dir, "config.yaml"), read(t, b.dir, "config.yaml.replaced"); got != "pushed" || kept != "never pushed" {
		t.Errorf("config.yaml of the old leader is %q, kept beside it %q", got, kept)
	}
	cancel()
	if _, more := <-led; more {
		t.Error("led twice")
	}
}

// TestStaleLeaderIsRefused: a leader that stood still, and knows of nothing, is refused
// by the database, and so is one that knows an old revision.
func TestStaleLeaderIsRefused(t *testing.T) {
	url := migrated(t, pgtest.New(t))
	a := start(t, url, "a", founded(t, url), 0)
	a.within(t, patient, "a leads", leads)
	belief := a.Belief()
	dirB := joined(t, url, "b")
	a.stop()
	b := start(t, url, "b", dirB, 0)
	b.within(t, patient, "b leads", leads)

	stale, err := fleet.Open(t.Context(), config(t, url, "a", a.dir, 0))
	if err != nil {
		t.Fatal(err)
	}
	defer stale.Close()
	write(t, a.dir, "config.yaml", "of a stale leader")
	stale.Believe(belief, 1)
	if _, err := stale.Push(t.Context(), nil, nil); !errors.Is(err, fleet.ErrDeposed) {
		t.Errorf("push by a stale leader: %v, want ErrDeposed", err)
	}
	if stale.Leading() {
		t.Error("the stale leader goes on believing that it leads")
	}
	write(t, b.dir, "config.yaml", "of the leader")
	if _, err := b.Push(t.Context(), nil, nil); err != nil {
		t.Fatal(err)
	}
	b.Believe(b.Belief(), 1)
	write(t, b.dir, "config.yaml", "of an old revision")
	if _, err := b.Push(t.Context(), nil, nil); !errors.Is(err, fleet.ErrDeposed) {
		t.Errorf("push after an old revision: %v, want ErrDeposed", err)
	}
	b.within(t, patient, "b leads again, with what the database has", func(s fleet.State) bool {
		return s.Leading && read(t, b.dir, "config.yaml") == "of the leader"
	})
}

func TestGuardsOfTheSchema(t *testing.T) {
	db := pgtest.New(t)
	url := migrated(t, db)
	founded(t, url)
	conn, err := pgx.Connect(t.Context(), db.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context()) //nolint:errcheck // the test has ended
	if _, err := conn.Exec(t.Context(), "SET search_path = "+schema); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		"UPDATE Fleets SET Revision = 0", "UPDATE Fleets SET Term = -1", "UPDATE Files SET Content = 'x', Revision = 7",
	} {
		if _, err := conn.Exec(t.Context(), sql); err == nil || !strings.Contains(err.Error(), "of a fleet") {
			t.Errorf("%s: %v, want it refused", sql, err)
		}
	}
}

func TestAwaitCountsTheLiving(t *testing.T) {
	url := migrated(t, pgtest.New(t))
	dirA := founded(t, url)
	joined(t, url, "never-started")
	a := start(t, url, "a", dirA, 0)
	a.within(t, patient, "a leads", leads)
	// One that gives signs of life and takes nothing.
	lazy, err := fleet.Open(t.Context(), config(t, url, "never-started", t.TempDir(), 2*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer lazy.Close()
	write(t, dirA, "config.yaml", "two")
	revision, err := a.Push(t.Context(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	if err := a.Await(ctx, revision); err != nil {
		t.Errorf("a replica that never ran is waited for: %v", err)
	}
	running, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- lazy.Run(running) }()
	for alive := false; !alive; {
		list, err := a.Replicas(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		alive = list[1].Alive
	}
	short, cancelShort := context.WithTimeout(t.Context(), time.Second)
	defer cancelShort()
	if err := a.Await(short, revision); !errors.Is(err, fleet.ErrBehind) || !strings.Contains(err.Error(), "never-started") {
		t.Errorf("await a replica that is alive and behind: %v, want ErrBehind with its name", err)
	}
	if !lazy.Fenced() {
		t.Error("a replica that has applied nothing yet is not fenced")
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := a.Await(ctx, revision); err != nil {
		t.Errorf("a replica that has stopped is waited for: %v", err)
	}
}

// TestLostDatabase: without it nobody leads, and after the lease nobody signs. It
// comes back and both do.
func TestLostDatabase(t *testing.T) {
	server, db := pgtest.Start(t)
	url := migrated(t, db)
	a := start(t, url, "a", founded(t, url), 3*time.Second)
	a.within(t, patient, "a leads", leads)
	a.within(t, patient, "a serves", serving)
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	a.within(t, patient, "a is fenced", func(s fleet.State) bool { return s.Fenced && !s.Leading })
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	a.within(t, patient, "a leads and serves again", func(s fleet.State) bool { return s.Leading && !s.Fenced })
}

// TestLeaderIsCutOff: without a word to it or to the database.
func TestLeaderIsCutOff(t *testing.T) {
	direct := migrated(t, pgtest.New(t))
	dirA := founded(t, direct)
	way := newLink(t, direct)
	a := start(t, way.url, "a", dirA, 3*time.Second)
	a.within(t, patient, "a leads", leads)
	b := start(t, direct, "b", joined(t, direct, "b"), 3*time.Second)
	b.within(t, patient, "b follows", func(s fleet.State) bool { return s.Leader == "a" && !s.Fenced })
	way.set(true)
	took := b.within(t, patient, "b leads", leads)
	t.Logf("the follower led %v after the cut", took)
	a.within(t, patient, "a is fenced", func(s fleet.State) bool { return s.Fenced && !s.Leading })
	write(t, b.dir, "config.yaml", "two")
	revision, err := b.Push(t.Context(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	if err := b.Await(ctx, revision); err != nil {
		t.Errorf("the replica that is cut off is waited for for ever: %v", err)
	}
	way.set(false)
	a.within(t, patient, "a follows", func(s fleet.State) bool { return s.Leader == "b" && !s.Fenced })
	if got := read(t, dirA, "config.yaml"); got != "two" {
		t.Errorf("a serves with config.yaml %q", got)
	}
}

func TestJoining(t *testing.T) {
	url := migrated(t, pgtest.New(t))
	cfg := config(t, url, "b", t.TempDir(), 0)
	if err := fleet.Fetch(t.Context(), cfg); !errors.Is(err, fleet.ErrEmpty) {
		t.Errorf("fetch of nothing: %v, want ErrEmpty", err)
	}
	if _, err := fleet.Open(t.Context(), cfg); !errors.Is(err, fleet.ErrUnknown) {
		t.Errorf("open before joining: %v, want ErrUnknown", err)
	}
	founded(t, url)
	if err := fleet.Found(t.Context(), cfg, "127.0.0.1:2"); !errors.Is(err, fleet.ErrFounded) {
		t.Errorf("found twice: %v, want ErrFounded", err)
	}
	other := cfg
	other.Name, other.Pin = "a", fleet.Pin{9}
	if err := fleet.Join(t.Context(), other, "127.0.0.1:2"); !errors.Is(err, fleet.ErrTaken) {
		t.Errorf("join under a name that is taken: %v, want ErrTaken", err)
	}
	// Processes of a split stack have nothing in common.
	split := cfg
	split.Process = "log"
	if err := fleet.Fetch(t.Context(), split); !errors.Is(err, fleet.ErrEmpty) {
		t.Errorf("fetch of another process: %v, want ErrEmpty", err)
	}
	empty := pgtest.New(t)
	if _, err := fleet.Open(t.Context(), config(t, empty.URL, "a", t.TempDir(), 0)); err == nil || !strings.Contains(err.Error(), "migrate") {
		t.Errorf("open without a schema: %v, want that it is to be migrated", err)
	}
}

// FuzzMayReplicate: what comes from the database is written below the directory, and
// never over what is the replica's own.
func FuzzMayReplicate(f *testing.F) {
	for _, p := range []string{"config.yaml", "tuf/.timestamp.next", "../x", "/etc/passwd", "db/log", "DB/log", "a//b", "replica.yaml", "keys/../db/x", ""} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p string) {
		if !fleet.MayReplicate(p) {
			if fleet.Replicated(p) {
				t.Errorf("%q is replicated, and may not be", p)
			}
			return
		}
		dir := "/data"
		full := filepath.Join(dir, filepath.FromSlash(p))
		if !strings.HasPrefix(full, dir+"/") || strings.TrimPrefix(full, dir+"/") != p {
			t.Errorf("%q leads to %s", p, full)
		}
		for _, own := range []string{"db", "audit", "checkpoints", "replica.yaml", "lock", "run"} {
			if strings.EqualFold(p, own) || strings.HasPrefix(strings.ToLower(p), own+"/") {
				t.Errorf("%q is a replica's own", p)
			}
		}
	})
}
