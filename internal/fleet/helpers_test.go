package fleet_test

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sigstack/internal/fleet"
	"sigstack/internal/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

const schema = "sigstack_fleet"

func migrated(t *testing.T, db *pgtest.Database) string {
	t.Helper()
	if _, err := fleet.Migrate(t.Context(), db.URL, schema); err != nil {
		t.Fatal(err)
	}
	return db.URL
}

// replica is one that takes whatever there is.
type replica struct {
	*fleet.Fleet

	dir  string
	stop func()
}

func config(t *testing.T, url, name, dir string, lease time.Duration) fleet.Config {
	t.Helper()
	return fleet.Config{
		URL: url, Schema: schema, Name: name, Pin: fleet.Pin{name[0]}, Dir: dir, Lease: lease,
		Paths: func() []string { return []string{"policies/ci.yaml"} }, Now: time.Now, Log: slog.New(slog.DiscardHandler),
	}
}

func write(t *testing.T, dir, path, content string) {
	t.Helper()
	name := filepath.Join(dir, path)
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// read returns "" for a file that is not there.
func read(t *testing.T, dir, path string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, path))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(data)
}

// founded is a directory that has founded a fleet as replica "a".
func founded(t *testing.T, url string) string {
	t.Helper()
	dir := t.TempDir()
	for path, content := range map[string]string{
		"config.yaml": "one", "keys/ca.key": "secret", "tuf/timestamp.json": "1", "tuf/.timestamp.next": "1", "chains.json": "{}",
		"policies/ci.yaml": "rules", "db/log": "mine", "audit/head": "mine", "lock": "", "client/env.sh": "mine", "replica.yaml": "mine", "other.txt": "mine",
	} {
		write(t, dir, path, content)
	}
	if err := fleet.Found(t.Context(), config(t, url, "a", dir, 0), "127.0.0.1:1"); err != nil {
		t.Fatal(err)
	}
	return dir
}

// joined is a directory that has joined as another replica.
func joined(t *testing.T, url, name string) string {
	t.Helper()
	dir := t.TempDir()
	cfg := config(t, url, name, dir, 0)
	if err := fleet.Fetch(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if err := fleet.Join(t.Context(), cfg, "127.0.0.1:2"); err != nil {
		t.Fatal(err)
	}
	return dir
}

// start runs a replica until its stop or the end of the test.
func start(t *testing.T, url, name, dir string, lease time.Duration) *replica {
	t.Helper()
	f, err := fleet.Open(t.Context(), config(t, url, name, dir, lease))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() {
		if err := f.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	wait.Go(func() { follow(ctx, f) })
	r := &replica{Fleet: f, dir: dir, stop: sync.OnceFunc(func() { cancel(); wait.Wait(); f.Close() })}
	t.Cleanup(r.stop)
	return r
}

// follow pulls what there is.
func follow(ctx context.Context, f *fleet.Fleet) {
	for ctx.Err() == nil {
		changed := f.Changed()
		if f.Wanting() {
			if _, revision, err := f.Pull(ctx); err == nil {
				f.Applied(revision)
				continue
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// within fails unless a state is reached in time.
func (r *replica) within(t *testing.T, limit time.Duration, what string, is func(fleet.State) bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !is(r.State()) {
		if time.Since(began) > limit {
			t.Fatalf("%s: not within %v: %+v", what, limit, r.State())
		}
		select {
		case <-r.Changed():
		case <-time.After(20 * time.Millisecond):
		}
	}
	return time.Since(began)
}

func leads(s fleet.State) bool   { return s.Leading }
func serving(s fleet.State) bool { return !s.Fenced }

// link is a way to the database that can be cut without a word to either side.
type link struct {
	url string

	mu    sync.Mutex
	cut   bool
	conns []net.Conn
}

func newLink(t *testing.T, to string) *link {
	t.Helper()
	var socket string
	words := strings.Fields(to)
	for i, w := range words {
		if dir, ok := strings.CutPrefix(w, "host="); ok {
			socket, words[i] = filepath.Join(dir, ".s.PGSQL.5432"), "host=127.0.0.1"
		}
	}
	if socket == "" {
		t.Fatalf("no socket in %s", to)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	l := &link{url: strings.Join(append(words, "port="+port, "sslmode=disable"), " ")}
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go l.carry(c, socket)
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, c := range l.conns {
			_ = c.Close()
		}
	})
	return l
}

func (l *link) carry(c net.Conn, socket string) {
	d, err := net.Dial("unix", socket)
	if err != nil {
		_ = c.Close()
		return
	}
	l.mu.Lock()
	l.conns = append(l.conns, c, d)
	l.mu.Unlock()
	go l.copy(c, d)
	l.copy(d, c)
}

// copy swallows what comes while the link is cut, the end of a connection too.
func (l *link) copy(to, from net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		l.mu.Lock()
		cut := l.cut
		l.mu.Unlock()
		if cut {
			if err != nil {
				return
			}
			continue
		}
		if err != nil {
			_ = to.Close()
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			_ = from.Close()
			return
		}
	}
}

func (l *link) set(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
}

func removeAll(dir, path string) error { return os.RemoveAll(filepath.Join(dir, path)) }
