package stack_test

import (
	"context"
	"net"
	"net/http"
	"testing"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/httpd"
	"sigstack/internal/stack"
)

// TestDrain: a stack that is told to stop says so and serves on, new connections too,
// before it closes its listener.
func TestDrain(t *testing.T) {
	opts := options(initDir(t, stack.InitConfig{Profile: config.ProfileUp}), config.ProfileUp)
	opts.Listener = newListener(t)
	opts.Drain = 3 * time.Second
	address := opts.Listener.Addr().String()
	r := start(t, opts)
	told := time.Now()
	r.stop()
	for code, rep := r.report(t); ; code, rep = r.report(t) {
		if code == http.StatusServiceUnavailable {
			if got := rep.Services["tlog"]; got.Status != httpd.Down || got.Detail != httpd.Stopping {
				t.Errorf("tlog is %+v, want it stopping", got)
			}
			break
		}
	}
	for range 2 {
		if status, closes := get(t, "http://"+address+"/api/v1/log"); status != http.StatusOK || !closes {
			t.Errorf("a request meanwhile: %d, connection closed %v, want 200 and true", status, closes)
		}
	}
	if err := <-r.done; err != nil {
		t.Error(err)
	}
	if took := time.Since(told); took < opts.Drain {
		t.Errorf("ended after %v, want no less than %v", took, opts.Drain)
	}
	if conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address); err == nil {
		t.Error("listens on after the end", conn.Close())
	}
}

func get(t *testing.T, url string) (status int, closes bool) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Error(err)
	}
	return resp.StatusCode, resp.Close
}

// TestARestartBehindTheFrontIsAPause: a process that says that it stops is waited for.
func TestARestartBehindTheFrontIsAPause(t *testing.T) {
	_, dirs := splitDir(t)
	for _, name := range []string{"ca", "oidc"} {
		startProcess(t, dirs[name])
	}
	front := startProcess(t, dirs["front"])
	opts := options(dirs["logs"], config.ProfileUp)
	opts.Drain = 4 * time.Second // the front asks every second
	logs := startProcessWith(t, opts)
	front.await(t)

	ctx, cancel := context.WithCancel(t.Context())
	answers := make(chan string, 1)
	asked := make(chan int, 1)
	go func() {
		n := 0
		for bad := ""; ; n++ {
			time.Sleep(time.Millisecond) // a load, not a flood
			got := front.get(t, "/api/v1/log")
			if got[:3] != "200" {
				bad = got
			}
			if ctx.Err() != nil || bad != "" {
				answers <- bad
				asked <- n
				return
			}
		}
	}()
	logs.end(t)
	held := make(chan string, 1)
	go func() { held <- front.get(t, "/api/v1/log") }() // nobody is there now
	front.awaitStatus(t, "tlog", httpd.Down)
	startProcess(t, dirs["logs"])
	if got := <-held; got[:3] != "200" {
		t.Errorf("a request while the process was away: %s, want 200 when it is back", got)
	}
	front.awaitStatus(t, "tlog", httpd.OK)
	cancel()
	if bad, n := <-answers, <-asked; bad != "" || n == 0 {
		t.Errorf("one of %d requests during the restart: %s, want 200 for each", n, bad)
	}
}
