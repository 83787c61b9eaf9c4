package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/signing"
	"sigstack/internal/stack"
	"sigstack/tools/load/loadtest"
)

// served is a test stack in this process.
type served struct{ url, kit, token string }

// startStack serves a stack until the test ends; more is added to its
// configuration.
func startStack(t *testing.T, more ...string) served {
	t.Helper()
	dir, log := filepath.Join(t.TempDir(), "data"), slog.New(slog.DiscardHandler)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	url := "http://localhost:" + port
	err = stack.Init(t.Context(), stack.InitConfig{
		Dir: dir, Profile: config.ProfileUp, URL: url, Listen: listener.Addr().String(), Now: time.Now, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	add(t, stack.Layout{Dir: dir}.Config(), strings.Join(more, ""))
	s, err := stack.Open(t.Context(), stack.Options{Dir: dir, Profile: config.ProfileUp, Listener: listener, Now: time.Now, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- s.Run(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-done:
		t.Fatalf("the stack ended: %v", err)
	}
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the stack ended: %v", err)
		}
	})
	email, password, err := stack.Layout{Dir: dir}.DemoPassword()
	if err != nil {
		t.Fatal(err)
	}
	token, err := signing.OIDC{Issuer: url + "/dex"}.Password(t.Context(), email, password)
	if err != nil {
		t.Fatal(err)
	}
	return served{url, filepath.Join(dir, "client"), write(t, "token", token+"\n")}
}

func add(t *testing.T, path, text string) {
	t.Helper()
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(before, text...), 0o600); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// load runs the program and returns its exit code and what it printed.
func load(t *testing.T, ctx context.Context, args ...string) (int, string, string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(ctx, args, &stdout, &stderr)
	return code, stdout.String(), stderr.String()
}

func decode(t *testing.T, text string) report {
	t.Helper()
	var r report
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	return r
}

// TestAgainstStack runs each target that a stack serves against a real one.
func TestAgainstStack(t *testing.T) {
	s := startStack(t)
	root := filepath.Join(s.kit, "trusted_root.json")
	for _, args := range [][]string{
		{"ca", "--trusted-root", root, "--token-file", s.token},
		{"ca", "--ct-key", filepath.Join(s.kit, "ctfe.pub"), "--token-file", s.token},
		{"rekor1", "--trusted-root", root},
		{"rekor1"},
		{"rekor1", "--rekor-key", filepath.Join(s.kit, "rekor.pub")},
		{"tsa", "--trusted-root", root},
		{"tsa"},
		{"get", "--trusted-root", root, "--entries", "20"},
		{"get", "--by", "index", "--entries", "20"},
		{"get", "--indexes", "0-30"},
		{"search", "--entries", "20"},
		{"search", "--by", "email", "--entries", "20"},
		{"search", "--by", "key", "--entries", "20"},
		{"signing", "--trusted-root", root, "--token-file", s.token},
	} {
		t.Run(strings.Join(args[:min(3, len(args))], " "), func(t *testing.T) {
			t.Parallel()
			code, out, errs := load(t, t.Context(), append(args, "--url", s.url+"/", "--concurrency", "4",
				"--duration", "1s", "--warm-up", "100ms", "--pid", strconv.Itoa(os.Getpid()), "--output", "json")...)
			if code != exitDone {
				t.Fatalf("exit %d: %s%s", code, out, errs)
			}
			r := decode(t, out)
			if r.Operations < 10 || r.Errors.Total != 0 || r.Interrupted || r.Duration < 1 || r.Target != args[0] {
				t.Errorf("got %+v", r)
			}
			l := r.Latency
			if l.Min <= 0 || l.Min > l.P50 || l.P50 > l.P95 || l.P95 > l.P99 || l.P99 > l.Max || l.Mean > l.Max {
				t.Errorf("latencies are not in order: %+v", l)
			}
			// This process is the server and the driver.
			if r.CPU.PerThousand == nil || *r.CPU.PerThousand <= 0 || r.CPU.Driver <= 0 || r.CPU.Problem != "" || len(r.CPU.Processes) != 1 {
				t.Errorf("got CPU %+v", r.CPU)
			}
			if r.Driver.Preparing <= 0 || r.Driver.Verifying <= 0 || r.Machine.Cores < 1 {
				t.Errorf("got %+v of %+v", r.Driver, r.Machine)
			}
		})
	}
}

// TestWrongTrust: a right answer by keys that are not the trusted ones is wrong.
func TestWrongTrust(t *testing.T) {
	s, other := startStack(t), startStack(t)
	for _, tt := range []struct {
		args []string
		kind string // "": refused before the run
	}{
		{[]string{"ca", "--ct-key", filepath.Join(other.kit, "ctfe.pub")}, "sct"},
		{[]string{"ca", "--trusted-root", filepath.Join(other.kit, "trusted_root.json")}, "chain"},
		{[]string{"signing", "--ct-key", filepath.Join(s.kit, "ctfe.pub"), "--tsa-chain", filepath.Join(other.kit, "tsa.crt.pem")}, "signer"},
		{[]string{"tsa", "--trusted-root", filepath.Join(other.kit, "trusted_root.json")}, "signer"},
		{[]string{"rekor1", "--rekor-host", "other.example"}, "checkpoint"},
		{[]string{"rekor1", "--rekor-key", filepath.Join(other.kit, "rekor.pub")}, ""},
		{[]string{"get", "--trusted-root", filepath.Join(other.kit, "trusted_root.json")}, ""},
	} {
		t.Run(strings.Join(tt.args[:2], " "), func(t *testing.T) {
			t.Parallel()
			code, out, errs := load(t, t.Context(), append(tt.args, "--url", s.url, "--token-file", s.token, "--count", "3", "--output", "json")...)
			if tt.kind == "" {
				if code != exitWrong || out != "" || !strings.Contains(errs, "none of the trusted ones") {
					t.Errorf("exit %d: %s%s", code, out, errs)
				}
				return
			}
			r := decode(t, out)
			if code != exitWrong || r.Operations != 0 || len(r.Errors.ByKind) != 1 || r.Errors.ByKind[0].Kind != tt.kind || r.Errors.Total != 3 {
				t.Errorf("exit %d: got %d right answers and %+v, want 3 of kind %q", code, r.Operations, r.Errors, tt.kind)
			}
		})
	}
}

// TestLimited: what a stack refuses over its rates is counted as that.
func TestLimited(t *testing.T) {
	s := startStack(t, "limits:\n  address: {per_second: 0.001, burst: 40}\n")
	code, out, _ := load(t, t.Context(), "rekor1", "--url", s.url, "--count", "60", "--output", "json")
	r := decode(t, out)
	if code != exitWrong || r.Operations == 0 || r.Operations+r.Errors.Total != 60 || len(r.Errors.ByKind) != 1 || r.Errors.ByKind[0].Kind != "status 429" {
		t.Errorf("exit %d: %s", code, out)
	}
}

func TestText(t *testing.T) {
	f := loadtest.Start(t)
	args := []string{"search", "--url", f.URL, "--count", "20", "--entries", "2", "--concurrency", "2"}
	code, out, errs := load(t, t.Context(), args...)
	if code != exitDone || !strings.HasPrefix(out, "search ×2: 20 operations in ") || !strings.Contains(out, " 0 errors") || errs != "" {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	var n int
	f.Set(loadtest.Hooks{Found: func(ids []string) []string {
		if n++; n%4 == 0 {
			return nil
		}
		return ids
	}})
	code, out, _ = load(t, t.Context(), "search", "--url", f.URL, "--count", "20", "--entries", "2")
	if code != exitWrong || !strings.HasPrefix(out, "search ×1: 15 operations in ") || !strings.Contains(out, "\n  5 × missing: missing: ") {
		t.Errorf("exit %d: %s", code, out)
	}
}

func TestInterrupted(t *testing.T) {
	f := loadtest.Start(t)
	ctx, cancel := context.WithCancel(t.Context())
	var n int
	f.Set(loadtest.Hooks{Found: func(ids []string) []string {
		if n++; n == 30 {
			cancel()
		}
		return ids
	}})
	code, out, errs := load(t, ctx, "search", "--url", f.URL, "--duration", "1h", "--entries", "2", "--output", "json")
	r := decode(t, out)
	if code != exitDone || !r.Interrupted || r.Errors.Total != 0 || r.Operations < 20 || r.Operations > 30 {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
}

func TestTLS(t *testing.T) {
	f := loadtest.Start(t)
	backend := f.URL
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req, err := http.NewRequestWithContext(r.Context(), r.Method, backend+r.URL.RequestURI(), r.Body)
		if err != nil {
			t.Error(err)
			return
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Error(err)
			return
		}
		defer resp.Body.Close()
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body)
	}))
	defer server.Close()
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	if code, out, errs := load(t, t.Context(), "tsa", "--url", server.URL, "--count", "3"); code != exitWrong || out != "" || !strings.Contains(errs, "tls: ") {
		t.Errorf("without authority: exit %d: %s%s", code, out, errs)
	}
	authority := write(t, "ca.pem", loadtest.PEMs(server.TLS.Certificates[0].Leaf)[0])
	if code, out, errs := load(t, t.Context(), "tsa", "--url", server.URL, "--count", "3", "--tls-ca", authority); code != exitDone {
		t.Errorf("with authority: exit %d: %s%s", code, out, errs)
	}
}

func TestExitCodes(t *testing.T) {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	f := loadtest.Start(t)
	empty := write(t, "empty", "")
	tests := []struct {
		name, want string // of standard error
		code       int
		args       []string
	}{
		{"help", "Targets:", exitDone, []string{"--help"}},
		{"help of a target", "-tls-ca", exitDone, []string{"ca", "--help"}},
		{"no target", "want one of ca,", exitUsage, nil},
		{"unknown target", `target "x"`, exitUsage, []string{"x"}},
		{"unknown flag", "not defined", exitUsage, []string{"ca", "--x"}},
		{"target behind", "comes first", exitUsage, []string{"--quiet", "tsa"}},
		{"no URL", "--url", exitUsage, []string{"tsa"}},
		{"no scheme", "http://", exitUsage, []string{"tsa", "--url", "localhost:1"}},
		{"one URL of three", "--url", exitUsage, []string{"signing", "--ca-url", nobody, "--rekor-url", nobody, "--token-file", empty}},
		{"no token", "--token-file", exitUsage, []string{"ca", "--url", nobody}},
		{"empty token file", "a Sigstore", exitWrong, []string{"ca", "--url", f.URL, "--token-file", empty}},
		{"no token file", "--token-file: ", exitUsage, []string{"ca", "--url", nobody, "--token-file", empty + "x"}},
		{"bad key", "--ct-key: ", exitUsage, []string{"ca", "--url", nobody, "--token-file", empty, "--ct-key", empty}},
		{"bad root", "--trusted-root: ", exitUsage, []string{"tsa", "--url", nobody, "--trusted-root", empty}},
		{"bad authority", "--tls-ca: ", exitUsage, []string{"tsa", "--url", nobody, "--tls-ca", write(t, "x", "x")}},
		{"count and duration", "exclude", exitUsage, []string{"tsa", "--url", nobody, "--count", "1", "--duration", "1s"}},
		{"concurrency", "--concurrency", exitUsage, []string{"tsa", "--url", nobody, "--concurrency", "0"}},
		{"negative", "--warm-up", exitUsage, []string{"tsa", "--url", nobody, "--warm-up", "-1s"}},
		{"output", "--output", exitUsage, []string{"tsa", "--url", nobody, "--output", "xml"}},
		{"by", "--by", exitUsage, []string{"get", "--url", nobody, "--by", "email"}},
		{"by of what has none", "--by", exitUsage, []string{"tsa", "--url", nobody, "--by", "email"}},
		{"indexes", "FIRST-LAST", exitUsage, []string{"get", "--url", nobody, "--indexes", "7"}},
		{"indexes backwards", "the last", exitUsage, []string{"get", "--url", nobody, "--indexes", "7-3"}},
		{"indexes of another", "--indexes", exitUsage, []string{"search", "--url", nobody, "--indexes", "1-3"}},
		{"entries", "--entries", exitUsage, []string{"get", "--url", nobody, "--entries", "0"}},
		{"pid", "no process ID", exitUsage, []string{"tsa", "--url", nobody, "--pid", "1,x"}},
		{"pid of nobody", "--pid: ", exitUsage, []string{"tsa", "--url", nobody, "--pid", "2147483600"}},
		{"v2 without key", "v2 log's key", exitWrong, []string{"rekor2", "--url", nobody}},
		{"unreachable", "unreachable", exitUnreachable, []string{"rekor1", "--url", nobody}},
		{"wrong path", "status 404", exitWrong, []string{"rekor1", "--url", f.URL + "/x"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.name == "empty token file" {
				tt.want, tt.args = "identity token", append(tt.args, "--ct-key", write(t, "ct", ctKey(t, f)))
			}
			code, out, errs := load(t, t.Context(), tt.args...)
			if code != tt.code || out != "" || !strings.Contains(errs, tt.want) {
				t.Errorf("exit %d, printed %q, said %q; want %d and %q", code, out, errs, tt.code, tt.want)
			}
		})
	}
	// Given its chain, the target asks nothing before the run.
	chain := write(t, "chain", strings.Join(loadtest.PEMs(f.Stack.Keys.TSA.Chain...), ""))
	code, out, _ := load(t, t.Context(), "tsa", "--url", nobody, "--tsa-chain", chain, "--count", "3", "--output", "json")
	if r := decode(t, out); code != exitUnreachable || r.Errors.ByKind[0].Kind != "unreachable" || r.Errors.Total != 3 {
		t.Errorf("unreachable in the run: exit %d, %s", code, out)
	}
}

func ctKey(t *testing.T, f *loadtest.Fake) string {
	t.Helper()
	return loadtest.KeyPEM(f.Stack.Keys.CT.Public())
}
