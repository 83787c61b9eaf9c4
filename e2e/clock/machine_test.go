// Package clock moves the clock of a stack through years, and stops it for months, by
// a build of the program that lets tests do so (tag testclock). What is to happen in
// time is what docs/operations/expiry.md says.
package clock

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
	"sigstack/internal/admin"
	"sigstack/internal/httpd"
	"sigstack/internal/keys"
	"sigstack/internal/signing"
	"sigstack/internal/stack"
	tufroot "sigstack/tuf-root"
)

const day = 24 * time.Hour

// testClock is the variable of the tagged program.
const testClock = "SIGSTACK_TEST_CLOCK"

// tagged builds the program whose clock can be moved.
var tagged = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "sigstack-testclock-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "sigstack")
	build := exec.Command("go", "build", "-tags", "testclock", "-o", path, "sigstack/cmd/sigstack")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build sigstack: %w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := e2etest.Main(m)
	if path, err := tagged(); err == nil {
		_ = os.RemoveAll(filepath.Dir(path)) // a temporary directory
	}
	os.Exit(code)
}

// machine is one on which a stack runs now and then, with a clock of its own.
type machine struct {
	dir   string // the stack's
	clock string // file
	ahead time.Duration

	url  string
	cmd  *exec.Cmd
	logs *bytes.Buffer // of the process; read after it ended
	done chan struct{}
}

func newMachine(t *testing.T, ahead time.Duration) *machine {
	t.Helper()
	dir := t.TempDir()
	m := &machine{dir: filepath.Join(dir, "data"), clock: filepath.Join(dir, "clock")}
	m.set(t, ahead)
	return m
}

// set moves the clock to so far ahead of the real one.
func (m *machine) set(t *testing.T, ahead time.Duration) {
	t.Helper()
	if err := os.WriteFile(m.clock+".new", []byte(ahead.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(m.clock+".new", m.clock); err != nil {
		t.Fatal(err)
	}
	m.ahead = ahead
}

func (m *machine) now() time.Time { return time.Now().Add(m.ahead) }

// start runs the stack until it is stopped, at the latest with the test.
func (m *machine) start(t *testing.T, args ...string) {
	t.Helper()
	program, err := tagged()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(m.dir); err != nil {
		args = append(args, "--listen", "127.0.0.1:0")
	}
	m.cmd = exec.Command(program, append([]string{"up", "--dir", m.dir}, args...)...) // ended by stop
	m.cmd.Env = append(os.Environ(), testClock+"="+m.clock)
	m.logs, m.done = new(bytes.Buffer), make(chan struct{})
	m.cmd.Stderr = m.logs
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.stop(t) })
	first := make(chan string, 1)
	go func(cmd *exec.Cmd, done chan struct{}) {
		defer close(done)
		r := bufio.NewReader(out)
		line, _ := r.ReadString('\n')
		first <- line
		_, _ = io.Copy(io.Discard, r)
		_ = cmd.Wait()
	}(m.cmd, m.done)
	select {
	case line := <-first:
		url, ok := strings.CutPrefix(strings.TrimSpace(line), "ready ")
		if !ok {
			<-m.done
			t.Fatalf("up did not get ready: %q\n%s", line, m.logs)
		}
		m.url = url
	case <-time.After(e2etest.ReadyWithin):
		t.Fatalf("up is not ready after %v", e2etest.ReadyWithin)
	}
}

// stop ends the process and returns what it logged.
func (m *machine) stop(t *testing.T) string { return m.end(t, syscall.SIGTERM) }

// kill ends it as a crash would.
func (m *machine) kill(t *testing.T) string { return m.end(t, syscall.SIGKILL) }

func (m *machine) end(t *testing.T, sig syscall.Signal) string {
	t.Helper()
	if err := m.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("signal: %v", err)
	}
	select {
	case <-m.done:
	case <-time.After(e2etest.ReadyWithin):
		t.Errorf("up did not end within %v", e2etest.ReadyWithin)
		_ = m.cmd.Process.Kill()
		<-m.done
	}
	return m.logs.String()
}

// metadata is what every role's file says.
type metadata struct {
	Signed struct {
		Version int64     `json:"version"`
		Expires time.Time `json:"expires"`
		Meta    map[string]struct {
			Version int64 `json:"version"`
		} `json:"meta"`
	} `json:"signed"`
}

// served fetches metadata as a client does.
func (m *machine) served(t *testing.T, name string) metadata {
	t.Helper()
	status, body := e2etest.Get(t, m.url+"/tuf/"+name)
	var out metadata
	if err := json.Unmarshal(body, &out); err != nil || status != http.StatusOK {
		t.Fatalf("%s: %d, %v", name, status, err)
	}
	return out
}

// tuf asks for the service's health.
func (m *machine) tuf(t *testing.T) httpd.ServiceStatus {
	t.Helper()
	status, body := e2etest.Get(t, m.url+"/readyz")
	var rep httpd.Report
	if err := json.Unmarshal(body, &rep); err != nil || status != http.StatusOK {
		t.Fatalf("/readyz: %d %s, %v", status, body, err)
	}
	return rep.Services["tuf"]
}

// client is go-tuf's updater with a cache that lives on.
type client struct {
	m     *machine
	root  []byte
	cache string
}

func (m *machine) client(t *testing.T) client {
	t.Helper()
	return client{m, []byte(e2etest.ReadFile(t, filepath.Join(m.dir, "client", "root.json"))), t.TempDir()}
}

// update is by the machine's clock.
func (c client) update(ctx context.Context) error {
	_, err := signing.TUF{URL: c.m.url + "/tuf", Root: c.root, Cache: c.cache, Now: c.m.now}.Kit(ctx)
	return err
}

// renew has root and targets signed again by those who hold their keys.
func (m *machine) renew(t *testing.T) {
	t.Helper()
	a := admin.Dial(m.dir)
	var draft stack.TUFDraft
	order := stack.TUFOrder{Root: stack.TUFRoleOrder{Renew: true}, Targets: stack.TUFRoleOrder{Renew: true}}
	if err := a.Post(t.Context(), stack.AdminTUFDraft, order, &draft); err != nil {
		t.Fatal(err)
	}
	store := keys.Open(filepath.Join(m.dir, "offline"), nil)
	sign := func(data []byte, name string) []byte {
		key, err := store.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		signed, err := tufroot.SignRole(data, key)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	signed := stack.TUFSigned{Root: sign(draft.Root, "tuf-root"), Targets: sign(draft.Targets, "tuf-targets")}
	if err := a.Post(t.Context(), stack.AdminTUFPublish, signed, new(stack.TUFStatus)); err != nil {
		t.Fatal(err)
	}
}

// eventually waits for what comes within moments.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(e2etest.ReadyWithin); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %v for %s", e2etest.ReadyWithin, what)
		}
	}
}
