package peer_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sigstack/internal/httpd"
	"sigstack/internal/peer"
)

// TestHeldUntilTheProcessIsBack: a request that finds nobody there is sent, whole, to
// the process that comes; it is given up when the hold says so.
func TestHeldUntilTheProcessIsBack(t *testing.T) {
	server, id := newProcess(t), newProcess(t)
	callers := []peer.Caller{caller(id, "front", true)}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: peer.Handler(callers, log, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	}))}
	done := make(chan error, 1)
	defer func() {
		if err := errors.Join(srv.Close(), <-done); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("server: %v", err)
		}
	}()
	held, given := 0, errors.New("not asked")
	hold := func(ctx context.Context) bool {
		held++
		again, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
		if given = err; err != nil {
			return false
		}
		go func() { done <- srv.Serve(peer.Listen(again, server.identity, callers)) }()
		return true
	}
	client := peer.NewClient("logs", address, server.pin, id.identity)
	defer client.Close()
	m := httpd.NewMux(httpd.MuxConfig{Log: log, Metrics: prometheus.NewRegistry(), Now: time.Now})
	g := m.Group("test", httpd.RESTErrors)
	g.Handle(http.MethodPost, "/held", 1000, peer.NewProxy(client, hold, log).Handle)
	gone := peer.NewClient("gone", "127.0.0.1:1", server.pin, id.identity)
	defer gone.Close()
	tries := 0
	g.Handle(http.MethodGet, "/gone", 0, peer.NewProxy(gone, func(context.Context) bool { tries++; return tries < 3 }, log).Handle)
	front := httptest.NewServer(m)
	defer front.Close()

	resp, body := ask(t, http.MethodPost, front.URL+"/held", nil, "whole")
	if resp.StatusCode != http.StatusOK || body != "whole" || held != 1 || given != nil {
		t.Errorf("answer %d %q after %d holds (%v), want 200 and the body sent after one", resp.StatusCode, body, held, given)
	}
	if resp, body := ask(t, http.MethodGet, front.URL+"/gone", nil, ""); resp.StatusCode != http.StatusServiceUnavailable || tries != 3 {
		t.Errorf("answer %d %s after %d holds, want 503 after 3", resp.StatusCode, body, tries)
	}
}
