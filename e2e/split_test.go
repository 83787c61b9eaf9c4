package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
	"sigstack/internal/config"
	"sigstack/internal/httpd"
)

// parts are the processes of a split stack, and what each does.
var parts = map[string][]string{
	"front": {"tuf"},
	"ca":    {"ca", "tsa"},
	"logs":  {"ctlog", "tlog"},
	"oidc":  {"oidc"},
}

// TestSplitStack runs the four processes one by one, as an operator's init system
// would.
func TestSplitStack(t *testing.T) {
	t.Setenv(e2etest.ModeVariable, "split") // whatever the mode of the run
	s := e2etest.Start(t, t.TempDir())
	s.Stop()
	p := startParts(t, s)
	p.wantSigns(t)

	t.Run("keys", func(t *testing.T) { wantOwnKeys(t, s.Dir) })
	t.Run("strangers", func(t *testing.T) { p.wantNoAnswerToStrangers(t) })
	t.Run("the original directory", func(t *testing.T) {
		r := e2etest.Run(t, nil, e2etest.Sigstack(t), "up", "--dir", s.Dir)
		if r.Code != 1 || !strings.Contains(r.Stderr, "would fork the logs") {
			t.Errorf("the directory that was split: exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
		}
	})
	t.Run("one request id, one client", func(t *testing.T) { p.wantOneRequest(t) })
	for _, name := range []string{"logs", "oidc", "ca", "front"} {
		t.Run("without "+name, func(t *testing.T) { p.wantHeals(t, name) })
	}
}

// split is a stack whose processes the test itself runs.
type split struct {
	*e2etest.Stack

	t         *testing.T // the whole test: processes outlive the part that starts them
	http      *http.Client
	processes map[string]*part
}

// part is one process.
type part struct {
	cmd  *exec.Cmd
	logs *syncBuffer
	done chan struct{}
}

// syncBuffer takes a process's log while it is read.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// startParts starts the front first: no order is the right one.
func startParts(t *testing.T, s *e2etest.Stack) *split {
	t.Helper()
	p := &split{Stack: s, t: t, http: &http.Client{Transport: e2etest.Transport()}, processes: map[string]*part{}}
	t.Cleanup(p.http.CloseIdleConnections)
	for _, name := range []string{"front", "ca", "oidc", "logs"} {
		p.start(t, name)
	}
	p.awaitReady(t)
	return p
}

func (p *split) dir(name string) string { return filepath.Join(p.Dir, "processes", name) }

func (p *split) start(t *testing.T, name string) {
	t.Helper()
	c := &part{logs: new(syncBuffer), done: make(chan struct{})}
	c.cmd = exec.Command(e2etest.Sigstack(t), "up", "--dir", p.dir(name), "--log-level", "debug") // ended by kill
	c.cmd.Stderr = c.logs
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.done)
		_, _ = bufio.NewReader(stdout).WriteTo(io.Discard)
		_ = c.cmd.Wait()
	}()
	p.processes[name] = c
	p.t.Cleanup(func() { c.kill(p.t) })
}

// kill ends the process as a crash would.
func (c *part) kill(t *testing.T) {
	t.Helper()
	if err := c.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
	<-c.done
}

// readiness is what the front says; nil when it cannot be reached.
func (p *split) readiness(t *testing.T) map[string]httpd.ServiceStatus {
	t.Helper()
	answer, err := p.get(t.Context(), "/readyz")
	if err != nil {
		return nil
	}
	var rep httpd.Report
	if err := json.Unmarshal(answer.body, &rep); err != nil {
		t.Fatalf("/readyz: %v: %s", err, answer.body)
	}
	return rep.Services
}

func (p *split) get(ctx context.Context, path string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL+path, nil)
	if err != nil {
		return answer{}, err
	}
	return p.do(req)
}

func (p *split) do(req *http.Request) (answer, error) {
	resp, err := p.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, body}, errors.Join(err, resp.Body.Close())
}

// await waits until the front's report is as ok wants it.
func (p *split) await(t *testing.T, what string, ok func(map[string]httpd.ServiceStatus) bool) {
	t.Helper()
	deadline := time.After(e2etest.ReadyWithin)
	for {
		services := p.readiness(t)
		if ok(services) {
			return
		}
		select {
		case <-deadline:
			for name, c := range p.processes {
				t.Logf("stderr of %s:\n%s", name, c.logs)
			}
			t.Fatalf("waited %v for %s: %+v", e2etest.ReadyWithin, what, services)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (p *split) awaitReady(t *testing.T) {
	t.Helper()
	p.await(t, "the stack to be ready", func(services map[string]httpd.ServiceStatus) bool {
		for name, s := range services {
			if s.Status == httpd.Down || name == "ca" && s.Status != httpd.OK {
				return false
			}
		}
		return len(services) > 0
	})
}

// wantSigns signs and verifies with cosign and with sigstack.
func (p *split) wantSigns(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	blob := e2etest.WriteFile(t, dir, "blob", rand64())
	bundle := filepath.Join(dir, "cosign.json")
	p.SignWithCosign(t, blob, bundle)
	e2etest.WantAccepted(t, "cosign", p.VerifyWithCosign(t, blob, bundle))
	e2etest.WantAccepted(t, "sigstack", p.Verify(t, blob, bundle))
	own := filepath.Join(dir, "own.json")
	e2etest.MustRun(t, []string{p.TokenEnv(t)}, e2etest.Sigstack(t), "sign", "--client", p.Kit(""), "--bundle", own, blob)
	e2etest.WantAccepted(t, "cosign", p.VerifyWithCosign(t, blob, own))
	e2etest.WantAccepted(t, "sigstack", p.Verify(t, blob, own))
}

func rand64() string { return fmt.Sprintf("%d\n", time.Now().UnixNano()) }

// wantOwnKeys demands that each directory holds its own private keys, and no
// others.
func wantOwnKeys(t *testing.T, dir string) {
	t.Helper()
	want := map[string][]string{
		"front": {"audit.key", "peer.key", "tls-ca.key", "tuf-snapshot.key", "tuf-timestamp.key"},
		"ca":    {"audit.key", "ca.key", "peer.key", "tsa.key"},
		"logs":  {"audit.key", "ctlog.key", "peer.key", "rekor.key"},
		"oidc":  {"audit.key", "oidc.secret", "peer.key"},
	}
	for name := range parts {
		var got []string
		root := filepath.Join(dir, "processes", name)
		err := filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			data, err := os.ReadFile(path)
			if err == nil && (bytes.Contains(data, []byte("PRIVATE KEY-----")) || bytes.Contains(data, []byte("SIGSTACK SECRET-----"))) {
				got = append(got, filepath.Base(path))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(got)
		if !slices.Equal(got, want[name]) {
			t.Errorf("private keys of %s: %v, want %v", name, got, want[name])
		}
	}
}

// wantNoAnswerToStrangers tries the internal listeners without a pinned key.
func (p *split) wantNoAnswerToStrangers(t *testing.T) {
	t.Helper()
	for name := range parts {
		conf, err := config.Load(filepath.Join(p.dir(name), "config.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		if conf.Peers.Listen == "" {
			continue // the front's listener is for everybody
		}
		for _, plain := range []bool{true, false} {
			got, err := ask(t, conf.Peers.Listen, plain)
			if strings.Contains(got, "HTTP/1.1 2") || !plain && err == nil {
				t.Errorf("%s answered a stranger (plaintext: %v): %q", name, plain, got)
			}
		}
	}
}

func ask(t *testing.T, address string, plain bool) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var conn net.Conn
	var err error
	if plain {
		conn, err = new(net.Dialer).DialContext(ctx, "tcp", address)
	} else {
		dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1", "h2"}}}
		conn, err = dialer.DialContext(ctx, "tcp", address)
	}
	if err != nil {
		return "", err
	}
	defer conn.Close() //nolint:errcheck // a test's
	if _, err := io.WriteString(conn, "GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
		return "", err
	}
	got, err := io.ReadAll(conn)
	return string(got), err
}

// wantOneRequest asks for a certificate with an id and a lie about who is asking:
// the id is in the logs of all processes that had to do with it, the lie in none.
func (p *split) wantOneRequest(t *testing.T) {
	t.Helper()
	const id, lie = "split-test-request", "203.0.113.77"
	body, err := certificateRequest(p.Token(t))
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.URL+"/api/v2/signingCert", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Request-Id", id)
	req.Header.Set("X-Forwarded-For", lie)
	a, err := p.do(req)
	if err != nil || a.status != http.StatusOK {
		t.Fatalf("certificate: %d %s %v", a.status, a.body, err)
	}
	for _, name := range []string{"front", "ca", "logs"} {
		p.awaitLog(t, name, id)
	}
	for name := range parts {
		var records []byte
		files, err := filepath.Glob(filepath.Join(p.dir(name), "audit", "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			records = append(records, e2etest.ReadFile(t, f)...)
		}
		if bytes.Contains(records, []byte(lie)) {
			t.Errorf("audit record of %s believes a stranger's X-Forwarded-For", name)
		}
		if name == "ca" && (!bytes.Contains(records, []byte(id)) || !bytes.Contains(records, []byte("127.0.0.1"))) {
			t.Errorf("audit record of the CA lacks the request's id, or its client")
		}
	}
}

// awaitLog waits for a text in a process's log, which is written after the answer.
func (p *split) awaitLog(t *testing.T, name, text string) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for !strings.Contains(p.processes[name].logs.String(), text) {
		select {
		case <-deadline:
			t.Errorf("log of %s lacks %q", name, text)
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// probes are a path of each process that answers 200.
var probes = map[string]string{
	"front": "/tuf/timestamp.json", "ca": "/api/v2/trustBundle", "logs": "/api/v1/log", "oidc": "/dex/.well-known/openid-configuration",
}

// wantHeals kills a process: the others serve on, its own paths say that they will
// be back, and after its start all is as it was.
func (p *split) wantHeals(t *testing.T, name string) {
	t.Helper()
	p.processes[name].kill(t)
	if name != "front" {
		p.await(t, name+" to be down", func(services map[string]httpd.ServiceStatus) bool {
			for _, service := range parts[name] {
				if services[service].Status != httpd.Down {
					return false
				}
			}
			return true
		})
		for other, path := range probes {
			a, err := p.get(t.Context(), path)
			switch {
			case err != nil:
				t.Fatal(err)
			case other == name && (a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == ""):
				t.Errorf("%s without its process: %d, Retry-After %q, want 503", path, a.status, a.header.Get("Retry-After"))
			case other != name && a.status != http.StatusOK:
				t.Errorf("%s without %s: %d %s", path, name, a.status, a.body)
			}
		}
		if name == "logs" {
			p.wantNoCertificate(t)
		}
	}
	p.start(t, name)
	p.awaitReady(t)
	p.wantSigns(t)
	for other, c := range p.processes {
		select {
		case <-c.done:
			t.Errorf("%s ended", other)
		default:
		}
	}
}

// wantNoCertificate: no SCT, no certificate.
func (p *split) wantNoCertificate(t *testing.T) {
	t.Helper()
	body, err := certificateRequest(p.Token(t))
	if err != nil {
		t.Fatal(err)
	}
	status, got, err := e2etest.Post(t.Context(), p.http, p.URL+"/api/v2/signingCert", body)
	if err != nil || status != http.StatusServiceUnavailable {
		t.Errorf("certificate without a CT log: %d %s %v, want 503", status, got, err)
	}
}
