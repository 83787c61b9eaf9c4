package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sigstack/internal/signing"
)

// testApp is an app whose output is kept and whose clock stands until it is moved.
type testApp struct {
	app
	stdout, stderr bytes.Buffer
	at             time.Time
}

func newTestApp(format string) *testApp {
	t := &testApp{at: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	t.app = app{in: strings.NewReader(""), out: &t.stdout, err: &t.stderr, format: format, now: func() time.Time { return t.at }}
	return t
}

func TestExitCodes(t *testing.T) {
	unreachable := &signing.UnreachableError{Service: "s", URL: "u", Err: errors.New("e")}
	for _, tt := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("no"), 1},
		{context.Canceled, 1}, // of our own doing
		{&signing.RefusedError{Check: signing.CheckIdentity, Err: errors.New("e")}, 1},
		{usagef("no"), 2},
		{fmt.Errorf("wrapped: %w", usagef("no")), 2},
		{unreachable, 3},
		{errors.Join(fmt.Errorf("wrapped: %w", unreachable), errors.New("other")), 3},
	} {
		if got := exitCode(tt.err, false); got != tt.want {
			t.Errorf("%v: exit code %d, want %d", tt.err, got, tt.want)
		}
	}
	for _, tt := range []struct {
		err  error
		want int
	}{
		{nil, 0}, // serve stops when it is told to
		{fmt.Errorf("log in: %w", context.Canceled), 130},
		{&signing.UnreachableError{Service: "s", URL: "u", Err: context.Canceled}, 130},
		{errors.New("the log could not be closed"), 1},
		{usagef("no"), 2},
	} {
		if got := exitCode(tt.err, true); got != tt.want {
			t.Errorf("interrupted, %v: exit code %d, want %d", tt.err, got, tt.want)
		}
	}
}

func TestListenFor(t *testing.T) {
	for _, tt := range []struct{ asked, url, want string }{
		{"", "", "127.0.0.1:8080"},
		{"", "http://localhost:18210", "127.0.0.1:18210"},
		{"", "https://localhost", "127.0.0.1:443"},
		{"", "http://127.0.0.2:9000", "127.0.0.2:9000"},
		{"", "http://[::1]:9000", "[::1]:9000"},
		{"", "https://sigstack.corp.example:9000", "127.0.0.1:8080"},
		{"", "nonsense", "127.0.0.1:8080"},
		{"127.0.0.1:1", "http://localhost:18210", "127.0.0.1:1"},
	} {
		if got := listenFor(tt.asked, tt.url); got != tt.want {
			t.Errorf("--listen %q --url %q: listens on %s, want %s", tt.asked, tt.url, got, tt.want)
		}
	}
}

func TestKindOf(t *testing.T) {
	for _, tt := range []struct{ content, want string }{
		{`{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`, aTrustedRoot},
		{`{"mediaType": "application/vnd.dev.sigstore.trustedroot.v0.2+json"}`, aTrustedRoot},
		{`{"mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json"}`, aSigningConfig},
		{`{"signed": {"_type": "root"}}`, aTUFRoot},
		{`{"signed": {"_type": "timestamp"}}`, "TUF metadata of the role timestamp"},
		{`{"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json"}`, "a signature's bundle"},
		{"-----BEGIN CERTIFICATE-----", "PEM, a certificate or key"},
		{`{}`, ""},
		{`[]`, ""},
		{``, ""},
		{`x`, ""},
	} {
		if got := kindOf([]byte(tt.content)); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.content, got, tt.want)
		}
	}
}

func TestPrintError(t *testing.T) {
	text := newTestApp("text")
	text.printError(fmt.Errorf("sign release: %w", context.Canceled), 1)
	if got := text.stderr.String(); got != "sigstack: interrupted (sign release: context canceled)\n" {
		t.Errorf("got %q", got)
	}
	quoting := newTestApp("text")
	quoting.printError(errors.New("registry says \x1b[2Jverified\n\tand more"), 1)
	if got, want := quoting.stderr.String(), "sigstack: registry says \ufffd[2Jverified\n\ufffdand more\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	asJSON := newTestApp("json")
	asJSON.printError(errors.New(`say "x"`), 2)
	var got map[string]any
	if err := json.Unmarshal(asJSON.stderr.Bytes(), &got); err != nil || got["error"] != `say "x"` || got["exit_code"] != 2.0 || asJSON.stdout.Len() > 0 {
		t.Errorf("got %v, %v", got, err)
	}
}

// TestPrintResult: a time that nobody stated is not made up.
func TestPrintResult(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for want, r := range map[string]signing.Result{
		"  logged      2026-03-01 12:00:00Z, index 7\n":           {LogIndex: 7, IntegratedTime: at, Timestamp: at.Add(time.Second)},
		"  logged      index 7; timestamp 2026-03-01 12:00:00Z\n": {LogIndex: 7, Timestamp: at},
		"  logged      index 7, at an unknown time\n":             {LogIndex: 7},
	} {
		a := newTestApp("text")
		a.printResult(r)
		if got := a.stdout.String(); !strings.Contains(got, want) {
			t.Errorf("got %q, want %q in it", got, want)
		}
	}
}

func TestBarWritesALineNowAndThen(t *testing.T) {
	a := newTestApp("text")
	b := a.newBar("signing")
	for _, step := range []struct {
		after time.Duration
		done  int
	}{{time.Second, 1}, {5 * time.Second, 2}, {time.Second, 3}, {time.Second, 4}} {
		a.at = a.at.Add(step.after)
		b.set(step.done, 4, int64(step.done)<<20, "x/kubectl")
	}
	b.end()
	want := "signing 2/4 files, 2.0 MiB, 0.3/s, 6s left\nsigning 4/4 files, 4.0 MiB, 0.5/s, 0s left\n"
	if got := a.stderr.String(); got != want || a.stdout.Len() > 0 {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestBarRedrawsOnATerminal(t *testing.T) {
	a := newTestApp("text")
	b := a.newBar("verifying")
	b.terminal = true
	a.at = a.at.Add(time.Second)
	b.set(1, 3, 10, "a/b/kubectl")
	b.set(2, 3, 20, "skipped: too soon")
	b.set(3, 3, 30, "kubelet")
	b.end()
	want := "\r\x1b[K[==========                    ] verifying 1/3 files, 10 B, 1.0/s, 2s left  kubectl" +
		"\r\x1b[K[==============================] verifying 3/3 files, 30 B, 3.0/s, 0s left  kubelet\n"
	if got := a.stderr.String(); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestBarIsSilentInJSON(t *testing.T) {
	a := newTestApp("json")
	b := a.newBar("signing")
	b.set(0, 0, 0, "")
	b.set(1, 1, 1, "x")
	b.end()
	if got := a.stderr.String() + a.stdout.String(); got != "" {
		t.Errorf("got %q, want nothing", got)
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 5 << 20: "5.0 MiB", 3 << 30: "3.0 GiB", 1 << 60: "1024.0 PiB",
	} {
		if got := size(n); got != want {
			t.Errorf("%d: got %q, want %q", n, got, want)
		}
	}
}

// TestDeviceLogin: without a browser, and in JSON format too, the user is told
// where to go and what to enter.
func TestDeviceLogin(t *testing.T) {
	var url string
	answer := func(w http.ResponseWriter, body string) {
		if _, err := w.Write([]byte(strings.ReplaceAll(body, "URL", url))); err != nil {
			t.Error(err)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, `{"issuer":"URL","token_endpoint":"URL/token","device_authorization_endpoint":"URL/device"}`)
	})
	mux.HandleFunc("POST /device", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, `{"device_code":"secret","user_code":"ABCD-EFGH","verification_uri":"URL/enter","interval":1}`)
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, _ *http.Request) { answer(w, `{"id_token":"a.b.c"}`) })
	server := httptest.NewServer(mux)
	defer server.Close()
	url = server.URL

	a := newTestApp("json")
	token, err := a.login(signing.OIDC{Issuer: url}, true)(t.Context())
	if err != nil || token != "a.b.c" {
		t.Fatalf("got %q, %v", token, err)
	}
	want := "Log in on any device at\n  " + url + "/enter\nand enter the code\n  ABCD-EFGH\n"
	if got := a.stderr.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
