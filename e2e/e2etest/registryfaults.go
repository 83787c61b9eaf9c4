package e2etest

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// Fault is what goes wrong with a request to a FaultyRegistry.
type Fault int

// The faults there are.
const (
	Answers500 Fault = iota // the request is not carried out, and the answer says so
	CutsBefore              // the connection ends before the request was carried out
	CutsAfter               // it ends after that, so that the answer is lost
)

// Faults say which requests to a FaultyRegistry go wrong.
type Faults struct {
	Fault    Fault
	Chance   float64                  // of each request, from 0 to 1; 0 is taken as 1: all of them
	After    int                      // that many requests are carried out first
	Matching func(*http.Request) bool // which requests count and can go wrong; nil: all
}

// FaultyRegistry stands in front of a registry and lets requests go wrong. It may
// be used concurrently.
type FaultyRegistry struct {
	Address string // HOST:PORT
	handler http.Handler

	mu       sync.Mutex // guards what follows
	faults   *Faults    // nil: all goes well
	random   *rand.Rand
	requests int // that counted since Inject
	failed   int
}

// FaultsInFrontOf serves the registry at HOST:PORT until the test ends, without
// any faults at first. Chances fall alike in each run with the same requests in
// the same order.
func FaultsInFrontOf(t *testing.T, registry string) *FaultyRegistry {
	t.Helper()
	f := &FaultyRegistry{handler: registryProxy(registry), random: rand.New(rand.NewPCG(1, 2))}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	f.Address = strings.TrimPrefix(server.URL, "http://")
	return f
}

// Inject lets requests go wrong from now on, in place of what was injected before.
func (f *FaultyRegistry) Inject(faults Faults) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults, f.requests, f.failed = &faults, 0, 0
}

// Heal ends all faults. It returns how many requests went wrong since Inject.
func (f *FaultyRegistry) Heal() (failed int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = nil
	return f.failed
}

// Requests is the number of requests since Inject, of those that counted.
func (f *FaultyRegistry) Requests() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.requests
}

// ServeHTTP implements http.Handler.
func (f *FaultyRegistry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	fault, fails := f.next(r)
	switch {
	case !fails:
		f.handler.ServeHTTP(w, r)
	case fault == Answers500:
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = w.Write([]byte(`{"errors":[{"code":"UNKNOWN","message":"injected fault"}]}`))
	default:
		if fault == CutsAfter {
			f.handler.ServeHTTP(httptest.NewRecorder(), r)
		}
		panic(http.ErrAbortHandler) // how net/http wants a connection to be cut
	}
}

// next tells whether and how the request goes wrong.
func (f *FaultyRegistry) next(r *http.Request) (Fault, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.faults == nil || f.faults.Matching != nil && !f.faults.Matching(r) {
		return 0, false
	}
	f.requests++
	if f.requests <= f.faults.After || f.faults.Chance > 0 && f.random.Float64() >= f.faults.Chance {
		return 0, false
	}
	f.failed++
	return f.faults.Fault, true
}

// PasswordRegistry serves the registry at HOST:PORT until the test ends, for one
// user with a password (HTTP Basic). It returns its own HOST:PORT.
func PasswordRegistry(t *testing.T, registry, user, password string) string {
	t.Helper()
	proxy := registryProxy(registry)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		gotUser, gotPassword, ok := r.BasicAuth()
		if ok && gotUser == user && gotPassword == password {
			proxy.ServeHTTP(w, r)
			return
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte(`{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`))
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// DockerLogin makes docker's configuration with a user's password for a registry.
// It returns the environment variable that leads clients to it.
func DockerLogin(t *testing.T, registry, user, password string) string {
	t.Helper()
	config, err := json.Marshal(map[string]any{
		"auths": map[string]any{registry: map[string]string{"username": user, "password": password}},
	})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	WriteFile(t, dir, "config.json", string(config))
	return "DOCKER_CONFIG=" + dir
}

// registryProxy passes requests on as they are, the name of the host included,
// because a registry makes the addresses of uploads from it.
func registryProxy(registry string) http.Handler {
	target := &url.URL{Scheme: "http", Host: registry}
	return &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(target)
		p.Out.Host = p.In.Host
	}}
}
