// Package exposure looks at a served stack as somebody on its network does who
// wishes it ill: which ports answer, and how strong the TLS of those is. It uses
// the scanners that such people use.
package exposure

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
)

func TestMain(m *testing.M) { os.Exit(e2etest.Main(m)) }

// passphrase of the service keys of these stacks.
const passphrase = "correct horse battery staple"

// served is a `sigstack serve` in a network of its own, in which it listens on
// every address and the host has one besides loopback.
type served struct {
	dir string
	cmd *exec.Cmd
}

const (
	host = "192.0.2.1" // TEST-NET-1 (RFC 5737)
	port = "8443"

	peerPort = "8102" // of a replica
)

// open are the ports where a host answers.
func open() []string {
	if e2etest.OnReplicas() {
		return []string{peerPort, port}
	}
	return []string{port}
}

// serve makes a stack and serves it. The network namespace lives as long as the
// process. TLS is that of init, but for its least version, "1.3" or "1.2".
func serve(t *testing.T, minVersion string) *served {
	t.Helper()
	s := &served{dir: filepath.Join(t.TempDir(), "stack")}
	secret := e2etest.WriteFile(t, t.TempDir(), "passphrase", passphrase+"\n")
	init := []string{"init", "--dir", s.dir, "--url", "https://" + host + ":" + port, "--listen", "0.0.0.0:" + port, "--passphrase-file", secret}
	if e2etest.OnReplicas() {
		init = append(init, "--database-url-file", e2etest.DatabaseURL(t))
	}
	e2etest.MustRun(t, nil, e2etest.Sigstack(t), init...)
	s.allow(t, minVersion)
	if e2etest.OnReplicas() { // one of them, which is what is on a host
		e2etest.MustRun(t, nil, e2etest.Sigstack(t), "replica", "join", "--dir", s.dir, "--passphrase-file", secret, "--name", "a",
			"--address", host+":"+peerPort, "--peer-listen", "0.0.0.0:"+peerPort)
	}
	s.cmd = exec.Command("unshare", "--net", "sh", "-c", `ip link set lo up && ip addr add "$0"/32 dev lo && exec "$@"`,
		host, e2etest.Sigstack(t), "serve", "--dir", s.dir, "--passphrase-file", secret)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stderr := new(strings.Builder)
	s.cmd.Stderr = stderr
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatalf("a network of its own needs root, unshare and ip: %v", err)
	}
	t.Cleanup(func() {
		if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := s.cmd.Wait(); err != nil {
			t.Errorf("serve ended with %v:\n%s", err, stderr)
		}
	})
	ready := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(stdout).ReadString('\n')
		ready <- line
	}()
	select {
	case line := <-ready:
		if !strings.HasPrefix(line, "ready ") {
			t.Fatalf("serve did not get ready: %q\n%s", line, stderr)
		}
	case <-time.After(e2etest.ReadyWithin):
		t.Fatalf("serve is not ready after %v", e2etest.ReadyWithin)
	}
	return s
}

// allow sets the least version of TLS in config.yaml; init's is the default.
func (s *served) allow(t *testing.T, minVersion string) {
	t.Helper()
	if minVersion == "1.3" {
		return
	}
	config := e2etest.ReadFile(t, filepath.Join(s.dir, "config.yaml"))
	changed := strings.Replace(config, `min_version: "1.3"`, `min_version: "`+minVersion+`"`, 1)
	if changed == config {
		t.Fatalf("config.yaml does not allow TLS 1.3 only:\n%s", config)
	}
	e2etest.WriteFile(t, s.dir, "config.yaml", changed)
}

// scanner executes a program, in the network of s if that is not nil. It has all
// the time of the test: a scan makes hundreds of connections, by hundreds of
// processes.
func scanner(t *testing.T, s *served, name string, args ...string) string {
	t.Helper()
	if s != nil {
		name, args = "nsenter", append([]string{"-t", strconv.Itoa(s.cmd.Process.Pid), "-n", name}, args...)
	}
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) { // testssl counts its findings in its exit code
		t.Fatalf("run %s: %v", name, err)
	}
	return string(out)
}
