package stack

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/fault"
	"sigstack/internal/keys"
	"sigstack/internal/peer"
	"sigstack/internal/trust"
)

// fakeLog is a CT log in another process that answers as it is told.
func fakeLog(t *testing.T, answer http.HandlerFunc) *link {
	t.Helper()
	var ids [2]peer.Identity
	var pins [2]peer.Pin
	for i := range ids {
		key, err := keys.Ephemeral("peer", keys.ECDSAP256, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if ids[i], err = peer.NewIdentity(key); err != nil {
			t.Fatal(err)
		}
		pins[i] = peer.PinOf(key.SPKI())
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	callers := []peer.Caller{{Name: "ca", Pin: pins[1], May: func(method, path string) bool {
		return method == http.MethodPost && path == "/ctlog"+addPreChain
	}}}
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	srv := &http.Server{Handler: peer.Handler(callers, slog.New(slog.DiscardHandler), answer), Protocols: protocols, ReadHeaderTimeout: time.Minute}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(peer.Listen(l, ids[0], callers)) }()
	client := peer.NewClient("logs", l.Addr().String(), pins[0], ids[1])
	t.Cleanup(func() {
		client.Close()
		if err := errors.Join(srv.Close(), <-done); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return &link{conf: config.Peer{Name: "logs"}, client: client}
}

func TestSubmitToAnotherProcess(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status int
		want   fault.Kind
		ok     bool
	}{
		{"taken", 200, 0, true},
		{"refused", 400, fault.Invalid, false},
		{"busy", 429, fault.Unavailable, false},
		{"away", 503, fault.Unavailable, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			asked := 0
			link := fakeLog(t, func(w http.ResponseWriter, r *http.Request) {
				asked++
				var got struct{ Chain [][]byte }
				body, err := io.ReadAll(r.Body)
				if err = errors.Join(err, json.Unmarshal(body, &got)); err != nil || len(got.Chain) != 2 || string(got.Chain[0]) != "pre" {
					t.Errorf("submitted %s (%v), want the chain without its root", body, err)
				}
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, "sct")
			})
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			submit, err := submitTo(link, trust.Log{BaseURL: "https://stack.test/ctlog"}, time.Now)
			if err != nil {
				t.Fatal(err)
			}
			got, err := submit(ctx, [][]byte{[]byte("pre"), []byte("ca"), []byte("root")})
			if (err == nil) != tt.ok || tt.ok && string(got) != "sct" || !tt.ok && fault.KindOf(err) != tt.want {
				t.Errorf("got %q, %v of kind %v; want kind %v", got, err, fault.KindOf(err), tt.want)
			}
			if asked != 1 { // asking again is the CA's affair
				t.Errorf("asked %d times, want once", asked)
			}
		})
	}
}
