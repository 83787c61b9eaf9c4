package e2etest

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"sigstack/internal/config"
	"sigstack/internal/pgtest"
)

// startReplicas is TryStart for a stack of two replicas on PostgreSQL behind a
// balancer at its URL. The one whose directory is dir leads.
func (g variant) startReplicas(t *testing.T, dir string, fresh bool, args []string) (*Stack, error) {
	s := &Stack{t: t, Dir: dir}
	if fresh {
		if err := s.makeReplicas(g, args); err != nil {
			return nil, err
		}
	}
	t.Cleanup(s.Stop)
	args = withoutFlags(args, "--listen")
	var at []string
	for _, d := range s.replicaDirs() {
		p, url, err := g.launch(t, d, args...)
		if err != nil {
			s.Stop()
			return nil, fmt.Errorf("replica in %s: %w", d, err)
		}
		s.URL = url
		s.processes = append(s.processes, p)
		at = append(at, strings.TrimSpace(ReadFile(t, filepath.Join(d, "run", "address"))))
	}
	conf, err := config.Load(filepath.Join(dir, "config.yaml"))
	if err != nil {
		return nil, err
	}
	b, err := balance(conf.Listen, at...)
	if err != nil {
		return nil, err
	}
	s.balancers = append(s.balancers, b)
	if g.verb != "" { // there is no demo user
		return s, trustStack(dir)
	}
	return s, adopt(dir)
}

// replicaDirs are the directories of the replicas, that of the one that is started
// first before the other.
func (s *Stack) replicaDirs() []string { return []string{s.Dir, cmp.Or(s.other, s.Dir+".follower")} }

// FailOver kills the replica that leads, the one in Dir, alone. Dir is the other's from
// then on, which takes over within seconds.
func (s *Stack) FailOver() {
	s.processes[0].end(syscall.SIGKILL)
	s.Dir, s.other = s.replicaDirs()[1], s.Dir
	s.processes[0], s.processes[1] = s.processes[1], nil
}

// Rejoin starts the replica again that FailOver has killed.
func (s *Stack) Rejoin(t *testing.T) {
	t.Helper()
	p, _, err := variant{path: Sigstack(t)}.launch(t, s.other)
	if err != nil {
		t.Fatalf("replica in %s: %v", s.other, err)
	}
	s.processes[1] = p
}

// Addresses are the host:port of each process that clients may be sent to: of one, or
// of all replicas, without the balancer before them.
func (s *Stack) Addresses() (all []string) {
	s.t.Helper()
	for _, d := range s.ServiceDirs("tuf") {
		all = append(all, strings.TrimSpace(ReadFile(s.t, filepath.Join(d, "run", "address"))))
	}
	return all
}

// makeReplicas makes the stack and two replicas of it. A file with the database's URL
// lies beside its directory.
func (s *Stack) makeReplicas(g variant, args []string) error {
	t, dir := s.t, s.Dir
	file := dir + ".database-url"
	url := g.database
	if url == "" {
		url = pgtest.New(t).URL
	}
	if err := os.WriteFile(file, []byte(url+"\n"), 0o600); err != nil {
		return err
	}
	p, _, err := g.launch(t, dir, append(slices.Clone(args), "--database-url-file", file)...)
	if err != nil {
		return err
	}
	p.end(syscall.SIGTERM)
	s.join(g, file)
	return nil
}

// join makes two replicas of the stopped stack. The arguments are further ones.
func (s *Stack) join(g variant, file string, args ...string) {
	t := s.t
	for i, d := range s.replicaDirs() {
		join := []string{
			"replica", "join", "--dir", d, "--name", []string{"a", "b"}[i], "--address", FreeAddress(t), "--listen", FreeAddress(t),
			"--metrics-listen", FreeAddress(t),
		}
		if i > 0 {
			join = append(join, "--database-url-file", file)
		}
		MustRun(t, g.env, g.path, append(join, args...)...)
	}
}

// StartOn is Start of replicas on a database of the test's own.
func StartOn(t *testing.T, db *pgtest.Database, dir string, args ...string) *Stack {
	t.Helper()
	s, err := variant{path: Sigstack(t), database: db.URL}.start(t, dir, args)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// DatabaseURL writes a file with the URL of a fresh database.
func DatabaseURL(t *testing.T) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "database-url")
	if err := os.WriteFile(file, []byte(pgtest.New(t).URL+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// ServeReplicas makes two replicas of a stack that init made in dir with the database of
// a file, and serves them until the test ends, behind a balancer at the stack's address.
// The arguments are those of join and of serve.
func ServeReplicas(t *testing.T, dir, database string, args ...string) *Stack {
	t.Helper()
	g := variant{path: Sigstack(t), verb: "serve"}
	(&Stack{t: t, Dir: dir}).join(g, database, args...)
	s, err := g.startReplicas(t, dir, false, args)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// withoutFlags takes flags, each with its value, out of arguments.
func withoutFlags(args []string, flags ...string) (out []string) {
	for i := 0; i < len(args); i++ {
		name, _, whole := strings.Cut(args[i], "=")
		if !slices.Contains(flags, name) {
			out = append(out, args[i])
			continue
		}
		if !whole {
			i++
		}
	}
	return out
}

// endAll ends all processes at once: as one stack, nobody takes over.
func (s *Stack) endAll(sig syscall.Signal) {
	var ends sync.WaitGroup
	for _, p := range s.processes {
		if p == nil {
			continue // it was killed before
		}
		ends.Go(func() { p.end(sig) })
	}
	ends.Wait()
	for _, b := range s.balancers {
		b.stop()
	}
}
