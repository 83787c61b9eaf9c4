package peer_test

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"sigstack/internal/peer"
)

// TestBulk: a client of NewBulkClient speaks HTTP/1.1 with who offers that, and HTTP/2
// with who does not; callers that know HTTP/2 alone are served by both.
func TestBulk(t *testing.T) {
	a, b, stranger := newProcess(t), newProcess(t), newProcess(t)
	known := func(p peer.Pin) bool { return p == b.pin }
	for name, tc := range map[string]struct {
		server     *tls.Config
		bulk, many string
	}{
		"offers both":   {a.identity.ServerConfigFor(known), "HTTP/1.1", "HTTP/2.0"},
		"offers HTTP/2": {a.identity.ServerConfig([]peer.Caller{caller(b, "b", false)}), "HTTP/2.0", "HTTP/2.0"},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, r.Proto)
			}), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)}
			go srv.Serve(tls.NewListener(l, tc.server)) //nolint:errcheck // it ends with the test
			t.Cleanup(func() { _ = srv.Close() })
			at := l.Addr().String()
			bulk, many := peer.NewBulkClient("a", at, a.pin, b.identity), peer.NewClient("a", at, a.pin, b.identity)
			t.Cleanup(bulk.Close)
			t.Cleanup(many.Close)
			if _, got := get(t, bulk, "/", nil); got != tc.bulk {
				t.Errorf("few large requests travel by %q, want %q", got, tc.bulk)
			}
			if _, got := get(t, many, "/", nil); got != tc.many {
				t.Errorf("many requests travel by %q, want %q", got, tc.many)
			}
			for what, c := range map[string]*peer.Client{
				"a stranger":          peer.NewBulkClient("a", at, a.pin, stranger.identity),
				"a server not pinned": peer.NewBulkClient("a", at, stranger.pin, b.identity),
			} {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://a/", nil)
				if err != nil {
					t.Fatal(err)
				}
				if resp, err := c.RoundTrip(req); err == nil {
					_ = resp.Body.Close()
					t.Errorf("%s: answered %s", what, resp.Status)
				}
			}
		})
	}
}
