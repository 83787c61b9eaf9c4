package stack_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/httpd"
	"sigstack/internal/stack"
)

// processNames in the order in which they are split.
var processNames = []string{"logs", "oidc", "ca", "front"}

// freeAddresses are for processes of one test. They are held together, so that no
// two are alike, and nobody else takes them meanwhile but by accident.
func freeAddresses(t *testing.T) map[string]string {
	t.Helper()
	addresses := map[string]string{}
	for name := range stack.DefaultAddresses() {
		l := newListener(t)
		defer l.Close() //nolint:errcheck // nothing was accepted
		addresses[name] = l.Addr().String()
	}
	return addresses
}

func splitConfig(t *testing.T, dir string) stack.SplitConfig {
	t.Helper()
	return stack.SplitConfig{
		Dir: dir, Into: filepath.Join(filepath.Dir(dir), "processes"), Addresses: freeAddresses(t),
		Now: time.Now, Log: slog.New(slog.DiscardHandler),
	}
}

// splitDir makes a test stack and splits it; it returns the directories of the
// processes by name.
func splitDir(t *testing.T) (whole string, dirs map[string]string) {
	t.Helper()
	whole = initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	return whole, split(t, splitConfig(t, whole))
}

func split(t *testing.T, cfg stack.SplitConfig) map[string]string {
	t.Helper()
	processes, err := stack.Split(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	dirs := map[string]string{}
	for _, p := range processes {
		dirs[p.Name] = p.Dir
	}
	if got, want := slices.Sorted(maps.Keys(dirs)), slices.Sorted(slices.Values(processNames)); !slices.Equal(got, want) {
		t.Fatalf("split into %v, want %v", got, want)
	}
	return dirs
}

func TestSplitGivesEachProcessItsOwn(t *testing.T) {
	whole := initDir(t, stack.InitConfig{Profile: config.ProfileUp, URL: "https://stack.test"})
	dirs := split(t, splitConfig(t, whole))
	for name, want := range map[string][]string{
		"front": {"audit.key", "peer.key", "tls-ca.chain.pem", "tls-ca.key", "tuf-snapshot.key", "tuf-timestamp.key"},
		"ca":    {"audit.key", "ca.chain.pem", "ca.key", "peer.key", "tsa.chain.pem", "tsa.key"},
		"logs":  {"audit.key", "ctlog.key", "peer.key", "rekor.key"},
		"oidc":  {"audit.key", "oidc.secret", "peer.key"},
	} {
		if got := names(t, filepath.Join(dirs[name], "keys")); !slices.Equal(got, want) {
			t.Errorf("keys of %s: %v, want %v", name, got, want)
		}
		for _, db := range []string{"log", "oidc"} {
			_, err := os.Stat(filepath.Join(dirs[name], "db", db))
			if has, want := err == nil, name == db || name+"/"+db == "logs/log"; has != want {
				t.Errorf("%s has the database %s: %v, want %v", name, db, has, want)
			}
		}
		if _, err := os.Stat(filepath.Join(dirs[name], "offline")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s has the root keys: %v", name, err)
		}
	}
	for _, name := range []string{"peer", "audit"} {
		seen := map[string]string{}
		for process, dir := range dirs {
			data, err := os.ReadFile(filepath.Join(dir, "keys", name+".key"))
			if err != nil {
				t.Fatal(err)
			}
			if other := seen[string(data)]; other != "" {
				t.Errorf("key %s is the same in %s and %s", name, process, other)
			}
			seen[string(data)] = process
		}
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// TestASplitDirectoryIsNeverServed: it would fork the logs.
func TestASplitDirectoryIsNeverServed(t *testing.T) {
	whole, dirs := splitDir(t)
	_, err := stack.Open(t.Context(), options(whole, config.ProfileUp))
	if err == nil || !strings.Contains(err.Error(), "was split into processes") {
		t.Fatalf("served after the split: %v", err)
	}
	other := splitConfig(t, whole)
	other.Into += "-again"
	if _, err := stack.Split(t.Context(), other); err == nil || !strings.Contains(err.Error(), "split already, into") {
		t.Errorf("split elsewhere too: %v", err)
	}
	again := split(t, splitConfig(t, whole))
	if !maps.Equal(again, dirs) {
		t.Errorf("repeated: %v, want %v", again, dirs)
	}
	if _, err := stack.Split(t.Context(), splitConfig(t, dirs["ca"])); err == nil || !strings.Contains(err.Error(), "process ca already") {
		t.Errorf("a process was split: %v", err)
	}
}

func TestSplitRefusesBeforeItMakesAnything(t *testing.T) {
	whole := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	for name, change := range map[string]func(*stack.SplitConfig){
		"no stack":            func(c *stack.SplitConfig) { c.Dir = t.TempDir() },
		"unknown process":     func(c *stack.SplitConfig) { c.Addresses = map[string]string{"front": "127.0.0.1:1"} },
		"no address":          func(c *stack.SplitConfig) { c.Addresses = map[string]string{"ca": "ca"} },
		"no host":             func(c *stack.SplitConfig) { c.Addresses = map[string]string{"ca": ":8101"} },
		"no port":             func(c *stack.SplitConfig) { c.Addresses = map[string]string{"ca": "127.0.0.1:0"} },
		"outside, profile up": func(c *stack.SplitConfig) { c.Addresses = map[string]string{"ca": "192.0.2.1:8101"} },
	} {
		cfg := splitConfig(t, whole)
		change(&cfg)
		if _, err := stack.Split(t.Context(), cfg); err == nil {
			t.Errorf("%s: split", name)
		}
	}
	occupied := splitConfig(t, whole)
	occupied.Into += "-other"
	if err := os.MkdirAll(filepath.Join(occupied.Into, "oidc", "something"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := stack.Split(t.Context(), occupied); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("target in use: %v", err)
	}
	s, err := stack.Open(t.Context(), options(whole, config.ProfileUp))
	if err != nil {
		t.Fatalf("not served any more after refusals: %v", err)
	}
	busy := splitConfig(t, whole)
	if _, err := stack.Split(t.Context(), busy); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("split while it is served: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// process is one of a split stack in this one.
type process struct {
	stack *stack.Stack
	ready chan struct{}
	stop  context.CancelFunc
	done  chan error
}

func startProcess(t *testing.T, dir string) *process {
	t.Helper()
	return startProcessWith(t, options(dir, config.ProfileUp))
}

func startProcessWith(t *testing.T, opts stack.Options) *process {
	t.Helper()
	s, err := stack.Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	r := &process{stack: s, ready: make(chan struct{}), stop: cancel, done: make(chan error, 1)}
	go func() { r.done <- s.Run(ctx, func() { close(r.ready) }) }()
	t.Cleanup(func() { r.end(t) })
	return r
}

// end stops the process; it may be called again.
func (r *process) end(t *testing.T) {
	t.Helper()
	r.stop()
	if err := <-r.done; err != nil {
		t.Error(err)
	}
	r.done <- nil
}

func (r *process) await(t *testing.T) {
	t.Helper()
	select {
	case <-r.ready:
	case err := <-r.done:
		t.Fatalf("process ended: %v", err)
	case <-time.After(time.Minute):
		t.Fatalf("not ready after a minute: %s", r.get(t, "/readyz"))
	}
}

// get asks the process itself, without a connection.
func (r *process) get(t *testing.T, path string) string {
	t.Helper()
	w := httptest.NewRecorder()
	r.stack.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	body, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Result().Status + " " + string(body)
}

func (r *process) statuses(t *testing.T) map[string]httpd.ServiceStatus {
	t.Helper()
	_, body, _ := strings.Cut(r.get(t, "/readyz"), "{")
	var rep httpd.Report
	if err := json.Unmarshal([]byte("{"+body), &rep); err != nil {
		t.Fatal(err)
	}
	return rep.Services
}

// awaitStatus waits until a service has a status, as the process sees it.
func (r *process) awaitStatus(t *testing.T, service string, want httpd.Status) httpd.ServiceStatus {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		got := r.statuses(t)[service]
		if got.Status == want {
			return got
		}
		select {
		case <-deadline:
			t.Fatalf("%s is %+v for a minute, want %s", service, got, want)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// TestProcessesGetReadyInAnyOrder: the front's self-test signs through all of
// them; one that goes takes only its own services along, and is found again.
func TestProcessesGetReadyInAnyOrder(t *testing.T) {
	_, dirs := splitDir(t)
	front := startProcess(t, dirs["front"])
	if got := front.statuses(t)["ca"].Status; got != httpd.Down {
		t.Errorf("ca is %s before it was started", got)
	}
	if got := front.get(t, "/api/v2/trustBundle"); !strings.HasPrefix(got, "503") {
		t.Errorf("request to a process that is not there: %s", got)
	}
	ca := startProcess(t, dirs["ca"])
	oidc, logs := startProcess(t, dirs["oidc"]), startProcess(t, dirs["logs"])
	front.await(t)
	ca.awaitStatus(t, "ca", httpd.OK)
	for service, s := range front.statuses(t) {
		if s.Status == httpd.Down {
			t.Errorf("%s is down when the stack is ready: %s", service, s.Detail)
		}
	}
	w := httptest.NewRecorder()
	front.stack.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/dex/token", strings.NewReader(strings.Repeat("x", 256<<10+1))))
	if w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("form over the limit at the front: %d %s, want 413", w.Code, w.Body)
	}

	logs.end(t)
	front.awaitStatus(t, "tlog", httpd.Down)
	front.awaitStatus(t, "ctlog", httpd.Down)
	front.awaitStatus(t, "ca", httpd.Warn)
	if got := front.statuses(t); got["oidc"].Status != httpd.OK || got["tsa"].Status != httpd.OK || got["tuf"].Status != httpd.OK {
		t.Errorf("without the logs: %+v", got)
	}
	if got := front.get(t, "/api/v1/log"); !strings.HasPrefix(got, "503") {
		t.Errorf("log without its process: %s", got)
	}
	if got := front.get(t, "/api/v2/trustBundle"); !strings.HasPrefix(got, "200") {
		t.Errorf("ca without the logs: %s", got)
	}
	startProcess(t, dirs["logs"])
	front.awaitStatus(t, "tlog", httpd.OK)
	front.awaitStatus(t, "ca", httpd.OK)
	if got := front.get(t, "/api/v1/log"); !strings.HasPrefix(got, "200") {
		t.Errorf("log when its process is back: %s", got)
	}
	for name, r := range map[string]*process{"ca": ca, "oidc": oidc} {
		select {
		case err := <-r.done:
			t.Errorf("%s ended: %v", name, err)
		default:
		}
	}
}

// TestFrontPassesOnEveryRoute holds the front's table against that of a whole
// stack: a route that is missing in routes.go would be missing in a split stack.
func TestFrontPassesOnEveryRoute(t *testing.T) {
	whole := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	want := routes(t, whole, "ca", "ctlog", "tlog", "tsa", "oidc", "tuf", "pages", "health")
	dirs := split(t, splitConfig(t, whole))
	got := routes(t, dirs["front"], "ca", "ctlog", "tlog", "tsa", "oidc", "tuf", "pages", "health")
	for route := range want {
		if !got[route] {
			t.Errorf("the front does not pass on %+v", route)
		}
	}
	for route := range got {
		if !want[route] {
			t.Errorf("the front passes on %+v, which no service has", route)
		}
	}
}

func routes(t *testing.T, dir string, services ...string) map[httpd.Route]bool {
	t.Helper()
	s, err := stack.Open(t.Context(), options(dir, config.ProfileUp))
	if err != nil {
		t.Fatal(err)
	}
	out := map[httpd.Route]bool{}
	for _, r := range s.Routes() {
		if slices.Contains(services, r.Service) {
			r.Effect = httpd.Public // what it asks for is for the process to say
			out[r] = true
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestOtherKeysThanPublished: a process refuses to start with them, and one that
// does start with another stack's gets no request from the front.
func TestOtherKeysThanPublished(t *testing.T) {
	_, dirs := splitDir(t)
	_, others := splitDir(t)
	for _, name := range []string{"ca.key", "ca.chain.pem", "tsa.key", "tsa.chain.pem"} {
		replace(t, filepath.Join(dirs["ca"], "keys", name), filepath.Join(others["ca"], "keys", name))
	}
	_, err := stack.Open(t.Context(), options(dirs["ca"], config.ProfileUp))
	if err == nil || !strings.Contains(err.Error(), "are not those of") {
		t.Fatalf("ca with other keys than published: %v", err)
	}
	replace(t, filepath.Join(dirs["ca"], "peers", "ca.json"), filepath.Join(others["ca"], "peers", "ca.json"))
	front := startProcess(t, dirs["front"])
	startProcess(t, dirs["ca"])
	deadline := time.After(time.Minute)
	for !strings.Contains(front.statuses(t)["ca"].Detail, "not the published ones") {
		select {
		case <-deadline:
			t.Fatalf("ca with other keys is %+v", front.statuses(t)["ca"])
		case <-time.After(50 * time.Millisecond):
		}
	}
	if got := front.get(t, "/api/v2/trustBundle"); !strings.HasPrefix(got, "503") {
		t.Errorf("passed on to a process with other keys: %s", got)
	}
	replace(t, filepath.Join(dirs["front"], "peers", "ca.json"), filepath.Join(others["ca"], "peers", "ca.json"))
	front.end(t)
	if _, err := stack.Open(t.Context(), options(dirs["front"], config.ProfileUp)); err == nil || !strings.Contains(err.Error(), "does not match") {
		t.Errorf("front with other public halves than TUF has: %v", err)
	}
}

func replace(t *testing.T, path, by string) {
	t.Helper()
	data, err := os.ReadFile(by)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestAProcessHasNoPublicFace: whoever connects to it finds TLS that wants a
// pinned key.
func TestAProcessHasNoPublicFace(t *testing.T) {
	_, dirs := splitDir(t)
	tsa := startProcess(t, dirs["ca"])
	tsa.await(t)
	if tsa.stack.Process() != "ca" {
		t.Errorf("process is %q", tsa.stack.Process())
	}
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", tsa.stack.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // a test's
	if _, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if answer, _ := io.ReadAll(conn); strings.Contains(string(answer), "SERVING") {
		t.Errorf("a stranger was answered %q", answer)
	}
}
