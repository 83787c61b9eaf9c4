package httpd_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sigstack/internal/fault"
	"sigstack/internal/httpd"
)

func newMux(t *testing.T, log io.Writer) *httpd.Mux {
	t.Helper()
	return httpd.NewMux(httpd.MuxConfig{
		Log:     slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Metrics: prometheus.NewRegistry(),
		Now:     time.Now,
	})
}

func echo(w http.ResponseWriter, r *http.Request) error {
	body, err := httpd.ReadBody(r)
	if err != nil {
		return err
	}
	httpd.WriteBytes(w, http.StatusOK, "text/plain", append([]byte(r.PathValue("id")+":"), body...))
	return nil
}

func TestRouting(t *testing.T) {
	m := newMux(t, io.Discard)
	rest, grpc := m.Group("rest", httpd.RESTErrors), m.Group("grpc", httpd.GRPCErrors)
	rest.Handle(http.MethodPost, "/things", 4, echo)
	rest.Handle(http.MethodGet, "/things/{id}", 0, echo)
	grpc.Handle(http.MethodPost, "/rpc", 4, echo)
	grpc.Handle(http.MethodPost, "/panic", 4, func(http.ResponseWriter, *http.Request) error { panic("secret") })
	rest.Handle(http.MethodGet, "/broken", 0, func(http.ResponseWriter, *http.Request) error { return errors.New("secret") })
	rest.Handle(http.MethodGet, "/coded", 0, func(http.ResponseWriter, *http.Request) error {
		return &fault.Error{Kind: fault.Unprocessable, Public: "hash is missing", Code: 602}
	})
	rest.HandleTree([]string{http.MethodGet}, "/tree/", 0, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.URL.Path)
	}))

	tests := []struct {
		name, method, path, body string
		status                   int
		want                     string
	}{
		{"post", "POST", "/things", "abc", 200, ":abc"},
		{"wildcard", "GET", "/things/7", "", 200, "7:"},
		{"final slash", "POST", "/things/", "abc", 200, ":abc"},
		{"doubled slash", "POST", "//things", "abc", 200, ":abc"},
		{"head", "HEAD", "/things/7", "", 200, ""},
		{"tree path as sent", "GET", "/tree/a/", "", 200, "/tree/a/"},
		{"tree path with an escaped element", "GET", "/tree/%2e%2e/things", "", 200, "/tree/../things"},
		{"tree path upwards", "GET", "/tree/../things/7", "", 404, `{"code":404,"message":"no such path"}` + "\n"},
		{"tree path with an empty element", "GET", "/tree//a", "", 404, `{"code":404,"message":"no such path"}` + "\n"},
		{"path upwards", "GET", "/things/../things/7", "", 404, `{"code":404,"message":"no such path"}` + "\n"},
		{"escaped slash stays in its element", "GET", "/things/..%2f..%2fkeys", "", 200, "../../keys:"},
		{"tree, wrong method", "POST", "/tree/a", "", 405, `{"code":405,"message":"method POST is not allowed here"}` + "\n"},
		{"unknown", "GET", "/nowhere", "", 404, `{"code":404,"message":"no such path"}` + "\n"},
		{"too large", "POST", "/things", "abcde", 413, `{"code":413,"message":"request body is over the limit of 4 bytes"}` + "\n"},
		{"too large, grpc", "POST", "/rpc", "abcde", 400, `{"code":3,"message":"request body is over the limit of 4 bytes","details":[]}` + "\n"},
		{"method", "PUT", "/things", "", 405, `{"code":405,"message":"method PUT is not allowed here"}` + "\n"},
		{"method, grpc", "GET", "/rpc", "", 501, `{"code":12,"message":"method GET is not allowed here","details":[]}` + "\n"},
		{"hostile method", "a-b", "/things", "", 405, `{"code":405,"message":"method of this request is not allowed here"}` + "\n"},
		{"internal", "GET", "/broken", "", 500, `{"code":500,"message":"internal error"}` + "\n"},
		{"panic", "POST", "/panic", "", 500, `{"code":13,"message":"internal error","details":[]}` + "\n"},
		{"own code", "GET", "/coded", "", 422, `{"code":602,"message":"hash is missing"}` + "\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rec := httptest.NewRecorder()
			m.ServeHTTP(rec, httptest.NewRequestWithContext(context.Background(), tt.method, tt.path, strings.NewReader(tt.body)))
			if rec.Code != tt.status {
				t.Errorf("status %d, want %d", rec.Code, tt.status)
			}
			if got := rec.Body.String(); got != tt.want && tt.method != "HEAD" {
				t.Errorf("body %q, want %q", got, tt.want)
			}
		})
	}
}

// TestPanicIsCountedWhereItHappened: an alert must name the route.
func TestPanicIsCountedWhereItHappened(t *testing.T) {
	var log bytes.Buffer
	m := newMux(t, &log)
	m.Group("s", httpd.RESTErrors).Handle(http.MethodGet, "/panic", 0, func(http.ResponseWriter, *http.Request) error { panic("oops") })
	m.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), "GET", "/panic", nil))
	for _, want := range []string{"panic=oops", "service=s", "route=/panic", "status=500"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("log lacks %q: %s", want, log.String())
		}
	}
}

// TestAbortIsPassedOn: net/http cuts the connection, and the request is logged
// like any other.
func TestAbortIsPassedOn(t *testing.T) {
	var log bytes.Buffer
	m := newMux(t, &log)
	m.Group("s", httpd.RESTErrors).HandleForeign(http.MethodGet, "/cut", 0, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	defer func() {
		if p := recover(); p != http.ErrAbortHandler { //nolint:errorlint // a panic value
			t.Errorf("recovered %v, want http.ErrAbortHandler", p)
		}
		if got := log.String(); !strings.Contains(got, "route=/cut") || strings.Contains(got, "handler panicked") {
			t.Errorf("log %q, want one line for the request", got)
		}
	}()
	m.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), "GET", "/cut", nil))
}

// TestCallersFaultsAreNoErrors: who watches the log for errors is not to be woken
// by what strangers send.
func TestCallersFaultsAreNoErrors(t *testing.T) {
	var log bytes.Buffer
	m := newMux(t, &log)
	m.Group("rpc", httpd.GRPCErrors).Handle(http.MethodPost, "/rpc", 4, echo)
	for _, r := range []*http.Request{
		httptest.NewRequestWithContext(t.Context(), "GET", "/rpc", nil), // 501
		httptest.NewRequestWithContext(t.Context(), "POST", "/rpc", strings.NewReader("abcde")),
		httptest.NewRequestWithContext(t.Context(), "GET", "/nowhere", nil),
	} {
		m.ServeHTTP(httptest.NewRecorder(), r)
	}
	if got := log.String(); strings.Contains(got, "level=ERROR") || strings.Count(got, "level=INFO") != 3 {
		t.Errorf("log %q, want three lines of information", got)
	}
}

func TestRoutesListsWhatIsMounted(t *testing.T) {
	m := newMux(t, io.Discard)
	m.Group("s", httpd.RESTErrors).Handle(http.MethodPost, "/a", 9, echo)
	m.Group("s", httpd.RESTErrors).As(httpd.Read).Handle(http.MethodPost, "/search", 9, echo)
	m.Group("t", httpd.RESTErrors).HandleTree([]string{http.MethodGet}, "/b/", 3, http.NotFoundHandler())
	got := m.Routes()
	want := []httpd.Route{
		{Service: "s", Method: "POST", Path: "/a", MaxBody: 9, Effect: httpd.Write},
		{Service: "s", Method: "POST", Path: "/search", MaxBody: 9, Effect: httpd.Read},
		{Service: "t", Method: "GET", Path: "/b/", MaxBody: 3, Tree: true, Effect: httpd.Read},
	}
	if !slices.Equal(got, want) {
		t.Errorf("routes %+v, want %+v", got, want)
	}
}

// TestRouteIsAddedWhileServing: a service may come later, and nobody else notices.
func TestRouteIsAddedWhileServing(t *testing.T) {
	m := newMux(t, io.Discard)
	g := m.Group("rest", httpd.RESTErrors)
	g.Handle(http.MethodPost, "/things", 4, echo)
	ask := func(path string) int {
		rec := httptest.NewRecorder()
		m.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader("a")))
		return rec.Code
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	for range 4 {
		wg.Go(func() {
			for range 1000 {
				if code := ask("/things"); code != http.StatusOK {
					t.Errorf("a route that is there answers %d", code)
				}
				m.Routes()
			}
		})
	}
	for i := range 20 {
		path := fmt.Sprintf("/later/%d", i)
		if code := ask(path); code != http.StatusNotFound {
			t.Errorf("%s answers %d before it is there", path, code)
		}
		g.Handle(http.MethodPost, path, 4, echo)
		if code := ask(path); code != http.StatusOK {
			t.Errorf("%s answers %d", path, code)
		}
	}
}

func TestRequestID(t *testing.T) {
	var log bytes.Buffer
	m := newMux(t, &log)
	var inHandler string
	m.Group("s", httpd.RESTErrors).Handle(http.MethodGet, "/", 0, func(_ http.ResponseWriter, r *http.Request) error {
		inHandler = httpd.RequestID(r.Context())
		return nil
	})
	for _, tt := range []struct {
		sent string
		kept bool
	}{{"abc-1", true}, {"", false}, {"two words", false}, {strings.Repeat("x", 129), false}} {
		log.Reset()
		r := httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/", nil)
		r.Header.Set("X-Request-Id", tt.sent)
		rec := httptest.NewRecorder()
		m.ServeHTTP(rec, r)
		got := rec.Header().Get("X-Request-Id")
		if got == "" || (got == tt.sent) != tt.kept {
			t.Errorf("sent %q: answered %q, want kept=%v", tt.sent, got, tt.kept)
		}
		if inHandler != got || !strings.Contains(log.String(), "request_id="+got) {
			t.Errorf("id %q: handler saw %q, log %q", got, inHandler, log.String())
		}
	}
}

func TestInternalDetailGoesToTheLogOnly(t *testing.T) {
	var log bytes.Buffer
	m := newMux(t, &log)
	m.Group("s", httpd.RESTErrors).Handle(http.MethodGet, "/", 0, func(http.ResponseWriter, *http.Request) error {
		return fault.Wrap(fault.Unavailable, errors.New("disk 3 died"), "log is down")
	})
	rec := httptest.NewRecorder()
	m.ServeHTTP(rec, httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/", nil))
	if rec.Code != 503 || rec.Header().Get("Retry-After") == "" || strings.Contains(rec.Body.String(), "disk") {
		t.Errorf("answer %d %q %q", rec.Code, rec.Header(), rec.Body)
	}
	if !strings.Contains(log.String(), "disk 3 died") {
		t.Errorf("log lacks the cause: %q", log.String())
	}
}

func TestCORS(t *testing.T) {
	m := newMux(t, io.Discard)
	m.Group("s", httpd.RESTErrors).Handle(http.MethodPost, "/a", 9, echo)
	r := httptest.NewRequestWithContext(context.Background(), http.MethodOptions, "/a", nil)
	r.Header.Set("Origin", "https://example.test")
	r.Header.Set("Access-Control-Request-Method", "POST")
	rec := httptest.NewRecorder()
	m.ServeHTTP(rec, r)
	if rec.Code != http.StatusNoContent || rec.Header().Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("preflight: %d %v", rec.Code, rec.Header())
	}
}

func TestReadiness(t *testing.T) {
	m := newMux(t, io.Discard)
	ready := httpd.NewReadiness("ca", "tlog")
	ready.Mount(m)
	get := func(path string) (int, string) {
		rec := httptest.NewRecorder()
		m.ServeHTTP(rec, httptest.NewRequestWithContext(context.Background(), http.MethodGet, path, nil))
		return rec.Code, rec.Body.String()
	}
	steps := []struct {
		service string
		status  httpd.Status
		code    int
		overall string
	}{
		{"ca", httpd.OK, 503, `"status":"down"`},
		{"tlog", httpd.Warn, 200, `"status":"warn"`},
		{"tlog", httpd.OK, 200, `{"status":"ok","services":{"ca":{"status":"ok","detail":"d"},"tlog":{"status":"ok","detail":"d"}}}`},
		{"ca", httpd.Down, 503, `"status":"down"`},
	}
	for _, s := range steps {
		ready.Set(s.service, s.status, "d")
		if code, body := get("/readyz"); code != s.code || !strings.Contains(body, s.overall) {
			t.Errorf("after %s=%s: %d %s, want %d %s", s.service, s.status, code, body, s.code, s.overall)
		}
	}
	if code, _ := get("/readyz/tlog"); code != 200 {
		t.Errorf("/readyz/tlog: %d, want 200", code)
	}
	if code, _ := get("/readyz/nobody"); code != 404 {
		t.Errorf("/readyz/nobody: %d, want 404", code)
	}
	if code, body := get("/healthz"); code != 200 || body != `{"status":"SERVING"}`+"\n" {
		t.Errorf("/healthz: %d %q", code, body)
	}
}

// closed tells whether a body was closed.
type closed struct {
	io.Reader
	done bool
}

func (c *closed) Close() error { c.done = true; return nil }

func TestInProcessClosesTheBody(t *testing.T) {
	body := &closed{Reader: strings.NewReader("abc")}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://any.example/", body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := httpd.InProcess{Handler: http.NotFoundHandler()}.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil || !body.done {
		t.Errorf("request body closed: %v, %v; want it closed, as http.RoundTripper demands", body.done, err)
	}
}

func TestInProcess(t *testing.T) {
	m := newMux(t, io.Discard)
	m.Group("s", httpd.RESTErrors).Handle(http.MethodPost, "/things/{id}", 9, echo)
	client := &http.Client{Transport: httpd.InProcess{Handler: m}}
	for _, tt := range []struct {
		path   string
		status int
		want   string
	}{{"/things/7?q=1", 200, "7:abc"}, {"/nowhere", 404, `{"code":404,"message":"no such path"}` + "\n"}} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://any.example:1"+tt.path, strings.NewReader("abc"))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err := errors.Join(err, resp.Body.Close()); err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != tt.status || string(body) != tt.want {
			t.Errorf("%s: %d %q, want %d %q", tt.path, resp.StatusCode, body, tt.status, tt.want)
		}
	}
}

// TestMetered: a group's meter is told of what its paths answered, and of nothing else.
func TestMetered(t *testing.T) {
	m := newMux(t, io.Discard)
	var told []string
	meter := func(path, method string, status int, took time.Duration) {
		if took < 0 {
			t.Errorf("%s %s took %v", method, path, took)
		}
		told = append(told, fmt.Sprint(method, " ", path, " ", status))
	}
	g := m.Group("metered", httpd.RESTErrors)
	g.Metered(meter).Handle(http.MethodPost, "/things", 4, echo)
	g.Metered(meter).As(httpd.Public).Handle(http.MethodGet, "/things/{id}", 0, echo)
	g.Handle(http.MethodGet, "/other", 0, echo)
	for _, r := range []struct{ method, path, body string }{
		{"POST", "/things", "abc"},
		{"POST", "/things", "too long"},
		{"GET", "/things/7", ""},
		{"PUT", "/things/7", ""},
		{"GET", "/other", ""},
		{"GET", "/nowhere", ""},
	} {
		m.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(r.method, r.path, strings.NewReader(r.body)))
	}
	want := []string{"POST /things 200", "POST /things 413", "GET /things/{id} 200", "other /things/{id} 405"}
	if !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
}
