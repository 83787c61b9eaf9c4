package e2e

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
	"sigstack/e2e/testissuer"
	"sigstack/internal/config"
)

// A flood has 12,500 connections, so that 10,000 requests are under way at once:
// some shapes are answered before they are complete.
const (
	floodSize  = 12_500
	floodHeld  = 0.8 // of the connections
	floodTries = 3   // on a busy machine requests end before the last one begins
)

// What a flood may take, and what may be left of it when it is over:
// docs/limits.md says so.
const (
	residentLeft   = 128 << 20
	heapLeft       = 48 << 20
	goroutinesLeft = 40
	settleWithin   = 60 * time.Second
)

// floodedStack is a stack that is shouted at.
type floodedStack struct {
	*e2etest.Stack
	at    []string // host:port of each replica
	next  atomic.Uint64
	roots *x509.CertPool
}

// turn is where the next connection goes: to the replicas in turn. A balancer would do
// that, but hide who floods.
func (s *floodedStack) turn() string { return s.at[s.next.Add(1)%uint64(len(s.at))] }

// startFlooded starts a stack that trusts issuer, with some limits of connections
// and addresses.
func startFlooded(t *testing.T, issuer *testissuer.Issuer, limits config.Limits) *floodedStack {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	first := e2etest.Start(t, dir)
	first.Stop()
	for _, d := range first.ProcessDirs() {
		setLimits(t, filepath.Join(d, "config.yaml"), limits)
	}
	s := &floodedStack{Stack: e2etest.Start(t, dir, "--trust-issuer", issuer.URL), roots: x509.NewCertPool()}
	s.at = s.Addresses()
	if e2etest.OverTLS() {
		s.roots.AppendCertsFromPEM([]byte(e2etest.ReadFile(t, s.Kit("tls-ca.crt.pem"))))
	}
	return s
}

func setLimits(t *testing.T, path string, limits config.Limits) {
	t.Helper()
	conf, err := config.Parse([]byte(e2etest.ReadFile(t, path)))
	if err != nil {
		t.Fatal(err)
	}
	conf.Limits.Connections, conf.Limits.Address = limits.Connections, limits.Address
	text, err := conf.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *floodedStack) tlsConfig(protocols ...string) *tls.Config {
	return &tls.Config{RootCAs: s.roots, ServerName: "localhost", NextProtos: protocols, MinVersion: tls.VersionTLS12}
}

// dial connects, by TLS if the stack speaks it, to speak HTTP/1.1.
func (s *floodedStack) dial() (net.Conn, error) {
	c, err := net.DialTimeout("tcp", s.turn(), goodWithin)
	if err != nil || !e2etest.OverTLS() {
		return c, err
	}
	return tls.Client(c, s.tlsConfig("http/1.1")), nil
}

// connect is dial for many connections that are to be there at once. Handshakes
// take their time, and a server does not wait for long for a first request; for
// the second it does.
func (s *floodedStack) connect(all bool) (net.Conn, error) {
	c, err := s.dial()
	if err != nil || !all || !e2etest.OverTLS() {
		return c, err
	}
	_ = c.SetDeadline(time.Now().Add(goodWithin))
	if _, err := io.WriteString(c, "GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return c, errors.Join(err, resp.Body.Close(), c.SetDeadline(time.Time{}))
}

// each runs work for 0 to n-1, a few at once as a client's system lets it.
func each(n int, work func(i int)) {
	var wg sync.WaitGroup
	turn := make(chan struct{}, 256)
	for i := range n {
		turn <- struct{}{}
		wg.Go(func() {
			defer func() { <-turn }()
			work(i)
		})
	}
	wg.Wait()
}

// tally counts outcomes.
type tally struct {
	mu     sync.Mutex
	counts map[string]int
}

func (c *tally) add(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts == nil {
		c.counts = map[string]int{}
	}
	c.counts[what]++
}

// TestFlood: ten thousand bad requests at once, and as many connections that
// never finish one, keep no good request from its answer and leave nothing.
func TestFlood(t *testing.T) {
	n := floodSize
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	if most := int(files.Cur) - 1000; most < n {
		t.Errorf("only %d files may be open here, so the flood is of %d connections: raise the hard limit (ulimit -Hn) above %d", files.Cur, most, n+1000)
		n = most
	}
	issuer := testissuer.Start(t)
	t.Run("all at once", func(t *testing.T) {
		s := startFlooded(t, issuer, config.Limits{Connections: n + 1000})
		s.withstand(t, issuer, n, n)
	})
	t.Run("limits", func(t *testing.T) {
		s := startFlooded(t, issuer, config.Limits{Connections: 500, Address: config.Rate{PerSecond: 200, Burst: 400}})
		s.withstand(t, issuer, n, 500*len(s.at))
		s.limitsAddress(t)
	})
}

// residentAtMost is how much memory a process with that many connections may have
// at any time.
func residentAtMost(connections int) int64 {
	planned := int64(256<<20+128<<20) + int64(connections)*64<<10
	return planned + planned/4
}

// withstand floods the stack, of whose n bad connections it keeps at most kept.
func (s *floodedStack) withstand(t *testing.T, issuer *testissuer.Issuer, n, kept int) {
	light, heavy := badRequests(t, issuer)
	good := newGoodClient(t, s.Stack, issuer)
	s.during(t, good, "warm up", func() {
		s.badRequests(t, light, heavy, 300, 300)
	})
	before := s.settle(t, nil)

	s.during(t, good, "bad requests", func() {
		held := 0.
		for range floodTries {
			if held = s.badRequests(t, light, heavy, n, kept); held >= floodHeld*float64(n) || kept < n {
				return
			}
		}
		t.Errorf("the server held %v of %d connections at once: too few to call it a flood", held, n)
	})
	s.during(t, good, "connections without end", func() { s.endless(t, n) })

	peaks := s.peaks(t)
	for i, after := range s.settle(t, before) {
		if most := residentAtMost(kept / len(s.at)); peaks[i] > most {
			t.Errorf("the flood took %d MB, want at most %d MB", peaks[i]/1e6, most/1e6)
		}
		for name, value := range after {
			if strings.HasPrefix(name, "sigstack_http_requests_total") && regexp.MustCompile(`code="5`).MatchString(name) {
				t.Errorf("%v answers of %s", value, name)
			}
		}
		t.Logf("resident %.0f MB before, %d MB at most, %.0f MB in the end; heap %.0f MB, then %.0f MB; %v goroutines, then %v",
			before[i][resident]/1e6, peaks[i]/1e6, after[resident]/1e6, before[i][heap]/1e6, after[heap]/1e6, before[i][goroutines], after[goroutines])
	}
}

// badRequests sends n, each but for its last byte, so that all are there at once;
// then the rest. It returns how many connections the server held at once.
func (s *floodedStack) badRequests(t *testing.T, light, heavy []badRequest, n, kept int) (held float64) {
	t.Helper()
	conns := make([]net.Conn, n)
	bodies := make([]string, n)
	var failed tally
	begin := func(i int) {
		c, bad := conns[i], light[i%len(light)]
		if c == nil {
			return
		}
		if i%250 == 0 {
			bad = heavy[i/250%len(heavy)]
		}
		bodies[i] = bad.body
		_ = c.SetWriteDeadline(time.Now().Add(goodWithin))
		// What does not fit is not read any more: the answer is there.
		_, _ = fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s",
			bad.method, bad.path, bad.contentType, len(bad.body), bad.body[:len(bad.body)-1])
	}
	each(n, func(i int) {
		var err error
		if conns[i], err = s.connect(kept == n); err != nil {
			failed.add("connect: " + err.Error())
		}
		if kept < n { // while it is there
			begin(i)
		}
	})
	if kept == n {
		each(n, begin)
	}
	for what, count := range failed.counts {
		t.Errorf("%d connections failed to be made: %s", count, what)
	}
	held = s.open(t)
	var answers tally
	var finishing sync.WaitGroup
	for i, c := range conns {
		if c == nil {
			continue
		}
		finishing.Go(func() { answers.add(finish(c, bodies[i][len(bodies[i])-1:])) })
	}
	finishing.Wait()
	t.Logf("%d bad requests, %v at once: %s", n, held, outcomes(answers.counts))
	for what := range answers.counts {
		if !strings.HasPrefix(what, "4") && what != "cut off" || what == "429 without Retry-After" {
			t.Errorf("%d bad requests: %s", answers.counts[what], what)
		}
	}
	if kept == n && answers.counts["cut off"] > n/100 {
		t.Errorf("%d bad requests were cut off without an answer", answers.counts["cut off"])
	}
	return held
}

// limitsAddress asks from one address until that is too much, and once more when
// it was told to.
func (s *floodedStack) limitsAddress(t *testing.T) {
	t.Helper()
	client := s.from(t, "127.0.0.4", true)
	ask := func() (int, time.Duration) {
		resp, err := client.Post(s.URL+"/api/v1/timestamp", jsonType, strings.NewReader("{}")) //nolint:noctx // the client has a timeout
		if err != nil {
			t.Error(err)
			return 0, 0
		}
		_ = resp.Body.Close()
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		return resp.StatusCode, time.Duration(seconds) * time.Second
	}
	var counts tally
	each(3000, func(int) {
		status, after := ask()
		counts.add(fmt.Sprintf("%d, Retry-After %v", status, after))
	})
	t.Logf("3000 requests of one address: %s", outcomes(counts.counts))
	if counts.counts["400, Retry-After 0s"] < 400 || counts.counts["429, Retry-After 1s"] == 0 || len(counts.counts) != 2 {
		t.Errorf("requests of one address: %s; want a burst of 400 and then 429", outcomes(counts.counts))
	}
	time.Sleep(time.Second) // as it was told
	if status, _ := ask(); status != http.StatusBadRequest {
		t.Errorf("after Retry-After: %d, want 400", status)
	}
}

func outcomes(counts map[string]int) string {
	var out []string
	for _, what := range slices.Sorted(maps.Keys(counts)) {
		out = append(out, fmt.Sprintf("%s: %d", what, counts[what]))
	}
	return strings.Join(out, ", ")
}

// finish sends the rest of a request and tells how it was answered.
func finish(c net.Conn, rest string) string {
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(2 * goodWithin))
	_, _ = io.WriteString(c, rest)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return "timeout"
		}
		return "cut off"
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	if resp.StatusCode == http.StatusTooManyRequests && resp.Header.Get("Retry-After") == "" {
		return "429 without Retry-After"
	}
	return strconv.Itoa(resp.StatusCode)
}

// endless opens connections that never finish a request, and waits until the
// server has ended each.
func (s *floodedStack) endless(t *testing.T, n int) {
	t.Helper()
	starts := []string{
		"", // half-open: nothing comes
		"GET /readyz HTTP/1.1\r\nHost: local",
		"POST /api/v2/signingCert HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n{",
		"POST /api/v1/log/entries HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
		"GET /api/v1/log HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n",
	}
	var ends tally
	var ending sync.WaitGroup
	each(n, func(i int) {
		c, err := s.dial()
		if err != nil {
			ends.add("dial: " + err.Error())
			return
		}
		if start := starts[i%len(starts)]; start != "" {
			_ = c.SetWriteDeadline(time.Now().Add(goodWithin))
			_, _ = io.WriteString(c, start)
		}
		ending.Go(func() { ends.add(drip(c, i%len(starts) != 0)) })
	})
	ending.Wait()
	t.Logf("%d connections without end: %s", n, outcomes(ends.counts))
	for what, count := range ends.counts {
		if what != "ended" {
			t.Errorf("%d connections without end: %s", count, what)
		}
	}
}

// drip sends a byte now and then, or nothing, until the server hangs up.
func drip(c net.Conn, bytes bool) string {
	defer func() { _ = c.Close() }()
	if bytes {
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			tick := time.NewTicker(2 * time.Second)
			defer tick.Stop()
			for {
				select {
				case <-stop:
					return
				case <-tick.C:
					if _, err := c.Write([]byte("x")); err != nil {
						return
					}
				}
			}
		}()
	}
	_ = c.SetReadDeadline(time.Now().Add(2 * goodWithin))
	_, err := io.Copy(io.Discard, c)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return "still open after " + (2 * goodWithin).String()
	}
	return "ended"
}
