// Package clock moves the clock of a stack through years, and stops it for months, by
// a build of the program that lets tests do so (tag testclock). What is to happen in
// time is what docs/operations/expiry.md says.
package clock

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
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

	url   string
	stack *e2etest.Stack
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

// start runs the stack until it is stopped, at the latest with the test. All replicas
// of it have the machine's clock.
func (m *machine) start(t *testing.T, args ...string) {
	t.Helper()
	program, err := tagged()
	if err != nil {
		t.Fatal(err)
	}
	m.stack = e2etest.StartProgram(t, program, []string{testClock + "=" + m.clock}, m.dir, args...)
	m.url = m.stack.URL
}

// stop ends the process and returns what it logged.
func (m *machine) stop(t *testing.T) string {
	t.Helper()
	m.stack.Stop()
	return m.stack.Logged()[0]
}

// kill ends it as a crash would.
func (m *machine) kill() { m.stack.Kill() }

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

// next waits for a timestamp after that version, and returns its own. Of replicas each
// has to serve it: what takes one of them a moment is hours by a clock that jumps.
func (m *machine) next(t *testing.T, last int64) (version int64) {
	t.Helper()
	for _, address := range m.stack.Addresses() {
		eventually(t, "the next timestamp at "+address, func() bool {
			version = served(t, "http://"+address, "timestamp.json").Signed.Version
			return version > last
		})
	}
	return version
}

// served fetches metadata as a client does.
func (m *machine) served(t *testing.T, name string) metadata {
	t.Helper()
	return served(t, m.url, name)
}

func served(t *testing.T, url, name string) metadata {
	t.Helper()
	status, body := e2etest.Get(t, url+"/tuf/"+name)
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
