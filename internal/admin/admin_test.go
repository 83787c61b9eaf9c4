package admin_test

import (
	"bytes"
	"context"
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
	"sync"
	"testing"
	"time"

	"sigstack/internal/admin"
	"sigstack/internal/durable"
	"sigstack/internal/fault"
)

// channel is a served directory.
type channel struct {
	dir    string
	server *admin.Server
	client *admin.Client
	log    *bytes.Buffer

	mu       sync.Mutex
	acts     []admin.Act // guarded by mu
	ready    error       // guarded by mu
	recorded error       // guarded by mu
	done     bool        // guarded by mu: the act of that name was done
}

// serve serves dir with a few acts until the test ends.
func serve(t *testing.T, dir string) *channel {
	t.Helper()
	lock, err := durable.LockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	c := &channel{dir: dir, client: admin.Dial(dir), log: &bytes.Buffer{}}
	c.server, err = admin.New(t.Context(), admin.Config{
		Lock: lock, Version: "v9", Ready: c.isReady, Record: c.record, Now: time.Now,
		Log: slog.New(slog.NewTextHandler(c.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	c.acting()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, c.server.Close(), lock.Unlock()); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	return c
}

type greeting struct {
	Text string `json:"text"`
}

func (g greeting) Details() map[string]string { return map[string]string{"greeted": g.Text} }

// acting adds the acts.
func (c *channel) acting() {
	c.server.Handle(http.MethodGet, "/v1/greeting", "", func(context.Context, *http.Request) (any, error) {
		return greeting{"hello"}, nil
	})
	c.server.Handle(http.MethodPost, "/v1/greet/{name}", "greet", func(_ context.Context, r *http.Request) (any, error) {
		body, err := io.ReadAll(r.Body)
		return greeting{r.PathValue("name") + string(body)}, err
	})
	c.server.Handle(http.MethodPost, "/v1/empty", "empty", func(context.Context, *http.Request) (any, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.done = true
		return nil, nil
	})
	c.server.Handle(http.MethodPost, "/v1/refuse", "refuse", func(context.Context, *http.Request) (any, error) {
		return nil, fault.Wrap(fault.Conflict, errors.New("the cause"), "it is there already")
	})
	c.server.Handle(http.MethodPost, "/v1/fail", "fail", func(context.Context, *http.Request) (any, error) {
		return nil, errors.New("disk is full")
	})
	c.server.Handle(http.MethodPost, "/v1/missing", "", func(context.Context, *http.Request) (any, error) {
		return nil, fault.New(fault.NotFound, "no such key")
	})
}

func (c *channel) isReady(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ready
}

func (c *channel) record(_ context.Context, a admin.Act) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.acts = append(c.acts, a)
	return c.recorded
}

// fails makes the record unavailable: before an act, or after it.
func (c *channel) fails(ready, recorded error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ready, c.recorded = ready, recorded
}

// seen returns what is on record, and whether the act that tells was done.
func (c *channel) seen() (acts []admin.Act, done bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.acts), c.done
}

// last returns the newest act on record and forgets all.
func (c *channel) last(t *testing.T) admin.Act {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.acts) != 1 {
		t.Fatalf("record has %+v, want one act", c.acts)
	}
	defer func() { c.acts = nil }()
	return c.acts[0]
}

func TestReadingIsNotRecorded(t *testing.T) {
	c := serve(t, t.TempDir())
	var got greeting
	if err := c.client.Get(t.Context(), "/v1/greeting", &got); err != nil || got.Text != "hello" {
		t.Errorf("got %+v, %v, want hello", got, err)
	}
	if acts, _ := c.seen(); len(acts) != 0 {
		t.Errorf("record has %+v, want nothing", acts)
	}
}

// TestActsAreRecorded: with who asked, what came of it and why.
func TestActsAreRecorded(t *testing.T) {
	c := serve(t, t.TempDir())
	for _, tt := range []struct {
		path, outcome, answer, name string
		status                      int // of a refusal
		detail                      map[string]string
	}{
		{"/v1/greet/bob", admin.OutcomeOK, `bob{"text":"!"}`, "greet", 0, map[string]string{"greeted": `bob{"text":"!"}`}},
		{"/v1/empty", admin.OutcomeOK, "", "empty", 0, nil},
		{"/v1/refuse", admin.OutcomeRefused, "it is there already: the cause", "refuse", 409, map[string]string{"error": "it is there already: the cause"}},
		{"/v1/fail", admin.OutcomeFailed, "disk is full", "fail", 500, map[string]string{"error": "disk is full"}},
	} {
		var got greeting
		err := c.client.Post(t.Context(), tt.path, greeting{"!"}, &got)
		var refused *admin.RefusedError
		switch {
		case tt.status == 0 && (err != nil || got.Text != tt.answer):
			t.Errorf("%s: %+v, %v, want %q", tt.path, got, err, tt.answer)
		case tt.status != 0 && (!errors.As(err, &refused) || refused.Status != tt.status || refused.Message != tt.answer):
			t.Errorf("%s: error %v, want %d %q", tt.path, err, tt.status, tt.answer)
		}
		act := c.last(t)
		if act.Name != tt.name || act.Outcome != tt.outcome || act.RequestID == "" || !strings.HasPrefix(act.By, "uid ") {
			t.Errorf("%s: recorded %+v", tt.path, act)
		}
		want := map[string]string{"path": tt.path}
		for name, value := range tt.detail {
			want[name] = value
		}
		if len(act.Detail) != len(want) {
			t.Errorf("%s: detail %v, want %v", tt.path, act.Detail, want)
		}
		for name, value := range want {
			if act.Detail[name] != value {
				t.Errorf("%s: detail %s = %q, want %q", tt.path, name, act.Detail[name], value)
			}
		}
	}
}

// TestNothingUnrecorded: an act is not begun without the record, and not answered
// when the record fails after it.
func TestNothingUnrecorded(t *testing.T) {
	c := serve(t, t.TempDir())
	c.fails(errors.New("no space left"), nil)
	err := c.client.Post(t.Context(), "/v1/empty", nil, nil)
	if want := "empty was not begun, because it could not be recorded: no space left"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %q", err, want)
	}
	if _, done := c.seen(); done {
		t.Error("the act was done")
	}
	c.fails(nil, errors.New("no space left"))
	err = c.client.Post(t.Context(), "/v1/empty", nil, nil)
	if want := "empty was done, and cannot be recorded: no space left"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %q", err, want)
	}
	err = c.client.Post(t.Context(), "/v1/fail", nil, nil)
	if want := "fail failed (disk is full), and cannot be recorded: no space left"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %q", err, want)
	}
	if err := c.client.Get(t.Context(), "/v1/greeting", nil); err != nil {
		t.Errorf("reading: %v", err)
	}
}

// TestErrorsAreToldApart: what a caller has to do differs.
func TestErrorsAreToldApart(t *testing.T) {
	dir := t.TempDir()
	ask := func() error { return admin.Dial(dir).Get(t.Context(), "/v1/greeting", nil) }
	if err := ask(); !errors.Is(err, admin.ErrNotRunning) {
		t.Errorf("without a process: %v, want %v", err, admin.ErrNotRunning)
	}
	lock, err := durable.LockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := ask(); !errors.Is(err, durable.ErrLocked) || !strings.Contains(err.Error(), "no admin channel") {
		t.Errorf("in use without a socket: %v, want %v", err, durable.ErrLocked)
	}
	if err := lock.Unlock(); err != nil {
		t.Fatal(err)
	}
	c := serve(t, dir)
	for _, path := range []string{"/v1/new", "/v2/greeting", "/v1/greet/bob"} {
		if err := c.client.Get(t.Context(), path, nil); !errors.Is(err, admin.ErrOlder) || !strings.Contains(err.Error(), "v9") {
			t.Errorf("%s: %v, want %v of version v9", path, err, admin.ErrOlder)
		}
	}
	var refused *admin.RefusedError
	if err := c.client.Post(t.Context(), "/v1/missing", nil, nil); !errors.As(err, &refused) || refused.Message != "no such key" {
		t.Errorf("an act's own 404: %v, want its message", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.client.Get(ended, "/v1/greeting", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v, want %v", err, context.Canceled)
	}
}

// TestStrangeAnswers: whatever sits at the socket, the client says what it means.
func TestStrangeAnswers(t *testing.T) {
	for _, tt := range []struct {
		name, act string
		status    int
		body      string
		want      error  // matched, or
		message   string // said
	}{
		{"another user's", "", 403, "not for you", admin.ErrNotYours, ""},
		{"no act and broken", "", 500, "", nil, "answered 500"},
		{"act without a message", "/v1/greeting", 500, "<html>", nil, "answered 500"},
		{"act without JSON", "/v1/greeting", 200, "<html>", nil, "read the answer"},
		{"answer of another shape", "/v1/greeting", 200, `{"text":7}`, nil, "of version v3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			l, err := new(net.ListenConfig).Listen(t.Context(), "unix", filepath.Join(dir, admin.SocketName))
			if err != nil {
				t.Fatal(err)
			}
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Sigstack-Version", "v3")
				if tt.act != "" {
					w.Header().Set("Sigstack-Act", tt.act)
				}
				w.WriteHeader(tt.status)
				fmt.Fprint(w, tt.body)
			}))
			if err := srv.Listener.Close(); err != nil {
				t.Fatal(err)
			}
			srv.Listener = l
			srv.Start()
			defer srv.Close()
			err = admin.Dial(dir).Get(t.Context(), "/v1/greeting", &greeting{})
			if tt.want != nil && !errors.Is(err, tt.want) || err == nil || !strings.Contains(err.Error(), tt.message) {
				t.Errorf("error %v, want %v %q", err, tt.want, tt.message)
			}
		})
	}
}

// TestLargeBodyIsRefused before it fills memory.
func TestLargeBodyIsRefused(t *testing.T) {
	c := serve(t, t.TempDir())
	err := c.client.Post(t.Context(), "/v1/greet/bob", greeting{strings.Repeat("x", 64<<10)}, nil)
	var refused *admin.RefusedError
	if !errors.As(err, &refused) || !strings.Contains(refused.Message, "too large") {
		t.Errorf("error %v, want a refusal", err)
	}
}

// TestActsAreAlone: two that change something never run at once, and one is
// carried through although its caller went away.
func TestActsAreAlone(t *testing.T) {
	c := serve(t, t.TempDir())
	begun, proceed := make(chan bool), make(chan bool)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() {
		_, err := c.server.Do(ctx, admin.Act{Name: "slow", By: "signal"}, func(ctx context.Context) (any, error) {
			begun <- true
			<-proceed
			return nil, ctx.Err()
		})
		ended <- err
	}()
	<-begun
	cancel()
	second := make(chan error, 1)
	go func() { second <- c.client.Post(t.Context(), "/v1/empty", nil, nil) }()
	if acts, done := c.seen(); done || len(acts) != 0 {
		t.Error("the second act ran beside the first")
	}
	close(proceed)
	if err := errors.Join(<-ended, <-second); err != nil {
		t.Error(err)
	}
	if acts, _ := c.seen(); len(acts) != 2 || acts[0].Name != "slow" || acts[0].Outcome != admin.OutcomeOK {
		t.Errorf("record has %+v, want slow, then empty", acts)
	}
}

// TestSocket: its mode, what is swept away at a start and what is not, and that
// it goes with the process.
func TestSocket(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, admin.SocketName)
	left, err := new(net.ListenConfig).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	left.(*net.UnixListener).SetUnlinkOnClose(false) // as after kill -9
	if err := left.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, ".admin.sock.tmp-1"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := admin.Dial(dir).Get(t.Context(), "/v1/greeting", nil); !errors.Is(err, admin.ErrNotRunning) {
		t.Errorf("a socket that a crash left: %v, want %v", err, admin.ErrNotRunning)
	}
	t.Run("served", func(t *testing.T) {
		c := serve(t, dir)
		if err := c.client.Get(t.Context(), "/v1/greeting", nil); err != nil {
			t.Error(err)
		}
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode(); got != os.ModeSocket|0o600 {
			t.Errorf("mode %v, want a socket's of 0600", got)
		}
		wantNames(t, dir, "admin.sock", "lock")
	})
	wantNames(t, dir, "lock")
	if err := os.WriteFile(path, []byte("a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	lock, err := durable.LockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	never := func(context.Context, admin.Act) error { return errors.New("not reached") }
	_, err = admin.New(t.Context(), admin.Config{
		Lock: lock, Version: "v9", Ready: func(context.Context) error { return nil }, Record: never,
		Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
	if err == nil || !strings.Contains(err.Error(), "is in the way") {
		t.Errorf("a file in the socket's place: %v, want a refusal", err)
	}
	if err := lock.Unlock(); err != nil {
		t.Fatal(err)
	}
	wantNames(t, dir, "admin.sock", "lock")
}

func wantNames(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("directory has %v, want %v", got, want)
	}
}

// TestLongPath: a socket address has room for some hundred bytes.
func TestLongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("a", 100), strings.Repeat("b", 100))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	c := serve(t, dir)
	if err := c.client.Get(t.Context(), "/v1/greeting", nil); err != nil {
		t.Error(err)
	}
	wantNames(t, dir, "admin.sock", "lock")
}
