package e2e

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"sigstack/e2e/e2etest"
	"sigstack/e2e/testissuer"
	"sigstack/internal/config"
)

// What floods of HTTP/2 are made of. A server may end such a connection whenever it
// likes; then the flood goes on with the next one.
const (
	http2Connections = 32    // at once
	http2Resets      = 5_000 // requests of one connection that are taken back
	http2Streams     = 100   // of one connection, as many as the server allows
	http2Frames      = 5_000 // of one connection
)

// TestFloodHTTP2: what a few connections of HTTP/2 can do that those of HTTP/1.1
// cannot: requests taken back as fast as they are made, answers that nobody takes,
// heads without end, and frames that want an answer.
func TestFloodHTTP2(t *testing.T) {
	issuer := testissuer.Start(t)
	s := startFlooded(t, issuer, config.Limits{})
	good := newGoodClient(t, s.Stack, issuer)
	s.during(t, good, "warm up", func() { s.floodHTTP2(t, (*http2Conn).hold, 1) })
	before := s.settle(t, nil)
	for _, tt := range []struct {
		name string
		// flood abuses one connection until the server ends it, or has enough.
		flood func(c *http2Conn) (done int, err error)
		total int // how much of done is wanted of all connections
	}{
		{"requests taken back", (*http2Conn).reset, http2Connections * http2Resets},
		{"answers not taken", (*http2Conn).hold, http2Connections * http2Streams},
		{"heads without end", (*http2Conn).endlessHead, http2Connections},
		{"pings", (*http2Conn).ping, http2Connections},
		{"settings", (*http2Conn).settings, http2Connections},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s.during(t, good, tt.name, func() { s.floodHTTP2(t, tt.flood, tt.total) })
			for _, peak := range s.peaks(t) {
				if most := residentAtMost(http2Connections * http2Streams); peak > most {
					t.Errorf("it took %d MB, want at most %d MB", peak/1e6, most/1e6)
				}
			}
			s.settle(t, before)
		})
	}
}

// floodHTTP2 floods by connection after connection, some at once, until there was
// enough of it.
func (s *floodedStack) floodHTTP2(t *testing.T, flood func(*http2Conn) (int, error), total int) {
	t.Helper()
	var mu sync.Mutex
	var outcome tally
	done, used := 0, 0
	next := func(n int) bool {
		mu.Lock()
		defer mu.Unlock()
		done += n
		if done < total {
			used++
		}
		return done < total
	}
	var wg sync.WaitGroup
	for range http2Connections {
		wg.Go(func() {
			for n := 0; next(n); {
				c, err := s.dialHTTP2()
				if err != nil {
					t.Errorf("connect: %v", err)
					return
				}
				n, err = flood(c)
				outcome.add(ending(err))
				n = max(n, 1) // that there was a connection counts, too
				_ = c.conn.Close()
			}
		})
	}
	wg.Wait()
	t.Logf("%d in %d connections: %s", done, used, outcomes(outcome.counts))
	if outcome.counts["timeout"] > 0 {
		t.Error("the server neither went on nor ended the connection")
	}
}

// ending names how a connection ended.
func ending(err error) string {
	var timeout net.Error
	switch {
	case err == nil:
		return "enough"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	default:
		return "ended by the server"
	}
}

// http2Conn speaks HTTP/2 frame by frame. Frames of the server are dropped.
type http2Conn struct {
	conn   net.Conn
	framer *http2.Framer
	gone   chan struct{} // closed when the server has ended the connection
}

func (s *floodedStack) dialHTTP2() (*http2Conn, error) {
	raw, err := net.DialTimeout("tcp", s.turn(), goodWithin)
	if err != nil {
		return nil, err
	}
	if e2etest.OverTLS() {
		raw = tls.Client(raw, s.tlsConfig("h2"))
	}
	_ = raw.SetDeadline(time.Now().Add(2 * goodWithin))
	c := &http2Conn{conn: raw, framer: http2.NewFramer(raw, nil), gone: make(chan struct{})}
	if _, err := io.WriteString(raw, http2.ClientPreface); err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	// No answer's body is taken: the window is of 0 bytes.
	if err := c.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize}); err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	go func() {
		defer close(c.gone)
		_, _ = io.Copy(io.Discard, raw)
	}()
	return c, nil
}

// requestHead is the compressed head of a request.
func requestHead(method, path string) []byte {
	return headerBlock([2]string{":method", method}, [2]string{":scheme", e2etest.Scheme()},
		[2]string{":authority", "localhost"}, [2]string{":path", path}, [2]string{"content-type", jsonType})
}

// headerBlock encodes fields, none of which refers to an earlier one (RFC 7541 §6.2.3).
func headerBlock(fields ...[2]string) []byte {
	var block blockWriter
	enc := hpack.NewEncoder(&block)
	for _, f := range fields {
		if err := enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1], Sensitive: true}); err != nil {
			panic(err) // a blockWriter takes everything
		}
	}
	return block
}

// blockWriter keeps what a header encoder writes.
type blockWriter []byte

func (b *blockWriter) Write(p []byte) (int, error) { *b = append(*b, p...); return len(p), nil }

// streams calls begin with the ids of n requests, until the server has enough.
func (c *http2Conn) streams(n int, begin func(id uint32) error) (int, error) {
	for i := range n {
		if err := begin(uint32(2*i + 1)); err != nil {
			return i, err
		}
	}
	return n, nil
}

// reset makes requests and takes each back.
func (c *http2Conn) reset() (int, error) {
	block := requestHead(http.MethodPost, "/api/v2/signingCert")
	return c.streams(http2Resets, func(id uint32) error {
		err := c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndHeaders: true})
		return errors.Join(err, c.framer.WriteRSTStream(id, http2.ErrCodeCancel))
	})
}

// hold asks for as much at once as it may, and takes nothing of it until the server
// has enough or three seconds are over.
func (c *http2Conn) hold() (int, error) {
	block := requestHead(http.MethodGet, "/tuf/1.root.json")
	n, err := c.streams(http2Streams, func(id uint32) error {
		return c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndHeaders: true, EndStream: true})
	})
	if err != nil {
		return n, err
	}
	select {
	case <-c.gone:
		return n, io.EOF
	case <-time.After(3 * time.Second):
		return n, nil
	}
}

// endlessHead sends a head of a request that does not end.
func (c *http2Conn) endlessHead() (int, error) {
	if err := c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: requestHead(http.MethodGet, "/ping")}); err != nil {
		return 0, err
	}
	return c.frames(func(i int) error {
		return c.framer.WriteContinuation(1, false, headerBlock([2]string{fmt.Sprintf("x-%d", i), "more"}))
	})
}

// ping asks for pongs.
func (c *http2Conn) ping() (int, error) {
	return c.frames(func(int) error { return c.framer.WritePing(false, [8]byte{}) })
}

// settings changes its mind about them.
func (c *http2Conn) settings() (int, error) {
	return c.frames(func(i int) error {
		return c.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(i & 1)})
	})
}

// frames calls write many times, until the server has enough. It counts as one.
func (c *http2Conn) frames(write func(i int) error) (int, error) {
	for i := range http2Frames {
		if err := write(i); err != nil {
			return 1, err
		}
	}
	return 1, nil
}
