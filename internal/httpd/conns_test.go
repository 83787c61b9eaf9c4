package httpd_test

import (
	"io"
	"net"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sigstack/internal/httpd"
)

// stub is a connection that only tells whether it was closed.
type stub struct {
	net.Conn
	address byte
	closed  bool
}

func (s *stub) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(192, 0, 2, s.address), Port: 1}
}

func (s *stub) Close() error {
	s.closed = true
	return nil
}

// modelled is a connection as the test expects it to be.
type modelled struct {
	*stub
	tracked           net.Conn
	requests, blocked int
	turn              int
}

func (m *modelled) waits() bool { return m.requests == m.blocked }

// victim is the connection that has to go next: of the address that holds most
// among those with one that waits, the one that waits the longest.
func victim(conns []*modelled) *modelled {
	held := map[byte]int{}
	for _, m := range conns {
		held[m.address]++
	}
	var first *modelled
	for _, m := range conns {
		if !m.waits() {
			continue
		}
		if first == nil || held[m.address] > held[first.address] || held[m.address] == held[first.address] && longest(conns, m.address) < longest(conns, first.address) {
			first = m
		}
	}
	if first == nil {
		return nil
	}
	for _, m := range conns {
		if m.waits() && m.address == first.address && m.turn < first.turn {
			first = m
		}
	}
	return first
}

func longest(conns []*modelled, address byte) int {
	turn := 1 << 30
	for _, m := range conns {
		if m.waits() && m.address == address {
			turn = min(turn, m.turn)
		}
	}
	return turn
}

// FuzzConns plays any history of connections and requests, and checks that the
// bound holds and that the right one goes each time.
func FuzzConns(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 0, 160, 0, 0})
	f.Add([]byte{0, 1, 2, 3, 0, 0, 0, 0, 64, 65, 128, 129, 192, 0, 0, 0})
	f.Add([]byte("any history of connections from a handful of addresses, and of requests on them"))
	f.Fuzz(func(t *testing.T, history []byte) {
		const limit = 5
		now := time.Unix(1_800_000_000, 0)
		m := httpd.NewMux(httpd.MuxConfig{Log: discard(), Metrics: prometheus.NewRegistry(), Now: func() time.Time { return now }})
		c := httpd.NewConns(limit, m)
		var open []*modelled
		for turn, op := range history {
			now = now.Add(time.Second)
			if op < 128 {
				gone := victim(open)
				if len(open) == limit && gone == nil {
					continue // it would wait, and nobody is there to end a request
				}
				s := &stub{address: op & 3}
				tracked, err := c.Add(s)
				if err != nil {
					t.Fatal(err)
				}
				if len(open) == limit {
					if !gone.closed {
						t.Fatalf("step %d: the connection of %d, waiting since step %d, is still open", turn, gone.address, gone.turn)
					}
					open = slices.DeleteFunc(open, func(m *modelled) bool { return m == gone })
				}
				open = append(open, &modelled{stub: s, tracked: tracked, turn: turn})
			} else if len(open) > 0 {
				open = step(t, c, open, int(op)%len(open), op>>5&3, turn)
			}
			for _, m := range open {
				if m.closed {
					t.Fatalf("step %d: the connection of %d, waiting since step %d, was closed without need", turn, m.address, m.turn)
				}
			}
		}
	})
}

// step changes one connection and the model of it.
func step(t *testing.T, c *httpd.Conns, open []*modelled, i int, what byte, turn int) []*modelled {
	m := open[i]
	waited := m.waits()
	switch {
	case what == 0:
		if err := m.tracked.Close(); err != nil {
			t.Fatal(err)
		}
		return slices.Delete(open, i, i+1)
	case what == 1: // a request with a body
		m.requests, m.blocked, m.turn = m.requests+1, m.blocked+1, turn
		c.Change(m.tracked, 1, 1)
		return open
	case what == 2 && m.blocked > 0: // which has arrived
		m.blocked--
		c.Change(m.tracked, 0, -1)
	case what == 3 && m.requests > m.blocked: // and is answered
		m.requests--
		c.Change(m.tracked, -1, 0)
	}
	if !waited && m.waits() {
		m.turn = turn
	}
	return open
}

// TestHalfOpen: connections that send nothing, or half a head, or half a body,
// from one address, keep nobody else out.
func TestHalfOpen(t *testing.T) {
	heads := []string{"", "POST /wri", "POST /write HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12", "GET /large HTTP/1.1\r\nHost: x\r\n\r\n"}
	serveBubble(t, httpd.Guard{}, 8, func(t *testing.T, s *served) {
		s.mux.Group("s", httpd.RESTErrors).Handle(http.MethodGet, "/large", 0, func(w http.ResponseWriter, _ *http.Request) error {
			httpd.WriteBytes(w, http.StatusOK, "text/plain", make([]byte, 1<<20))
			return nil
		})
		good := s.dial("192.0.2.2")
		for i := range 50 {
			c := s.dial("192.0.2.1")
			defer func() { _ = c.Close() }()
			if head := heads[i%len(heads)]; head != "" {
				send(t, c, "%s", head)
			}
			if i%10 != 9 {
				continue
			}
			fresh := s.dial("192.0.2.3")
			for _, c := range []net.Conn{good, fresh} {
				send(t, c, "POST /write HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody")
				if resp, body := answer(t, c); resp.StatusCode != http.StatusOK || body != ":body" {
					t.Errorf("%d %s after %d half-open connections", resp.StatusCode, body, i+1)
				}
			}
			_ = fresh.Close()
		}
		synctest.Wait()
		s.wantGauges(8-1, 0)
		wantRefused(t, s.reg, httpd.ByConnection, 50+1+1-8) // the last fresh one has made room itself
		_ = good.Close()
	})
}

// TestAllBusy: with a request under way on every connection, a new one waits
// until one is done.
func TestAllBusy(t *testing.T) {
	serveBubble(t, httpd.Guard{}, 2, func(t *testing.T, s *served) {
		leave := make(chan struct{})
		s.mux.Group("s", httpd.RESTErrors).Handle(http.MethodGet, "/work", 0, func(w http.ResponseWriter, _ *http.Request) error {
			<-leave
			return httpd.WriteJSON(w, http.StatusOK, "done")
		})
		var busy []net.Conn
		for range 2 {
			c := s.dial("192.0.2.1")
			send(t, c, "GET /work HTTP/1.1\r\nHost: x\r\n\r\n")
			busy = append(busy, c)
		}
		synctest.Wait()
		s.wantGauges(0, 2)
		third := s.dial("192.0.2.1")
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			send(t, third, "GET /public HTTP/1.1\r\nHost: x\r\n\r\n")
		}()
		synctest.Wait()
		select {
		case <-sent:
			t.Error("a third connection is served while two are busy")
		default:
		}
		close(leave)
		for _, c := range busy {
			if resp, _ := answer(t, c); resp.StatusCode != http.StatusOK {
				t.Errorf("a busy connection was cut: %d", resp.StatusCode)
			}
		}
		if resp, _ := answer(t, third); resp.StatusCode != http.StatusOK {
			t.Errorf("the third: %d", resp.StatusCode)
		}
		<-sent
		for _, c := range append(busy, third) {
			_ = c.Close()
		}
		synctest.Wait()
	})
}

// TestCloseWhileFull: the listener closes though it waits for room.
func TestCloseWhileFull(t *testing.T) {
	serveBubble(t, httpd.Guard{}, 1, func(t *testing.T, s *served) {
		inside := make(chan struct{})
		s.mux.Group("s", httpd.RESTErrors).Handle(http.MethodGet, "/work", 0, func(http.ResponseWriter, *http.Request) error {
			close(inside)
			time.Sleep(time.Second)
			return nil
		})
		c := s.dial("192.0.2.1")
		send(t, c, "GET /work HTTP/1.1\r\nHost: x\r\n\r\n")
		<-inside
		s.dial("192.0.2.2") // waits in Accept; the bubble ends only if that does
		synctest.Wait()
		go io.Copy(io.Discard, c) //nolint:errcheck // whatever comes
	})
}

// BenchmarkConns is what a request costs for being tracked, among connections of
// many addresses.
func BenchmarkConns(b *testing.B) {
	m := httpd.NewMux(httpd.MuxConfig{Log: discard(), Metrics: prometheus.NewRegistry(), Now: time.Now})
	c := httpd.NewConns(4096, m)
	var conns []net.Conn
	for i := range 4096 {
		nc, err := c.Add(&stub{address: byte(i)})
		if err != nil {
			b.Fatal(err)
		}
		conns = append(conns, nc)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		nc := conns[i%len(conns)]
		c.Change(nc, 1, 1)
		c.Change(nc, 0, -1)
		c.Change(nc, -1, 0)
	}
}
