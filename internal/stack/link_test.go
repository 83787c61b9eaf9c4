package stack

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/httpd"
	"sigstack/internal/peer"
)

// TestLinkLate: a process that once takes too long to say how it is stays up, one that
// does so twice is down, and one that refuses is down at once.
func TestLinkLate(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	id, err := peer.NewIdentity(key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var late atomic.Bool
	pin := peer.PinOf(spki)
	srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if late.Load() {
			<-r.Context().Done()
			return
		}
		_, _ = io.WriteString(w, `{"services":{"tsa":{"status":"ok"}}}`)
	})}
	done := make(chan error, 1)
	go func() {
		done <- srv.Serve(peer.Listen(l, id, []peer.Caller{{Name: "front", Pin: pin, May: func(string, string) bool { return true }}}))
	}()
	s := &Stack{conf: &config.Config{Peers: &config.Peers{Listen: "127.0.0.1:1"}}, peers: &peers{identity: id}}
	s.opts.Log = slog.New(slog.DiscardHandler)
	to := s.newLink(config.Peer{Name: "tsa", Address: l.Addr().String(), Services: []string{"tsa"}}, pin)
	t.Cleanup(to.client.Close)
	ask := func(what string, isLate, want bool) {
		t.Helper()
		late.Store(isLate)
		within := time.Minute
		if isLate {
			within = 50 * time.Millisecond
		}
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		s.ask(ctx, to)
		if up := to.isUp() && to.status("tsa").Status == httpd.OK; up != want {
			t.Errorf("%s: up is %v, want %v: %+v", what, up, want, to.status("tsa"))
		}
	}
	ask("late when it was not reached yet", true, false)
	ask("answers", false, true)
	ask("late once", true, true)
	ask("answers again", false, true)
	ask("late once more", true, true)
	ask("late twice", true, false)
	ask("late three times", true, false)
	ask("answers at last", false, true)
	if err := errors.Join(srv.Close(), <-done); !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("server: %v", err)
	}
	ask("refuses", false, false)
}
