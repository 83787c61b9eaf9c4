package httpd_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sigstack/internal/httpd"
	"sigstack/internal/limit"
)

// wire is a network in memory, so that time passes by itself in a bubble of
// synctest.
type wire struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

// end is one end of a connection on a wire.
type end struct {
	net.Conn
	remote net.Addr
}

func (e end) RemoteAddr() net.Addr { return e.remote }

func newWire() *wire { return &wire{conns: make(chan net.Conn), done: make(chan struct{})} }

func (l *wire) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *wire) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *wire) Addr() net.Addr { return &net.TCPAddr{} }

// dial connects from an address.
func (l *wire) dial(from string) net.Conn {
	client, server := net.Pipe()
	l.conns <- end{server, &net.TCPAddr{IP: net.ParseIP(from), Port: 1}}
	return client
}

// served is a mux behind a real server.
type served struct {
	*wire
	t   *testing.T
	mux *httpd.Mux
	reg *prometheus.Registry
}

// serveBubble runs test in a bubble against a server that takes max connections.
func serveBubble(t *testing.T, guard httpd.Guard, max int, test func(t *testing.T, s *served)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &served{wire: newWire(), t: t}
		s.mux, s.reg = guardedMux(t, guard)
		conns := httpd.NewConns(max, s.mux)
		srv := &http.Server{
			Handler: s.mux, ConnContext: conns.Context,
			ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, WriteTimeout: time.Minute, IdleTimeout: 30 * time.Second,
		}
		l := conns.Listener(s.wire)
		done := make(chan error)
		go func() { done <- srv.Serve(l) }()
		defer func() {
			if err := srv.Shutdown(context.Background()); err != nil {
				t.Errorf("shut down: %v", err)
			}
			if err := <-done; !errors.Is(err, http.ErrServerClosed) {
				t.Errorf("serve: %v", err)
			}
			s.wantGauges(0, 0)
		}()
		test(t, s)
	})
}

func (s *served) wantGauges(waiting, busy int) {
	s.t.Helper()
	families, err := s.reg.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "sigstack_connections" {
			continue
		}
		for _, m := range f.GetMetric() {
			want := map[string]int{"waiting": waiting, "busy": busy}[m.GetLabel()[0].GetValue()]
			if got := int(m.GetGauge().GetValue()); got != want {
				s.t.Errorf("%d connections are %s, want %d", got, m.GetLabel()[0].GetValue(), want)
			}
		}
	}
}

// send writes a request's head and, if it has more, waits no longer than for the
// server to take it.
func send(t *testing.T, c net.Conn, format string, args ...any) {
	t.Helper()
	if _, err := fmt.Fprintf(c, format, args...); err != nil {
		t.Fatalf("send: %v", err)
	}
}

// reply is an answer without its body.
type reply struct {
	StatusCode int
	Header     http.Header
}

// answer reads one.
func answer(t *testing.T, c net.Conn) (reply, string) {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("answer breaks off: %v", err)
	}
	return reply{resp.StatusCode, resp.Header}, string(body)
}

// drip sends n bytes, one in each interval, until the server hangs up.
func drip(c net.Conn, n int, every time.Duration) {
	for range n {
		if _, err := c.Write([]byte("x")); err != nil {
			return
		}
		time.Sleep(every)
	}
}

// TestSlowBody: a body that comes by the byte is cut off after a window.
func TestSlowBody(t *testing.T) {
	serveBubble(t, httpd.Guard{Bodies: limit.NewShares(1 << 20)}, 10, func(t *testing.T, s *served) {
		start := time.Now()
		c := s.dial("192.0.2.1")
		send(t, c, "POST /write HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
		var dripping sync.WaitGroup
		dripping.Go(func() { drip(c, 100, time.Second) })
		resp, body := answer(t, c)
		if resp.StatusCode != http.StatusRequestTimeout || !strings.Contains(body, "did not arrive in time") {
			t.Errorf("%d %s, want 408", resp.StatusCode, body)
		}
		if took := time.Since(start); took < 10*time.Second || took > 11*time.Second {
			t.Errorf("cut off after %v, want about 10s", took)
		}
		wantRefused(t, s.reg, httpd.BySlowness, 1)
		_ = c.Close()
		dripping.Wait()
	})
}

// TestSteadyBody: at the least pace a body arrives whole.
func TestSteadyBody(t *testing.T) {
	serveBubble(t, httpd.Guard{}, 10, func(t *testing.T, s *served) {
		c := s.dial("192.0.2.1")
		const pieces, piece = 8, 2 << 10 // 16 KiB in 8 s, four times
		send(t, c, "POST /write HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", 4*pieces*piece)
		var sending sync.WaitGroup
		sending.Go(func() {
			for range 4 * pieces {
				_, _ = io.WriteString(c, strings.Repeat("x", piece))
				time.Sleep(time.Second)
			}
		})
		resp, body := answer(t, c)
		if resp.StatusCode != http.StatusOK || len(body) != 4*pieces*piece+1 {
			t.Errorf("%d with %d bytes, want 200", resp.StatusCode, len(body))
		}
		_ = c.Close()
		sending.Wait()
	})
}

// TestUnreadBody: who is answered without a look at the body is answered at
// once, and keeps no connection.
func TestUnreadBody(t *testing.T) {
	guard := httpd.Guard{
		Writes: limit.NewKeyed(1e-9, 1, 10, time.Now),
		Access: func(_ string, e httpd.Effect) httpd.Access {
			if e == httpd.Read {
				return httpd.Internal
			}
			return httpd.Anonymous
		},
	}
	serveBubble(t, guard, 10, func(t *testing.T, s *served) {
		for _, head := range []string{
			"GET /public", "POST /nowhere", "PUT /write", "POST /read", "GET /read", "POST /public", "OPTIONS /public",
		} {
			start := time.Now()
			c := s.dial("192.0.2.1")
			send(t, c, "%s HTTP/1.1\r\nHost: x\r\nOrigin: y\r\nAccess-Control-Request-Method: POST\r\nContent-Length: 5\r\n\r\n", head)
			if head == "POST /public" { // the control: this one is waited for
				time.Sleep(5 * time.Second)
				send(t, c, "12345")
			}
			resp, _ := answer(t, c)
			waited := time.Since(start) > time.Second
			if waited != (head == "POST /public") {
				t.Errorf("%s: answered %d after %v", head, resp.StatusCode, time.Since(start))
			}
			if !waited {
				if _, err := io.ReadAll(c); err != nil {
					t.Errorf("%s: %v", head, err)
				}
				if held := time.Since(start); held > 2*time.Second {
					t.Errorf("%s: the connection is held for %v", head, held)
				}
			}
			_ = c.Close()
			synctest.Wait()
		}
	})
}

// TestBodyMemory: what of bodies is large shares a budget with that of other
// requests, by address and for as long as they last.
func TestBodyMemory(t *testing.T) {
	const free = 16 << 10
	budget := limit.NewShares(8000)
	serveBubble(t, httpd.Guard{Bodies: budget}, 10, func(t *testing.T, s *served) {
		s.mux.Group("s", httpd.RESTErrors).HandleForeign(http.MethodPost, "/foreign", 1<<20, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.ReadAll(r.Body); err != nil {
				http.Error(w, "foreign words", http.StatusBadRequest)
			}
		}))
		first := s.dial("192.0.2.1")
		send(t, first, "POST /write HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", free+3001, strings.Repeat("x", free+3000))
		synctest.Wait()
		if n := budget.Used(); n != 3000 {
			t.Errorf("%d bytes taken, want the 3000 that have arrived beyond what is free", n)
		}
		for _, tt := range []struct {
			path, from string
			size, want int
		}{
			{"/write", "192.0.2.1", free + 1500, 429},
			{"/grpc", "192.0.2.1", free + 1500, 429},
			{"/foreign", "192.0.2.1", free + 1500, 429},
			{"/write", "192.0.2.1", free, 200},
			{"/write", "192.0.2.2", free + 1500, 200},
			{"/foreign", "192.0.2.2", free + 1500, 200},
		} {
			c := s.dial(tt.from)
			send(t, c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", tt.path, tt.size, strings.Repeat("x", tt.size))
			resp, body := answer(t, c)
			if resp.StatusCode != tt.want || (tt.want == 429) != (resp.Header.Get("Retry-After") == "1") {
				t.Errorf("%s with %d bytes from %s: %d %.100s, Retry-After %q, want %d", tt.path, tt.size, tt.from, resp.StatusCode, body, resp.Header.Get("Retry-After"), tt.want)
			}
			_ = c.Close()
			synctest.Wait()
		}
		wantRefused(t, s.reg, httpd.ByBodyMemory, 3)
		send(t, first, "x")
		if resp, _ := answer(t, first); resp.StatusCode != http.StatusOK {
			t.Errorf("the first: %d, want 200", resp.StatusCode)
		}
		_ = first.Close()
		synctest.Wait()
		if n := budget.Used(); n != 0 {
			t.Errorf("%d bytes are still taken", n)
		}
	})
}

// TestLargeAnswers: those that clients do not take share the budget, too.
func TestLargeAnswers(t *testing.T) {
	const size = 100 << 10
	budget := limit.NewShares(300 << 10)
	serveBubble(t, httpd.Guard{Bodies: budget}, 10, func(t *testing.T, s *served) {
		g := s.mux.Group("s", httpd.RESTErrors)
		g.Handle(http.MethodGet, "/large", 0, func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set("Cache-Control", "public, max-age=1000")
			httpd.WriteBytes(w, http.StatusOK, "text/plain", make([]byte, size))
			return nil
		})
		g.HandleForeign(http.MethodGet, "/foreign", 0, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if n, err := w.Write(make([]byte, size)); n != size || err != nil {
				t.Errorf("the foreign handler wrote %d, %v", n, err)
			}
			_, _ = io.WriteString(w, "and more")
		}))
		slow := s.dial("192.0.2.1")
		send(t, slow, "GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
		synctest.Wait()
		s.wantGauges(1, 0) // it waits for its client
		other := s.dial("192.0.2.2")
		send(t, other, "GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
		if resp, body := answer(t, other); resp.StatusCode != http.StatusOK || len(body) != size {
			t.Errorf("another address: %d with %d bytes", resp.StatusCode, len(body))
		}
		_ = other.Close()
		for _, path := range []string{"/large", "/foreign"} {
			c := s.dial("192.0.2.1")
			send(t, c, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
			resp, body := answer(t, c)
			if resp.StatusCode != http.StatusTooManyRequests || !strings.HasSuffix(body, "}\n") || resp.Header.Get("Cache-Control") != "" {
				t.Errorf("%s: %d %.200s, Cache-Control %q, want 429 and nothing else", path, resp.StatusCode, body, resp.Header.Get("Cache-Control"))
			}
			_ = c.Close()
			synctest.Wait()
		}
		if resp, body := answer(t, slow); resp.StatusCode != http.StatusOK || len(body) != size {
			t.Errorf("the slow one: %d with %d bytes", resp.StatusCode, len(body))
		}
		_ = slow.Close()
		synctest.Wait()
		if n := budget.Used(); n != 0 {
			t.Errorf("%d bytes are still taken", n)
		}
	})
}

// TestLargeAnswerInPieces: it waits for its client as one in one piece does.
func TestLargeAnswerInPieces(t *testing.T) {
	serveBubble(t, httpd.Guard{}, 10, func(t *testing.T, s *served) {
		s.mux.Group("s", httpd.RESTErrors).HandleForeign(http.MethodGet, "/pieces", 0, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for range 64 {
				_, _ = w.Write(make([]byte, 16<<10))
			}
		}))
		slow := s.dial("192.0.2.1")
		send(t, slow, "GET /pieces HTTP/1.1\r\nHost: x\r\n\r\n")
		read(t, slow, 128<<10)
		synctest.Wait()
		s.wantGauges(1, 0)
		_ = slow.Close()
	})
}

// read takes n bytes of an answer and leaves the rest.
func read(t *testing.T, c net.Conn, n int64) {
	t.Helper()
	if _, err := io.CopyN(io.Discard, c, n); err != nil {
		t.Fatal(err)
	}
}
