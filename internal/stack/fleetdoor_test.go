package stack_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"sigstack/internal/stack"
)

// TestDoor: requests under way are answered by the Stack that took them, those that
// come in between by the next one, over connections that stay.
func TestDoor(t *testing.T) {
	d := stack.NewDoor()
	srv := httptest.NewServer(d)
	defer srv.Close()
	ask := func(path string) string {
		resp, err := srv.Client().Post(srv.URL+path, "text/plain", http.NoBody)
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		if err != nil {
			return err.Error()
		}
		return string(answer)
	}
	held, entered := make(chan struct{}), make(chan struct{})
	first := d.Open(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/held" {
			close(entered)
			<-held
		}
		_, _ = io.WriteString(w, "first")
	}))
	if got := ask("/"); got != "first" {
		t.Fatalf("got %q", got)
	}
	under, between := make(chan string, 1), make(chan string, 1)
	go func() { under <- ask("/held") }()
	<-entered
	var gone atomic.Bool
	shut := make(chan struct{})
	go func() {
		d.Shut(first, time.Minute)
		gone.Store(true)
		close(shut)
	}()
	for d.IsOpen() {
		time.Sleep(time.Millisecond)
	}
	go func() { between <- ask("/") }()
	if gone.Load() {
		t.Error("the first Stack was given up with a request under way")
	}
	close(held)
	if got := <-under; got != "first" {
		t.Errorf("a request under way: %q", got)
	}
	<-shut
	select {
	case got := <-between:
		t.Errorf("a request in between was answered %q while nobody was there", got)
	case <-time.After(50 * time.Millisecond):
	}
	d.Open(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "second") }))
	if got := <-between; got != "second" {
		t.Errorf("a request in between: %q, want it to have waited", got)
	}
}

// TestDoorCutsTheLate: a request that does not end is not waited for.
func TestDoorCutsTheLate(t *testing.T) {
	d := stack.NewDoor()
	srv := httptest.NewServer(d)
	defer srv.Close()
	entered, over := make(chan struct{}), make(chan error, 1)
	v := d.Open(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		_, err := io.Copy(io.Discard, r.Body) // of a client that never sends it
		over <- err
	}))
	body, never := io.Pipe()
	defer never.Close() //nolint:errcheck // of a pipe it always works
	go func() {
		req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, srv.URL, body)
		if err != nil {
			panic(err) // the URL is the server's
		}
		if resp, err := srv.Client().Do(req); err == nil {
			_ = resp.Body.Close()
		}
	}()
	<-entered
	d.Shut(v, 10*time.Millisecond)
	select {
	case err := <-over:
		if err == nil {
			t.Error("the handler was told that the body has ended")
		}
	case <-time.After(10 * time.Second):
		t.Error("the handler still waits")
	}
}
