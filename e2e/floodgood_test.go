package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
	"sigstack/e2e/testissuer"
)

// goodWithin is when somebody who waits for a good request gives up.
const goodWithin = 30 * time.Second

// goodEvery is the pause of a good client between two requests: it keeps to the
// limits of an address.
const goodEvery = 25 * time.Millisecond

// goodClient asks for something that it must get, all the time, from an address
// of its own.
type goodClient struct {
	t      *testing.T
	stack  *e2etest.Stack
	key    *ecdsa.PrivateKey
	token  string
	proof  []byte
	serial atomic.Int64

	mu       sync.Mutex // guards what follows
	answered int
	slowest  time.Duration
	failures []string
}

func newGoodClient(t *testing.T, s *e2etest.Stack, issuer *testissuer.Issuer) *goodClient {
	t.Helper()
	const who = "good@example.com"
	c := &goodClient{t: t, stack: s, key: newP256(t), token: issuer.Mint(t, issuer.Claims(who))}
	digest := sha256.Sum256([]byte(who))
	var err error
	if c.proof, err = ecdsa.SignASN1(rand.Reader, c.key, digest[:]); err != nil {
		t.Fatal(err)
	}
	return c
}

// from returns a client whose connections come from a loopback address, kept or
// made anew for each request.
func (s *floodedStack) from(t *testing.T, address string, keep bool) *http.Client {
	t.Helper()
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, s.turn())
		},
		TLSClientConfig:   s.tlsConfig("h2", "http/1.1"),
		ForceAttemptHTTP2: true,
		DisableKeepAlives: !keep,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: goodWithin}
}

// during runs work while good requests go on, and fails unless each was answered.
func (s *floodedStack) during(t *testing.T, c *goodClient, what string, work func()) {
	t.Helper()
	c.answered, c.slowest, c.failures = 0, 0, nil
	ctx, stop := context.WithCancel(t.Context())
	var asking sync.WaitGroup
	for i := range 4 {
		client := s.from(t, "127.0.0.2", i%2 == 0)
		asking.Go(func() {
			pace := time.NewTicker(goodEvery)
			defer pace.Stop()
			for step := i; ctx.Err() == nil; step++ {
				c.ask(client, step)
				<-pace.C
			}
		})
	}
	work()
	stop()
	asking.Wait()
	t.Logf("%s: %d good requests answered, the slowest after %v", what, c.answered, c.slowest.Round(time.Millisecond))
	for _, f := range c.failures[:min(len(c.failures), 10)] {
		t.Errorf("%s: %s", what, f)
	}
	if c.answered < 4 { // one of each client
		t.Errorf("%s: only %d good requests were answered", what, c.answered)
	}
}

// ask sends one good request; a failure is noted, not tried again.
func (c *goodClient) ask(client *http.Client, step int) {
	method, path, body, want := http.MethodPost, "", "", http.StatusOK
	switch step % 6 {
	case 0:
		method, path = http.MethodGet, "/readyz"
	case 1:
		path, body = "/api/v2/signingCert", floodCertificateRequest(c.t, c.token, c.key.Public(), c.proof)
	case 2:
		path, body, want = "/api/v1/log/entries", hashedRekord(c.t, c.key, fmt.Sprint("good ", c.serial.Add(1))), http.StatusCreated
	case 3:
		digest := sha256.Sum256(fmt.Append(nil, step))
		path, body, want = "/api/v1/timestamp", encode(c.t, map[string]any{"artifactHash": digest[:], "hashAlgorithm": "sha256"}), http.StatusCreated
	case 4:
		method, path = http.MethodGet, "/api/v1/log"
	default:
		path, body = "/api/v1/index/retrieve", `{"hash":"`+strings.Repeat("ab", 32)+`"}`
	}
	start := time.Now()
	status, err := send(client, method, c.stack.URL+path, body)
	took := time.Since(start)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slowest = max(c.slowest, took)
	if err != nil || status != want {
		c.failures = append(c.failures, fmt.Sprintf("%s %s: %d %v after %v, want %d", method, path, status, err, took, want))
		return
	}
	c.answered++
}

func send(client *http.Client, method, url, body string) (status int, err error) {
	req, err := http.NewRequest(method, url, strings.NewReader(body)) //nolint:noctx // the client has a timeout
	if err != nil {
		return 0, err
	}
	if body == "" {
		req.Body = http.NoBody
	}
	req.Header.Set("Content-Type", jsonType)
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}
