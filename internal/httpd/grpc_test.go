package httpd_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"sigstack/internal/fault"
	"sigstack/internal/httpd"
)

// raw is a codec of messages that are bytes already.
type raw struct{}

func (raw) Marshal(v any) ([]byte, error)      { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v any) error { *v.(*[]byte) = bytes.Clone(data); return nil }
func (raw) Name() string                       { return "proto" }

// lockedBuffer is written by servers and read by tests.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// take returns what was written since the last time.
func (b *lockedBuffer) take() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.buf.Reset()
	return b.buf.String()
}

const maxMessage = 1000

// callMux answers a few methods of the service test.Calls.
func callMux(t testing.TB, log io.Writer) *httpd.Mux {
	t.Helper()
	m := httpd.NewMux(httpd.MuxConfig{Log: slog.New(slog.NewTextHandler(log, nil)), Metrics: prometheus.NewRegistry(), Now: time.Now})
	addCalls(m)
	return m
}

func addCalls(m *httpd.Mux) {
	g := m.Group("calls", httpd.GRPCErrors)
	handle := func(method string, f httpd.GRPCFunc) { g.HandleGRPC("test.Calls", method, maxMessage, f) }
	handle("Echo", func(r *http.Request, message []byte) ([]byte, error) {
		return append([]byte(r.Header.Get("Prefix")), message...), nil
	})
	for method, err := range map[string]error{
		"Invalid":     fault.New(fault.Invalid, "100% wrong: ä\n"),
		"Limited":     fault.Later(7*time.Second, "too often"),
		"Internal":    errors.New("secret"),
		"Unavailable": fault.Wrap(fault.Unavailable, errors.New("secret"), "the log is down"),
	} {
		handle(method, func(*http.Request, []byte) ([]byte, error) { return nil, err })
	}
	handle("Panic", func(*http.Request, []byte) ([]byte, error) { panic("secret") })
	handle("Wait", func(r *http.Request, _ []byte) ([]byte, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	})
}

// callServer serves mux by HTTP/2 in plaintext and returns a client.
func callServer(t *testing.T, mux http.Handler) (*grpc.ClientConn, *httptest.Server) {
	t.Helper()
	srv := httptest.NewUnstartedServer(mux)
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetHTTP1(true)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	t.Cleanup(srv.Close)
	conn, err := grpc.NewClient(strings.TrimPrefix(srv.URL, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return conn, srv
}

func invoke(ctx context.Context, conn *grpc.ClientConn, method, message string, opts ...grpc.CallOption) (string, error) {
	in, out := []byte(message), []byte(nil)
	err := conn.Invoke(ctx, "/test.Calls/"+method, &in, &out, opts...)
	return string(out), err
}

// TestCalls: what a client of another make sees of calls that go well and of each
// kind of failure.
func TestCalls(t *testing.T) {
	var log lockedBuffer
	conn, _ := callServer(t, callMux(t, &log))
	ctx := metadata.AppendToOutgoingContext(t.Context(), "prefix", "> ")
	for _, message := range []string{"", "hello", strings.Repeat("x", maxMessage)} {
		if got, err := invoke(ctx, conn, "Echo", message); err != nil || got != "> "+message {
			t.Errorf("echo of %d bytes: %q, %v", len(message), got, err)
		}
	}
	for _, tt := range []struct {
		method, message string
		code            codes.Code
		want            string
		opts            []grpc.CallOption
		logged          string
	}{
		{"Invalid", "", codes.InvalidArgument, "100% wrong: ä\n", nil, "level=INFO"},
		{"Limited", "", codes.ResourceExhausted, "too often", nil, "status=429"},
		{"Internal", "", codes.Internal, "internal error", nil, "error=secret"},
		{"Unavailable", "", codes.Unavailable, "the log is down", nil, "level=ERROR"},
		{"Panic", "", codes.Internal, "internal error", nil, "panic=secret"},
		{"Missing", "", codes.Unimplemented, "no such method", nil, "level=INFO"},
		{"Echo", strings.Repeat("x", maxMessage+1), codes.ResourceExhausted, "message of 1001 bytes is over the limit of 1000 bytes", nil, "status=413"},
		{"Echo", "compressed", codes.Unimplemented, "compressed messages are not understood", []grpc.CallOption{grpc.UseCompressor(gzip.Name)}, "level=INFO"},
	} {
		log.take()
		_, err := invoke(t.Context(), conn, tt.method, tt.message, tt.opts...)
		if got := status.Convert(err); got.Code() != tt.code || got.Message() != tt.want {
			t.Errorf("%s: %v %q, want %v %q", tt.method, got.Code(), got.Message(), tt.code, tt.want)
		}
		if got := log.take(); !strings.Contains(got, tt.logged) {
			t.Errorf("%s: log %q, want %s", tt.method, got, tt.logged)
		}
	}
}

func TestCallsEndInTime(t *testing.T) {
	conn, _ := callServer(t, callMux(t, io.Discard))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := invoke(ctx, conn, "Wait", ""); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("past its deadline: %v, want %v", err, codes.DeadlineExceeded)
	}
	ctx, cancel = context.WithCancel(t.Context())
	go cancel()
	if _, err := invoke(ctx, conn, "Wait", ""); status.Code(err) != codes.Canceled {
		t.Errorf("canceled: %v, want %v", err, codes.Canceled)
	}
}

// frame is how messages travel.
func frame(flag byte, length int, message string) string {
	header := []byte{flag, 0, 0, 0, 0}
	binary.BigEndian.PutUint32(header[1:], uint32(length))
	return string(header) + message
}

// post sends a body as a call, past any client's own checks.
func post(t testing.TB, mux http.Handler, path, contentType, body string, headers ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	return w.Result()
}

func TestMalformedCalls(t *testing.T) {
	mux := callMux(t, io.Discard)
	for _, tt := range []struct {
		name, body, code, message string
		headers                   []string
	}{
		{"whole", frame(0, 2, "hi"), "0", "", nil},
		{"whole, of a type", frame(0, 2, "hi"), "0", "", []string{"Content-Type", "application/grpc+proto"}},
		{"whole, in a minute", frame(0, 2, "hi"), "0", "", []string{"Grpc-Timeout", "1M"}},
		{"whole, identity", frame(0, 2, "hi"), "0", "", []string{"Grpc-Encoding", "identity"}},
		{"empty", "", "3", "the call has no message", nil},
		{"half a header", "\x00\x00\x00", "3", "the call has no message", nil},
		{"cut short", frame(0, 3, "hi"), "3", "the call's body is not one message", nil},
		{"two messages", frame(0, 2, "hi") + frame(0, 2, "hi"), "3", "the call's body is not one message", nil},
		{"unknown flag", frame(2, 2, "hi"), "3", "the message's frame is malformed", nil},
		{"compressed by nothing", frame(1, 2, "hi"), "3", "the message's frame is malformed", []string{"Grpc-Encoding", "identity"}},
		{"compressed", frame(1, 2, "hi"), "12", "compressed messages are not understood", []string{"Grpc-Encoding", "gzip"}},
		{"said to be huge", frame(0, 1<<31, "hi"), "8", "message of 2147483648 bytes is over the limit of 1000 bytes", nil},
		{"over its length and the limit", frame(0, 2, strings.Repeat("x", 2000)), "8", "request body is over the limit of 1005 bytes", nil},
		{"timeout without a unit", frame(0, 2, "hi"), "3", "grpc-timeout is malformed", []string{"Grpc-Timeout", "10"}},
		{"timeout of nine digits", frame(0, 2, "hi"), "3", "grpc-timeout is malformed", []string{"Grpc-Timeout", "123456789S"}},
		{"negative timeout", frame(0, 2, "hi"), "3", "grpc-timeout is malformed", []string{"Grpc-Timeout", "-1S"}},
		{"the longest timeout", frame(0, 2, "hi"), "0", "", []string{"Grpc-Timeout", "99999999H"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			resp := post(t, mux, "/test.Calls/Echo", "application/grpc", tt.body, tt.headers...)
			defer resp.Body.Close()
			at := resp.Header
			if tt.code == "0" {
				at = resp.Trailer
			}
			if resp.StatusCode != 200 || at.Get("Grpc-Status") != tt.code || at.Get("Grpc-Message") != tt.message {
				t.Errorf("answer %d %v %v, want status %s %q", resp.StatusCode, resp.Header, resp.Trailer, tt.code, tt.message)
			}
		})
	}
}

// TestOthersSeeNoGRPC: neither what is no call, nor what asks elsewhere.
func TestOthersSeeNoGRPC(t *testing.T) {
	_, srv := callServer(t, callMux(t, io.Discard))
	for _, tt := range []struct {
		method, path, contentType string
		status                    int
	}{
		{http.MethodPost, "/test.Calls/Echo", "application/json", http.StatusUnsupportedMediaType},
		{http.MethodPost, "/test.Calls/Echo", "application/grpc-web", http.StatusUnsupportedMediaType},
		{http.MethodGet, "/test.Calls/Echo", "", http.StatusMethodNotAllowed},
		{http.MethodGet, "/test.Calls/Echo", "application/grpc", http.StatusMethodNotAllowed},
		{http.MethodGet, "/missing", "application/grpc", http.StatusNotFound},
		{http.MethodPost, "/test.Calls/Missing", "application/json", http.StatusNotFound},
	} {
		req, err := http.NewRequestWithContext(t.Context(), tt.method, srv.URL+tt.path, strings.NewReader(frame(0, 2, "hi")))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", tt.contentType)
		resp, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Error(err)
		}
		resp.Body.Close()
		if resp.StatusCode != tt.status {
			t.Errorf("%s %s %s: %d, want %d", tt.method, tt.path, tt.contentType, resp.StatusCode, tt.status)
		}
		for name := range resp.Header {
			if strings.HasPrefix(name, "Grpc-") {
				t.Errorf("%s %s %s: header %s in an answer of HTTP", tt.method, tt.path, tt.contentType, name)
			}
		}
	}
}

// TestCallByHTTP1: a proxy in between may speak it; the trailer arrives all the
// same.
func TestCallByHTTP1(t *testing.T) {
	_, srv := callServer(t, callMux(t, io.Discard))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL+"/test.Calls/Echo", strings.NewReader(frame(0, 2, "hi")))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/grpc")
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || string(body) != frame(0, 2, "hi") || resp.Trailer.Get("Grpc-Status") != "0" || resp.ProtoMajor != 1 {
		t.Errorf("answer %q %v by HTTP/%d, %v", body, resp.Trailer, resp.ProtoMajor, err)
	}
}

// FuzzCall: what is answered was one whole frame, and nothing else is.
func FuzzCall(f *testing.F) {
	f.Add([]byte(frame(0, 2, "hi")), "1S")
	f.Add([]byte(frame(1, 2, "hi")), "")
	f.Add([]byte(frame(0, 3, "hi")), "99999999H")
	f.Add([]byte{}, "0n")
	mux := callMux(f, io.Discard)
	f.Fuzz(func(t *testing.T, body []byte, timeout string) {
		resp := post(t, mux, "/test.Calls/Echo", "application/grpc", string(body), "Grpc-Timeout", timeout)
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		code, inTrailer := resp.Header.Get("Grpc-Status"), resp.Trailer.Get("Grpc-Status")
		whole := len(body) >= 5 && len(body) <= 5+maxMessage && body[0] == 0 && int(binary.BigEndian.Uint32(body[1:])) == len(body)-5
		switch {
		case (code == "") == (inTrailer == ""):
			t.Errorf("status %q and %q, want one", code, inTrailer)
		case inTrailer == "0" && (!whole || !bytes.Equal(answer, body)):
			t.Errorf("%q was answered with %q", body, answer)
		case inTrailer != "0" && (len(answer) > 0 || whole && timeout == ""):
			t.Errorf("%q was refused with %s and %q", body, code, answer)
		}
	})
}
