package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/httpd"
	"sigstack/internal/stack"
)

// TestEveryRouteRefusesBadInput walks the route table of the running stack: what
// every route owes whatever it does, then the rows that say what each refuses.
// A route without a row fails, and so does a row without a route.
func TestEveryRouteRefusesBadInput(t *testing.T) {
	s := startInProcess(t)
	rows := badInputRows(t, s)
	routes := map[string]httpd.Route{}
	for _, r := range s.stack.Routes() {
		routes[r.Method+" "+r.Path] = r
	}
	for key := range routes {
		if _, ok := rows[key]; !ok {
			t.Errorf("route %s has no row: say in badInputRows what it refuses", key)
		}
	}
	for key, row := range rows {
		route, ok := routes[key]
		if !ok {
			t.Errorf("row %s is for no route", key)
			continue
		}
		t.Run(key, func(t *testing.T) {
			s.refusesOtherMethods(t, route, row)
			s.limitsBody(t, route, row)
			for _, c := range row.cases {
				t.Run(c.name, func(t *testing.T) { s.check(t, route, row, c) })
			}
		})
	}
	s.stillWorks(t)
}

func TestUnknownPathsAreNotFound(t *testing.T) {
	s := startInProcess(t)
	for _, target := range []string{
		"/nosuch", "/api", "/api/v1", "/api/v2/", "/api/v2/signingCert/x", "/api/v3/signingCert", "/API/v2/signingCert",
		"/api/v1/log/entries/x/y", "/ctlog", "/ctlog/ct/v2/get-sth", "/dex", "/tuf", "/tuf/", "/tuf/targets", "/tuf/targets/",
		"/client", "/client/", "/metrics", "/debug/pprof/", "/config.yaml", "/keys/ca.key", "/offline/ca-root.key", "/.git/config",
		"/..", "/../config.yaml", "/%2e%2e/config.yaml", "/..%2fconfig.yaml", "/%00", "/%ff", "/*", "/{name}", "/" + strings.Repeat("a/", 2000),
	} {
		if err := restError(s.send(t, http.MethodGet, target, nil, nil), http.StatusNotFound, ""); err != nil {
			t.Errorf("GET %.60s: %v", target, err)
		}
	}
	s.stillWorks(t)
}

// row is what is known of one route.
type row struct {
	// path is one that the route answers, where the route's has wildcards.
	path  string
	shape shape // of its refusals
	cases []badCase
}

// badCase is one request that is not as it should be.
type badCase struct {
	name string
	// target, if set, replaces the row's path; one that begins with ? adds to it.
	target string
	body   string
	header http.Header
	status int
	want   string // in the refusal's message
	shape  shape  // if another than the row's
}

// shape checks that an answer is a refusal as the contract words it: its status,
// its content type, its body, and want in its message.
type shape func(a answer, status int, want string) error

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// check sends one case and judges the answer.
func (s *inProcess) check(t *testing.T, route httpd.Route, r row, c badCase) {
	t.Helper()
	target := r.path
	switch {
	case strings.HasPrefix(c.target, "?"):
		target += c.target
	case c.target != "":
		target = c.target
	}
	judge := r.shape
	if c.shape != nil {
		judge = c.shape
	}
	a := s.send(t, route.Method, target, c.header, strings.NewReader(c.body))
	if err := judge(a, c.status, c.want); err != nil {
		t.Errorf("%s %.100s: %v", route.Method, target, err)
	}
	s.wantHealthy(t)
}

// refusesOtherMethods tries every method that the route's path does not have.
func (s *inProcess) refusesOtherMethods(t *testing.T, route httpd.Route, r row) {
	t.Helper()
	allowed := []string{http.MethodHead} // comes with GET
	for _, other := range s.stack.Routes() {
		if other.Path == route.Path {
			allowed = append(allowed, other.Method)
		}
	}
	for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW", "get"} {
		if slices.Contains(allowed, method) {
			continue
		}
		a := s.send(t, method, r.path, nil, strings.NewReader("{}"))
		status, judge := http.StatusMethodNotAllowed, restError
		if route.Service == "ca" {
			status, judge = http.StatusNotImplemented, grpcError(12)
		}
		if err := judge(a, status, "not allowed here"); err != nil {
			t.Errorf("method %s: %v", method, err)
		}
		if !strings.Contains(a.header.Get("Allow"), route.Method) {
			t.Errorf("method %s: Allow is %q, want %s in it", method, a.header.Get("Allow"), route.Method)
		}
	}
}

// limitsBody sends a body without end to the handler itself, to see how much of
// it is read, and one of a byte too much over the wire.
func (s *inProcess) limitsBody(t *testing.T, route httpd.Route, r row) {
	t.Helper()
	for _, contentType := range []string{
		"application/json", "application/timestamp-query", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "",
	} {
		endless := &endless{}
		req, err := http.NewRequestWithContext(t.Context(), route.Method, s.url+r.path, endless)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", contentType)
		resp, err := httpd.InProcess{Handler: s.stack.Handler()}.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		// One byte more tells a body that is too long from one that just fits;
		// readers ask for more than they use.
		if endless.read > route.MaxBody+1 {
			t.Errorf("%s: %d bytes of a body were read, the limit is %d", contentType, endless.read, route.MaxBody)
		}
	}
	if route.MaxBody == 0 {
		return // never reads one
	}
	status, contentType := http.StatusRequestEntityTooLarge, "application/json"
	switch route.Service {
	case "ca":
		status = http.StatusBadRequest
	case "tsa":
		contentType = "application/timestamp-query"
	case "oidc":
		contentType = "application/x-www-form-urlencoded"
		if route.Method == http.MethodGet {
			return // a form is in the query there
		}
	}
	a := s.send(t, route.Method, r.path, http.Header{"Content-Type": {contentType}},
		strings.NewReader(strings.Repeat(" ", int(route.MaxBody)+1)))
	want := fmt.Sprintf("over the limit of %d bytes", route.MaxBody)
	if route.Service == "ctlog" {
		want = "too large" // ctfe's words
	}
	if err := r.shape(a, status, want); err != nil {
		t.Errorf("body of %d bytes: %v", route.MaxBody+1, err)
	}
}

// endless is a request body of spaces.
type endless struct{ read int64 }

func (e *endless) Read(p []byte) (int, error) {
	if len(p) > 4096 {
		p = p[:4096]
	}
	for i := range p {
		p[i] = ' '
	}
	e.read += int64(len(p))
	return len(p), nil
}

// grpcError is the CA's form (contract: ca.md §9).
func grpcError(code int) shape {
	return func(a answer, status int, want string) error {
		var got struct {
			Code    *int      `json:"code"`
			Message *string   `json:"message"`
			Details *[]string `json:"details"`
		}
		if err := decodeError(a, status, &got); err != nil {
			return err
		}
		if got.Code == nil || got.Message == nil || got.Details == nil || *got.Code != code {
			return fmt.Errorf("body %s, want code %d, a message and details", a.body, code)
		}
		return worded(a, *got.Message, want)
	}
}

// restError is the form of all else that is ours (contracts: rekor-v1.md §1,
// tsa-and-others.md). Schema failures are 422 with a code of their own.
func restError(a answer, status int, want string) error {
	var got struct {
		Code    *int    `json:"code"`
		Message *string `json:"message"`
	}
	if err := decodeError(a, status, &got); err != nil {
		return err
	}
	if got.Code == nil || got.Message == nil {
		return fmt.Errorf("body %s, want a code and a message", a.body)
	}
	schema := status == http.StatusUnprocessableEntity && *got.Code >= 601 && *got.Code <= 606
	if *got.Code != status && !schema {
		return fmt.Errorf("body %s, want code %d", a.body, status)
	}
	return worded(a, *got.Message, want)
}

// decodeError demands a status and one JSON object of the members that v has.
func decodeError(a answer, status int, v any) error {
	if a.status != status {
		return fmt.Errorf("answer %d %.200q, want %d", a.status, a.body, status)
	}
	if got := a.header.Get("Content-Type"); got != "application/json" {
		return fmt.Errorf("content type %q, want application/json", got)
	}
	dec := json.NewDecoder(bytes.NewReader(a.body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("body %.200q: %w", a.body, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("body %.200q goes on after its object", a.body)
	}
	return nil
}

// textError is ctfe's form: a sentence.
func textError(a answer, status int, want string) error {
	if a.status != status {
		return fmt.Errorf("answer %d %.200q, want %d", a.status, a.body, status)
	}
	if got := a.header.Get("Content-Type"); got != "text/plain; charset=utf-8" {
		return fmt.Errorf("content type %q, want plain text", got)
	}
	// Its causes are Go's own sentences, such as "json: cannot unmarshal".
	return free(a, string(a.body), want, stacks)
}

// oauthError is RFC 6749's object (§5.2).
func oauthError(a answer, status int, want string) error {
	var got struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	if err := decodeError(a, status, &got); err != nil {
		return err
	}
	if got.Error == "" {
		return fmt.Errorf("body %s, want an error", a.body)
	}
	return worded(a, got.Error+": "+got.Description, want)
}

// pageError is a page for people.
func pageError(a answer, status int, want string) error {
	if a.status != status {
		return fmt.Errorf("answer %d %.300q, want %d", a.status, a.body, status)
	}
	if got := a.header.Get("Content-Type"); !strings.HasPrefix(got, "text/html") {
		return fmt.Errorf("content type %q, want HTML", got)
	}
	return worded(a, string(a.body), want)
}

// noBody is Rekor's 404 of an entry (contract: rekor-v1.md §1).
func noBody(a answer, status int, _ string) error {
	if a.status != status || len(a.body) != 0 {
		return fmt.Errorf("answer %d %.200q, want %d without a body", a.status, a.body, status)
	}
	return nil
}

// granted is for oddities that mean nothing to a route.
func granted(a answer, status int, want string) error {
	if a.status != status || status >= 400 {
		return fmt.Errorf("answer %d %.200q, want %d", a.status, a.body, status)
	}
	return worded(a, string(a.body), want)
}

// Signs that an answer tells of our insides: stacks and paths, and in our own
// words also Go's types, packages and addresses.
var (
	stacks = regexp.MustCompile(`\.go\b|goroutine |panic|runtime error|sigstack/|/tmp/|/root/|/home/|map\[|0x[0-9a-f]{6}`)
	types  = regexp.MustCompile(`Go (value|struct)|\b(json|base64|asn1|strconv|url|os|pebble|storage): |` +
		`\b(ca|tlog|tsa|tuf|oidc|entry|rekorv1|ctlog|fault|httpd|big|http)\.[A-Za-z]`)
)

// worded checks a message: want is in it and nothing of our insides.
func worded(a answer, message, want string) error {
	return free(a, message, want, stacks, types)
}

func free(a answer, message, want string, leaks ...*regexp.Regexp) error {
	if !strings.Contains(message, want) {
		return fmt.Errorf("answer %d says %.300q, want %q in it", a.status, message, want)
	}
	for _, leak := range leaks {
		if found := leak.Find(a.body); found != nil && a.status >= 400 {
			return fmt.Errorf("answer %d %.300q tells of our insides: %q", a.status, a.body, found)
		}
	}
	return nil
}

// inProcess is a stack in this process, so that its log and handler are at hand.
type inProcess struct {
	stack *stack.Stack
	dir   string
	url   string
	http  *http.Client
	log   *watchedLog
}

func startInProcess(t *testing.T) *inProcess {
	t.Helper()
	s := &inProcess{dir: filepath.Join(t.TempDir(), "data"), log: &watchedLog{}, http: &http.Client{
		Transport:     &http.Transport{},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	t.Cleanup(s.http.CloseIdleConnections)
	log := slog.New(s.log)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.url = fmt.Sprintf("http://localhost:%d", listener.Addr().(*net.TCPAddr).Port)
	if err := stack.Init(t.Context(), stack.InitConfig{
		Dir: s.dir, Profile: config.ProfileUp, URL: s.url, Listen: listener.Addr().String(), Now: time.Now, Log: log,
	}); err != nil {
		t.Fatal(err)
	}
	s.stack, err = stack.Open(t.Context(), stack.Options{
		Dir: s.dir, Profile: config.ProfileUp, Listener: listener, Now: time.Now, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.run(t)
	return s
}

// run runs the stack until the test ends, and returns when it is ready.
func (s *inProcess) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- s.stack.Run(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-done:
		t.Fatalf("stack ended: %v", err)
	case <-time.After(waitReady):
		t.Fatalf("stack is not ready after %v", waitReady)
	}
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("stack ended: %v", err)
		}
		s.log.wantNoFault(t)
	})
}

// send sends a request whose target reaches the server byte for byte.
func (s *inProcess) send(t *testing.T, method, target string, header http.Header, body io.Reader) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.url, body)
	if err != nil {
		t.Fatal(err)
	}
	path, query, _ := strings.Cut(target, "?")
	req.URL = &url.URL{Scheme: "http", Host: req.URL.Host, Opaque: path, RawQuery: query}
	req.Header.Set("Content-Type", "application/json")
	for name, values := range header {
		req.Header[name] = values
	}
	resp, err := s.http.Do(req)
	if err != nil {
		t.Fatalf("%s %.100s: no answer: %v", method, target, err)
	}
	answered, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		t.Fatalf("%s %.100s: %v", method, target, err)
	}
	return answer{resp.StatusCode, resp.Header, answered}
}

// wantHealthy asks whether the process still answers.
func (s *inProcess) wantHealthy(t *testing.T) {
	t.Helper()
	if a := s.send(t, http.MethodGet, "/readyz", nil, nil); a.status != http.StatusOK {
		t.Fatalf("not ready any more: %d %s", a.status, a.body)
	}
}

// stillWorks signs and verifies with all services.
func (s *inProcess) stillWorks(t *testing.T) {
	t.Helper()
	blob := writeFile(t, t.TempDir(), "blob", "hello\n")
	kit := filepath.Join(s.dir, "client")
	token := strings.TrimSpace(mustRun(t, nil, sigstackBin, "token", "--dir", s.dir))
	mustRun(t, []string{"SIGSTORE_ID_TOKEN=" + token}, sigstackBin, "sign", "--client", kit, blob)
	mustRun(t, nil, sigstackBin, "verify", "--client", kit,
		"--certificate-identity", demoUser, "--certificate-oidc-issuer", s.url+"/dex", blob)
}

// watchedLog is a slog.Handler that keeps what is logged of faults of our own:
// panics, and answers of 5xx.
type watchedLog struct {
	mu     sync.Mutex
	faults []string
}

// Enabled admits errors, which the mux's own records of faults are.
func (l *watchedLog) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelError
}

// Handle passes over Dex's errors, most of which are its callers'.
func (l *watchedLog) Handle(_ context.Context, r slog.Record) error {
	if r.Message != "handler panicked" && r.Message != "request" {
		return nil
	}
	var text strings.Builder
	text.WriteString(r.Message)
	r.Attrs(func(a slog.Attr) bool {
		fmt.Fprintf(&text, " %s=%v", a.Key, a.Value)
		return true
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults = append(l.faults, text.String())
	return nil
}

func (l *watchedLog) WithAttrs([]slog.Attr) slog.Handler { return l }
func (l *watchedLog) WithGroup(string) slog.Handler      { return l }

// wantNoFault fails the test for every panic and every fault that was logged.
func (l *watchedLog) wantNoFault(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.faults {
		t.Errorf("logged as our fault: %s", f)
	}
}
