package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"sigstack/internal/httpd"
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
		"/api/v1/log/entries/x/y", "/ctlog", "/ctlog/ct/v2/get-sth", "/dexx", "/tuf", "/tuf/", "/tuf/targets", "/tuf/targets/",
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
		if route.Service == "ca" && !isCall(route) {
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
		"application/json", "application/timestamp-query", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/grpc", "",
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
	if isCall(route) {
		s.limitsCall(t, r.path, route.MaxBody)
		return
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
