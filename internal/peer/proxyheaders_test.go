package peer_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sigstack/internal/httpd"
	"sigstack/internal/peer"
)

// TestWhatAConnectionAgreesOnStaysThere: a client's wish to switch protocols or to
// be told to go on is for the front, and neither fails behind it nor takes
// anything from the answer.
func TestWhatAConnectionAgreesOnStaysThere(t *testing.T) {
	var seen http.Header
	front, _ := fronted(t, func(w http.ResponseWriter, r *http.Request) {
		seen = r.Header.Clone()
		_, _ = io.Copy(w, r.Body)
	})
	for _, tt := range []struct{ name, headers string }{
		{"nothing", ""},
		{"a websocket", "Connection: Upgrade\r\nUpgrade: websocket\r\n"},
		{"HTTP/2 in plaintext", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"},
		{"no protocol", "Connection: upgrade\r\nUpgrade: \x80\r\n"},
		{"word to go on", "Expect: 100-continue\r\n"},
		{"the front's headers gone", "Connection: X-Forwarded-For, Sigstack-Client-Certificate\r\n"},
		{"trailers", "Connection: TE\r\nTE: trailers\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(front.URL, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close() //nolint:errcheck // a test's
			if _, err := fmt.Fprintf(conn, "POST /x HTTP/1.1\r\nHost: x\r\n%sContent-Length: 5\r\n\r\nhello", tt.headers); err != nil {
				t.Fatal(err)
			}
			resp, body := finalAnswer(t, conn)
			if resp.StatusCode != http.StatusOK || body != "hello" {
				t.Errorf("answer %d %q, want 200 hello", resp.StatusCode, body)
			}
			for _, name := range []string{"X-Request-Id", "X-Content-Type-Options", "X-Frame-Options"} {
				if len(resp.Header[name]) != 1 {
					t.Errorf("%s is %q, want the front's", name, resp.Header[name])
				}
			}
			if seen.Get("Upgrade") != "" || seen.Get("Expect") != "" {
				t.Errorf("the process saw %v", seen)
			}
		})
	}
}

// TestBodyOfAGet: a body that no request of the kind has is passed over, as in the
// process that answers, and does not go there.
func TestBodyOfAGet(t *testing.T) {
	front, _ := fronted(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "read %d, announced %d, %v", len(body), r.ContentLength, err)
	})
	log := slog.New(slog.DiscardHandler)
	one := httpd.NewMux(httpd.MuxConfig{Log: log, Metrics: prometheus.NewRegistry(), Now: time.Now})
	one.Group("test", httpd.RESTErrors).Handle(http.MethodGet, "/x", 0, func(w http.ResponseWriter, r *http.Request) error {
		body, err := httpd.ReadBody(r)
		fmt.Fprintf(w, "read %d, announced 0, %v", len(body), err)
		return err
	})
	single := httptest.NewServer(one)
	defer single.Close()
	for name, server := range map[string]*httptest.Server{"in one process": single, "behind a front": front} {
		for _, body := range []string{"", "hello", strings.Repeat("x", 2000)} {
			if resp, text := ask(t, http.MethodGet, server.URL+"/x", nil, body); resp.StatusCode != http.StatusOK || text != "read 0, announced 0, <nil>" {
				t.Errorf("%s, %d bytes: %d %q, want 200 and no body", name, len(body), resp.StatusCode, text)
			}
		}
	}
}

// finalAnswer reads the answer to the one request on conn, and passes over those
// that tell to go on.
func finalAnswer(t *testing.T, conn net.Conn) (answer, string) {
	t.Helper()
	in := bufio.NewReader(conn)
	for {
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err := errors.Join(err, resp.Body.Close()); err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != http.StatusContinue {
			return answer{resp.StatusCode, resp.Header, resp.Trailer}, string(body)
		}
	}
}

// TestASlowClientHoldsNothingHere: of an answer that its client does not take, the
// front holds a window, and the process behind keeps the rest.
func TestASlowClientHoldsNothingHere(t *testing.T) {
	server, id := newProcess(t), newProcess(t)
	const part, most = 16 << 10, 16 << 20
	sent := make(chan int, 1)
	address := serve(t, server, []peer.Caller{caller(id, "front", true)}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n := 0
		err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		for err == nil && n < most {
			n += part
			_, err = w.Write(make([]byte, part))
		}
		sent <- n
	}))
	client := peer.NewClient("ca", address, server.pin, id.identity)
	defer client.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://stack.example/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if n := <-sent; n > 256<<10 {
		t.Errorf("%d bytes of an answer that nobody reads were sent, want a window", n)
	}
	if err := resp.Body.Close(); err != nil {
		t.Error(err)
	}
}
