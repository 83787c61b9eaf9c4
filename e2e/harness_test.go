// Package e2e tests the built program as its users meet it: processes, ports,
// files, and the clients that other projects ship.
package e2e

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Paths of the programs under test, set by TestMain.
var (
	sigstackBin string
	cosignBin   string
)

const (
	demoUser   = "demo@sigstack.local"
	waitReady  = 60 * time.Second // a busy machine is slow; nothing is asserted on speed
	waitClient = 2 * time.Minute
)

func TestMain(m *testing.M) {
	code, err := setUp(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
	os.Exit(code)
}

func setUp(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "sigstack-e2e-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	sigstackBin = filepath.Join(dir, "sigstack")
	build := exec.Command("go", "build", "-o", sigstackBin, "sigstack/cmd/sigstack")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("build sigstack: %w\n%s", err, out)
	}
	cosignBin, err = filepath.Abs("../bin/clients/cosign-v3")
	if err != nil {
		return 0, err
	}
	if _, err := os.Stat(cosignBin); err != nil {
		return 0, fmt.Errorf("%w: run `make clients` first", err)
	}
	return m.Run(), nil
}

// testStack is one running `sigstack up`.
type testStack struct {
	t    *testing.T
	dir  string
	url  string
	cmd  *exec.Cmd
	logs *bytes.Buffer // the process's stderr; read after it ended
	done chan struct{} // closed when the process was waited for
}

// startUp runs `sigstack up` on dir and waits until it is ready. The process is
// stopped with the test.
func startUp(t *testing.T, dir string, args ...string) *testStack {
	t.Helper()
	s, err := tryUp(t, dir, args...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func tryUp(t *testing.T, dir string, args ...string) (*testStack, error) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(dir, "config.yaml")); err != nil {
		args = append(args, "--listen", "127.0.0.1:0")
	}
	cmd := exec.Command(sigstackBin, append([]string{"up", "--dir", dir}, args...)...) // ended by stop
	s := &testStack{t: t, dir: dir, cmd: cmd, logs: new(bytes.Buffer), done: make(chan struct{})}
	cmd.Stderr = s.logs
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	t.Cleanup(s.stop)
	first := make(chan string, 1)
	go func() {
		defer close(s.done)
		r := bufio.NewReader(stdout)
		line, _ := r.ReadString('\n')
		first <- line
		_, _ = io.Copy(io.Discard, r)
		_ = cmd.Wait()
	}()
	select {
	case line := <-first:
		url, ok := strings.CutPrefix(strings.TrimSpace(line), "ready ")
		if !ok {
			<-s.done
			return nil, fmt.Errorf("sigstack up did not get ready: %q, stderr:\n%s", line, s.logs)
		}
		s.url = url
		return s, nil
	case <-time.After(waitReady):
		return nil, errors.Join(fmt.Errorf("sigstack up is not ready after %v", waitReady), s.kill())
	}
}

// stop ends the process as an operator would.
func (s *testStack) stop() { s.end(syscall.SIGTERM) }

// kill ends the process as a crash would.
func (s *testStack) kill() error {
	s.end(syscall.SIGKILL)
	return nil
}

func (s *testStack) end(sig syscall.Signal) {
	select {
	case <-s.done:
		return
	default:
	}
	if err := s.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Errorf("signal: %v", err)
	}
	select {
	case <-s.done:
	case <-time.After(waitReady):
		s.t.Errorf("sigstack up did not end within %v of signal %v", waitReady, sig)
		_ = s.cmd.Process.Kill()
		<-s.done
	}
	if s.t.Failed() {
		s.t.Logf("stderr of sigstack up:\n%s", s.logs)
	}
}

// kit is the client kit's directory; issuer the built-in issuer.
func (s *testStack) kit(name string) string { return filepath.Join(s.dir, "client", name) }
func (s *testStack) issuer() string         { return s.url + "/dex" }

// token gets an identity token of the demo user, as the environment variable
// that cosign and sigstack read.
func (s *testStack) token() string {
	s.t.Helper()
	return "SIGSTORE_ID_TOKEN=" + strings.TrimSpace(mustRun(s.t, nil, sigstackBin, "token", "--dir", s.dir))
}

// result is how a program ended.
type result struct {
	stdout, stderr string
	code           int
}

// run executes a program in an environment that knows nothing of this machine's
// own trust settings but what env adds.
func run(t *testing.T, env []string, name string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitClient)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	home := t.TempDir()
	cmd.Env = append([]string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "COSIGN_PASSWORD="}, env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("run %s: %v", name, err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// mustRun is run for what has to succeed.
func mustRun(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	r := run(t, env, name, args...)
	if r.code != 0 {
		t.Fatalf("%s %s: exit %d\n%s%s", filepath.Base(name), strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

func writeFile(t *testing.T, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// get fetches a URL and returns status and body.
func get(t *testing.T, url string) (int, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, body
}
