package stack_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
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

// running is a stack that is ready. When the test ends it is stopped and waited
// for; an error that the test has not read from done fails it.
type running struct {
	*stack.Stack
	stop func()
	done <-chan error
}

// start runs a stack and returns when it is ready.
func start(t *testing.T, opts stack.Options) running {
	t.Helper()
	s, err := stack.Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return run(t, s)
}

func run(t *testing.T, s *stack.Stack) running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() {
		done <- s.Run(ctx, func() { close(ready) })
		close(done)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-ready:
	case err := <-done:
		t.Fatalf("stack ended before it was ready: %v", err)
	}
	return running{s, cancel, done}
}

func (r running) report(t *testing.T) (int, httpd.Report) {
	t.Helper()
	return report(t, r.Handler())
}

func report(t *testing.T, h http.Handler) (int, httpd.Report) {
	t.Helper()
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/readyz", nil))
	var rep httpd.Report
	if err := json.Unmarshal(rec.Body.Bytes(), &rep); err != nil {
		t.Fatalf("%q: %v", rec.Body, err)
	}
	return rec.Code, rep
}

// TestFailedStartCheckIsNamedAndTriedAgain takes the demo user's password away
// and gives it back.
func TestFailedStartCheckIsNamedAndTriedAgain(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	user, away := filepath.Join(dir, "demo-user"), filepath.Join(dir, "away")
	if err := os.Rename(user, away); err != nil {
		t.Fatal(err)
	}
	var s *stack.Stack
	opts := options(dir, config.ProfileUp)
	var failures int
	// The check says that it failed after it has reported so to readiness.
	opts.Log = slog.New(onMessage("start check failed", func() {
		if failures++; failures > 1 {
			return
		}
		code, rep := report(t, s.Handler())
		if got := rep.Services["tlog"]; code != http.StatusServiceUnavailable || !strings.Contains(got.Detail, "demo-user") {
			t.Errorf("not ready: got %d %+v, want 503 and a detail that names the file", code, got)
		}
		if err := os.Rename(away, user); err != nil {
			t.Error(err)
		}
	}))
	s, err := stack.Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	r := run(t, s)
	if code, rep := r.report(t); code != http.StatusOK || rep.Status != httpd.OK || failures != 1 {
		t.Errorf("after %d failures: %d %+v, want ready after one", failures, code, rep)
	}
	r.stop()
	if err := <-r.done; err != nil {
		t.Error(err)
	}
}

// onMessage returns a log handler that calls f at each record with a message.
func onMessage(message string, f func()) slog.Handler { return hook{slog.DiscardHandler, message, f} }

type hook struct {
	slog.Handler
	message string
	f       func()
}

func (h hook) Enabled(context.Context, slog.Level) bool { return true }

func (h hook) Handle(_ context.Context, r slog.Record) error {
	if r.Message == h.message {
		h.f()
	}
	return nil
}

func (h hook) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h hook) WithGroup(string) slog.Handler      { return h }

// breakable is a listener that can fail for good.
type breakable struct {
	net.Listener
	broken chan struct{}
}

func (b breakable) Accept() (net.Conn, error) {
	conn, err := b.Listener.Accept()
	select {
	case <-b.broken:
		return nil, errors.Join(errors.New("out of luck"), conn.Close())
	default:
		return conn, err
	}
}

func TestAListenerThatFailsEndsTheStack(t *testing.T) {
	opts := options(initDir(t, stack.InitConfig{Profile: config.ProfileUp}), config.ProfileUp)
	l := breakable{newListener(t), make(chan struct{})}
	opts.Listener = l
	r := start(t, opts)
	close(l.broken)
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := <-r.done; err == nil || !strings.Contains(err.Error(), "listener: out of luck") {
		t.Errorf("Run: %v, want the listener's failure", err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	// Everything was released: the next start gets ready.
	runUntilReady(t, options(opts.Dir, config.ProfileUp))
}

// TestStopCutsSlowClients: whoever never finishes a request delays the end, and
// neither prevents it nor makes a failure of it.
func TestStopCutsSlowClients(t *testing.T) {
	opts := options(initDir(t, stack.InitConfig{Profile: config.ProfileUp}), config.ProfileUp)
	opts.Listener = newListener(t)
	address := opts.Listener.Addr().String()
	s, err := stack.Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	s.SetDrainTimeout(50 * time.Millisecond)
	r := run(t, s)
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	// The server asks for the body once the handler reads it, so the request is
	// under way then.
	if _, err := fmt.Fprintf(conn, "POST /api/v1/log/entries HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, len("HTTP/1.1 100 Continue"))); err != nil {
		t.Fatal(err)
	}
	r.stop()
	if err := <-r.done; err != nil {
		t.Errorf("Run: %v, want nil", err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
}

// TestRunTellsAddressesWhileItRuns: an address that outlives its listener leads
// clients to somebody else's.
func TestRunTellsAddressesWhileItRuns(t *testing.T) {
	opts := options(initDir(t, stack.InitConfig{Profile: config.ProfileUp}), config.ProfileUp)
	opts.Listener = newListener(t)
	r := start(t, opts)
	dir := filepath.Join(opts.Dir, "run")
	address, err := os.ReadFile(filepath.Join(dir, "address"))
	if err != nil || string(address) != opts.Listener.Addr().String()+"\n" {
		t.Errorf("address %q, %v; want %s", address, err, opts.Listener.Addr())
	}
	metrics, err := os.ReadFile(filepath.Join(dir, "metrics"))
	if err != nil {
		t.Fatal(err)
	}
	wantMetrics(t, strings.TrimSpace(string(metrics)))
	r.stop()
	if err := <-r.done; err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left in run/: %v, %v; want nothing", left, err)
	}
}

func wantMetrics(t *testing.T, address string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/metrics", nil)
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
	if !bytes.Contains(body, []byte("sigstack_http_requests_total")) {
		t.Errorf("metrics answered %d %.200s", resp.StatusCode, body)
	}
}

// TestUpGetsReadyBehindAProxy: whether the proxy that the URL names is there already
// is not for the self-test to say.
func TestUpGetsReadyBehindAProxy(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp, URL: "https://stack.test", TLS: stack.InitTLS{BehindProxy: true}})
	runUntilReady(t, options(dir, config.ProfileUp))
}

func TestExtraIssuers(t *testing.T) {
	ci := config.Issuer{URL: "https://ci.example", ClientID: "sigstore", Type: "email"}
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp, Issuers: []config.Issuer{ci, ci}})
	own := config.Issuer{URL: "http://stack.test:8080/dex", ClientID: "sigstore", Type: "email"}
	for _, tt := range []struct {
		name  string
		extra config.Issuer
		want  string // "" accepts
	}{
		{"new", config.Issuer{URL: "https://other.example", ClientID: "x", Type: "email"}, ""},
		{"the same again", ci, ""},
		{"the stack's own", own, ""},
		{"other settings", config.Issuer{URL: ci.URL, ClientID: "sigstore", Type: "github-workflow"}, "trusted already, as type email"},
		{"malformed", config.Issuer{URL: "ci", ClientID: "sigstore", Type: "email"}, "not an http or https URL"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			opts := options(dir, config.ProfileUp)
			opts.ExtraIssuers = []config.Issuer{tt.extra}
			s, err := stack.Open(t.Context(), opts)
			if (tt.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			if err != nil {
				return
			}
			if got := issuers(t, s); !slices.Contains(got, tt.extra.URL) {
				t.Errorf("the CA trusts %v, want %s among them", got, tt.extra.URL)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// issuers asks the CA whom it trusts.
func issuers(t *testing.T, s *stack.Stack) []string {
	t.Helper()
	rec := httptest.NewRecorder()
	s.Handler().ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/v2/configuration", nil))
	var conf struct {
		Issuers []struct {
			URL string `json:"issuerUrl"`
		} `json:"issuers"`
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &conf); err != nil {
		t.Fatalf("%q: %v", rec.Body, err)
	}
	var urls []string
	for _, i := range conf.Issuers {
		urls = append(urls, i.URL)
	}
	return urls
}

// TestSectionsDecideWhatRuns opens a stack without each section that others can
// do without.
func TestSectionsDecideWhatRuns(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp, URL: "https://stack.test", TLS: stack.InitTLS{BehindProxy: true}})
	path := filepath.Join(dir, "config.yaml")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, without := range []string{"tuf", "tuf oidc", "tuf tlog", "tuf tsa", "tuf ca ctlog"} {
		t.Run(without, func(t *testing.T) {
			conf, err := config.Parse(whole)
			if err != nil {
				t.Fatal(err)
			}
			drop(conf, strings.Fields(without))
			data, err := conf.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := stack.Open(t.Context(), options(dir, config.ProfileUp))
			if err != nil {
				t.Fatal(err)
			}
			_, rep := report(t, s.Handler())
			if want := 6 - len(strings.Fields(without)) + 1; len(rep.Services) != want { // and the audit record
				t.Errorf("%d services run: %+v; want %d", len(rep.Services), rep, want)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func drop(c *config.Config, sections []string) {
	for _, name := range sections {
		switch name {
		case "ca":
			c.CA = nil
		case "ctlog":
			c.CTLog = nil
		case "tlog":
			c.TLog = nil
		case "tsa":
			c.TSA = nil
		case "oidc":
			c.OIDC = nil
		case "tuf":
			c.TUF = nil
		}
	}
}

// TestKitIsMadeAnew: a kit that was changed on disk is not handed out, and its
// env.sh follows the directory.
func TestKitIsMadeAnew(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	before, err := stack.Layout{Dir: dir}.RootSHA256()
	if err != nil {
		t.Fatal(err)
	}
	moved := filepath.Join(t.TempDir(), "moved")
	if err := os.Rename(dir, moved); err != nil {
		t.Fatal(err)
	}
	kit := stack.Layout{Dir: moved}.Client()
	for _, name := range []string{"root.json", "trusted_root.json"} {
		if err := os.WriteFile(filepath.Join(kit, name), []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := stack.Open(t.Context(), options(moved, config.ProfileUp))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	after, err := stack.Layout{Dir: moved}.RootSHA256()
	if err != nil || after != before || s.RootSHA256() != before {
		t.Errorf("root %s, announced %s, %v; want %s", after, s.RootSHA256(), err, before)
	}
	env, err := os.ReadFile(filepath.Join(kit, "env.sh"))
	if err != nil || !strings.Contains(string(env), kit) || strings.Contains(string(env), dir) {
		t.Errorf("env.sh: %v; want it to name %s:\n%s", err, kit, env)
	}
}

func TestInitChecksBeforeItMakes(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*stack.InitConfig)
		want   string
	}{
		{"url", func(c *stack.InitConfig) { c.URL = "http://x/" }, "url:"},
		{"listen", func(c *stack.InitConfig) { c.Listen = "nowhere" }, "listen:"},
		{"issuer", func(c *stack.InitConfig) { c.Issuers = []config.Issuer{{URL: "https://x", Type: "emial"}} }, "want one of"},
		{"passphrase", func(c *stack.InitConfig) { c.Profile = config.ProfileServe }, "needs a passphrase"},
	} {
		cfg := testInit(filepath.Join(t.TempDir(), "data"))
		tt.change(&cfg)
		if err := stack.Init(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
		if _, err := os.Stat(cfg.Dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the directory was made: %v", tt.name, err)
		}
	}
}
