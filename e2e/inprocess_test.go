package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
	"sigstack/internal/config"
	"sigstack/internal/stack"
)

// inProcess is a stack in this process, so that its log and handler are at hand.
type inProcess struct {
	stack *stack.Stack
	dir   string
	url   string
	http  *http.Client
	log   watchedLog
}

func startInProcess(t *testing.T) *inProcess {
	t.Helper()
	s := &inProcess{dir: filepath.Join(t.TempDir(), "data"), log: watchLog(), http: &http.Client{
		Transport:     e2etest.Transport(),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	t.Cleanup(s.http.CloseIdleConnections)
	log := slog.New(s.log)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.url = fmt.Sprintf("%s://localhost:%d", e2etest.Scheme(), listener.Addr().(*net.TCPAddr).Port)
	if err := stack.Init(t.Context(), stack.InitConfig{
		Dir: s.dir, Profile: config.ProfileUp, URL: s.url, Listen: listener.Addr().String(), Now: time.Now, Log: log,
	}); err != nil {
		t.Fatal(err)
	}
	s.stack, err = stack.Open(t.Context(), stack.Options{
		Dir: s.dir, Profile: config.ProfileUp, Listener: listener, Now: time.Now, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	e2etest.Adopt(t, s.dir)
	s.run(t)
	return s
}

// run runs the stack until the test ends, and returns when it is ready.
func (s *inProcess) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- s.stack.Run(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-done:
		t.Fatalf("stack ended: %v", err)
	case <-time.After(e2etest.ReadyWithin):
		t.Fatalf("stack is not ready after %v", e2etest.ReadyWithin)
	}
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("stack ended: %v", err)
		}
		s.log.wantClean(t)
		e2etest.WantNoLeakInAudit(t, s.dir)
	})
}

// send sends a request whose target reaches the server byte for byte.
func (s *inProcess) send(t *testing.T, method, target string, header http.Header, body io.Reader) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.url, body)
	if err != nil {
		t.Fatal(err)
	}
	path, query, _ := strings.Cut(target, "?")
	req.URL = &url.URL{Scheme: req.URL.Scheme, Host: req.URL.Host, Opaque: path, RawQuery: query}
	req.Header.Set("Content-Type", "application/json")
	for name, values := range header {
		req.Header[name] = values
	}
	resp, err := s.http.Do(req)
	if err != nil {
		t.Fatalf("%s %.100s: no answer: %v", method, target, err)
	}
	answered, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		t.Fatalf("%s %.100s: %v", method, target, err)
	}
	if resp.StatusCode >= http.StatusBadRequest {
		e2etest.WantNoLeak(t, "the answer of "+target, answered)
	}
	return answer{resp.StatusCode, resp.Header, answered}
}

// wantHealthy asks whether the process still answers.
func (s *inProcess) wantHealthy(t *testing.T) {
	t.Helper()
	if a := s.send(t, http.MethodGet, "/readyz", nil, nil); a.status != http.StatusOK {
		t.Fatalf("not ready any more: %d %s", a.status, a.body)
	}
}

// stillWorks signs and verifies with all services.
func (s *inProcess) stillWorks(t *testing.T) {
	t.Helper()
	blob := e2etest.WriteFile(t, t.TempDir(), "blob", "hello\n")
	kit := filepath.Join(s.dir, "client")
	token := strings.TrimSpace(e2etest.MustRun(t, nil, e2etest.Sigstack(t), "token", "--dir", s.dir))
	e2etest.MustRun(t, []string{"SIGSTORE_ID_TOKEN=" + token}, e2etest.Sigstack(t), "sign", "--client", kit, blob)
	e2etest.MustRun(t, nil, e2etest.Sigstack(t), "verify", "--client", kit,
		"--certificate-identity", e2etest.DemoUser, "--certificate-oidc-issuer", s.url+"/dex", blob)
}

// watchedLog is a slog.Handler that keeps all that is logged, and apart from it
// faults of our own: panics, and answers of 5xx.
type watchedLog struct {
	slog.Handler // writes to kept
	kept         *kept
}

type kept struct {
	mu     sync.Mutex // guards the rest
	text   bytes.Buffer
	faults []string
}

func watchLog() watchedLog {
	k := &kept{}
	return watchedLog{slog.NewTextHandler(k, &slog.HandlerOptions{Level: slog.LevelDebug}), k}
}

// Write takes what is logged.
func (k *kept) Write(p []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.text.Write(p)
}

// Handle passes over Dex's errors, most of which are its callers', when it looks
// for faults.
func (l watchedLog) Handle(ctx context.Context, r slog.Record) error {
	err := l.Handler.Handle(ctx, r)
	if r.Level < slog.LevelError || r.Message != "handler panicked" && r.Message != "request" {
		return err
	}
	var text strings.Builder
	text.WriteString(r.Message)
	r.Attrs(func(a slog.Attr) bool {
		fmt.Fprintf(&text, " %s=%v", a.Key, a.Value)
		return true
	})
	l.kept.mu.Lock()
	defer l.kept.mu.Unlock()
	l.kept.faults = append(l.kept.faults, text.String())
	return err
}

func (l watchedLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return watchedLog{l.Handler.WithAttrs(attrs), l.kept}
}

func (l watchedLog) WithGroup(name string) slog.Handler {
	return watchedLog{l.Handler.WithGroup(name), l.kept}
}

// wantClean fails the test for every panic and every fault that was logged, and
// for a secret.
func (l watchedLog) wantClean(t *testing.T) {
	t.Helper()
	l.kept.mu.Lock()
	defer l.kept.mu.Unlock()
	for _, f := range l.kept.faults {
		t.Errorf("logged as our fault: %s", f)
	}
	if l.kept.text.Len() == 0 {
		t.Error("nothing was logged, so no secret was looked for")
	}
	e2etest.WantNoLeak(t, "the log", l.kept.text.Bytes())
}
