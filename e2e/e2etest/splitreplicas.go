package e2etest

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"sigstack/internal/config"
)

// processNames are the processes of a split stack, in the order in which they find what
// they need.
var processNames = []string{"logs", "oidc", "ca", "front"}

// StartToSplit is Start for a stack that StartSplit is to split when it has stopped: it
// has no replicas before.
func StartToSplit(t *testing.T, dir string) *Stack {
	t.Helper()
	if !OnReplicas() {
		return Start(t, dir)
	}
	g := variant{path: Sigstack(t)}
	p, url, err := g.launch(t, dir, listening(t, []string{"--database-url-file", DatabaseURL(t)})...)
	if err != nil {
		t.Fatal(err)
	}
	s := &Stack{t: t, Dir: dir, URL: url, processes: []*process{p}}
	t.Cleanup(s.Stop)
	if err := adopt(dir); err != nil {
		t.Fatal(err)
	}
	return s
}

// StartSplit is Start for a stack that runs in several processes, from its first
// StartSplit on. On a database each process is two replicas, with a balancer before them:
// those whose directories are in processes lead.
func StartSplit(t *testing.T, dir string) *Stack {
	t.Helper()
	if !OnReplicas() {
		return Start(t, dir, "--split")
	}
	g, s := variant{path: Sigstack(t)}, &Stack{t: t, Dir: dir}
	if _, err := os.Stat(s.replicaOf("front", 0)); err != nil {
		p, _, err := g.launch(t, dir, "--split")
		if err != nil {
			t.Fatal(err)
		}
		p.end(syscall.SIGTERM)
		s.joinProcesses(g)
	}
	t.Cleanup(s.Stop)
	for _, name := range processNames {
		if err := s.startProcess(g, name); err != nil {
			s.Stop()
			t.Fatalf("process %s: %v", name, err)
		}
	}
	if err := adopt(dir); err != nil {
		t.Fatal(err)
	}
	return s
}

// replicaOf is the directory of one of the two replicas of a process.
func (s *Stack) replicaOf(process string, i int) string {
	return filepath.Join(s.replicaDirs()[i], "processes", process)
}

// joinProcesses makes two replicas of each process of the stopped stack.
func (s *Stack) joinProcesses(g variant) {
	for _, name := range processNames {
		conf, err := config.Load(filepath.Join(s.replicaOf(name, 0), "config.yaml"))
		if err != nil {
			s.t.Fatal(err)
		}
		for i, own := range [][]string{nil, {"--process", name, "--database-url-file", conf.Database.URLFile}} {
			MustRun(s.t, g.env, g.path, append([]string{
				"replica", "join", "--dir", s.replicaOf(name, i), "--name", fmt.Sprint("r", i), "--address", FreeAddress(s.t),
				"--listen", FreeAddress(s.t), "--metrics-listen", FreeAddress(s.t),
			}, own...)...)
		}
	}
}

// startProcess starts the replicas of a process, and a balancer where others look for it.
func (s *Stack) startProcess(g variant, name string) error {
	var at []string
	for i := range s.replicaDirs() {
		dir := s.replicaOf(name, i)
		p, url, err := g.launch(s.t, dir)
		if err != nil {
			return fmt.Errorf("replica in %s: %w", dir, err)
		}
		s.URL = url // that of the front, which is the last one
		s.processes = append(s.processes, p)
		own, err := config.LoadReplica(dir)
		if err != nil {
			return err
		}
		at = append(at, own.Listen)
	}
	conf, err := config.Load(filepath.Join(s.replicaOf(name, 0), "config.yaml"))
	if err != nil {
		return err
	}
	listen := conf.Listen
	if listen == "" {
		listen = conf.Peers.Listen
	}
	b, err := balance(listen, at...)
	if err != nil {
		return err
	}
	s.balancers = append(s.balancers, b)
	return nil
}
