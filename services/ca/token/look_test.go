package token_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sigstack/internal/fault"
	"sigstack/services/ca/identity"
	"sigstack/services/ca/token"
)

// gate lets discovery documents through when it is told to.
type gate struct {
	asked chan string // URLs of documents that were asked for
	open  chan struct{}
	next  http.RoundTripper
}

func newGate(next http.RoundTripper) *gate {
	return &gate{asked: make(chan string, 100), open: make(chan struct{}), next: next}
}

func (g *gate) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.URL.Path, "/openid-configuration") {
		g.asked <- r.URL.String()
		select {
		case <-g.open:
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	return g.next.RoundTrip(r)
}

// TestCallersLeave: callers that go away while the issuer is asked neither make it be
// asked anew nor keep its keys from others.
func TestCallersLeave(t *testing.T) {
	s := newSetup(t)
	g := newGate(http.DefaultTransport)
	issuer := emailIssuer(s.issuer.URL)
	issuer.HTTPClient = &http.Client{Transport: g}
	v := s.trusting(t, issuer)
	raw := s.issuer.Token(t, nil)
	leave := func() error {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			_, err := v.Verify(ctx, raw)
			ended <- err
		}()
		if len(g.asked) == 0 {
			g.asked <- <-g.asked // it is being asked
		}
		cancel()
		return <-ended
	}
	for range 10 {
		if err := leave(); fault.KindOf(err) != fault.Canceled {
			t.Errorf("error = %v, want that of a client that went away", err)
		}
	}
	close(g.open)
	accepted(t, v, raw)
	if got := len(g.asked); got != 1 {
		t.Errorf("the issuer was asked %d times, want once", got)
	}
}

// TestThrottleWhoLeaves: the time between two looks counts for one whose caller left.
func TestThrottleWhoLeaves(t *testing.T) {
	s := newSetup(t)
	g := newGate(inProcess{http.NotFoundHandler()})
	issuer := emailIssuer(s.issuer.URL)
	issuer.HTTPClient = &http.Client{Transport: g}
	v := s.trusting(t, issuer)
	raw := s.issuer.Token(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := v.Verify(ctx, raw)
		ended <- err
	}()
	<-g.asked
	cancel()
	if err := <-ended; fault.KindOf(err) != fault.Canceled {
		t.Errorf("error = %v, want that of a client that went away", err)
	}
	close(g.open)
	unanswered(t, v, raw)
	if got := len(g.asked); got != 0 {
		t.Errorf("the issuer was asked again %d times at once", got)
	}
}

// TestLooksAtOnce: strangers' issuers are asked sixteen at once, and who waits for a
// turn can leave. One that is configured itself needs none.
func TestLooksAtOnce(t *testing.T) {
	s := newSetup(t)
	g := newGate(inProcess{anyIssuer(t, s)})
	pattern := emailIssuer("https://*.corp.example")
	pattern.HTTPClient = &http.Client{Transport: g}
	own := emailIssuer(s.issuer.URL)
	v := s.trusting(t, pattern, own)
	ended := make(chan error, 100)
	verify := func(ctx context.Context, n int) {
		raw := s.issuer.Token(t, claims{"iss": fmt.Sprintf("https://i%d.corp.example", n)})
		go func() {
			_, err := v.Verify(ctx, raw)
			ended <- err
		}()
	}
	for n := range 16 {
		verify(t.Context(), n)
	}
	for range 16 {
		<-g.asked
	}
	ctx, cancel := context.WithCancel(t.Context())
	verify(ctx, 16)
	accepted(t, v, s.issuer.Token(t, nil))
	cancel()
	if err := <-ended; fault.KindOf(err) != fault.Canceled || len(g.asked) != 0 {
		t.Errorf("the seventeenth: %v, asked %d times, want neither an answer nor a question", err, len(g.asked))
	}
	later, err := token.New(token.Config{Issuers: []identity.Issuer{pattern}, Now: s.clock.Now, Log: slog.New(slog.DiscardHandler), Previous: v})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = later.Verify(ctx, s.issuer.Token(t, claims{"iss": "https://other.corp.example"}))
	if !errors.Is(err, context.DeadlineExceeded) || len(g.asked) != 0 {
		t.Errorf("after a reload: %v, asked %d times, want the same bound", err, len(g.asked))
	}
	close(g.open)
	for range 16 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// TestNoIdleConnections: a look leaves no connection behind.
func TestNoIdleConnections(t *testing.T) {
	s := newSetup(t)
	closed := make(chan struct{}, 10)
	server := httptest.NewUnstartedServer(s.issuer)
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			closed <- struct{}{}
		}
	}
	server.Start()
	defer server.Close()
	s.issuer.SetDiscovery("issuer", server.URL)
	s.issuer.SetDiscovery("jwks_uri", server.URL+"/keys")
	accepted(t, s.trusting(t, emailIssuer(server.URL)), s.issuer.Token(t, claims{"iss": server.URL}))
	select {
	case <-closed:
	case <-time.After(30 * time.Second):
		t.Error("the connection stays open")
	}
}
