package httpd

import (
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sigstack/internal/fault"
)

// MuxConfig configures NewMux. Every field but Guard is required.
type MuxConfig struct {
	Log     *slog.Logger
	Metrics prometheus.Registerer
	Now     func() time.Time
	Guard   Guard
	// HSTS: browsers are told to reach this host by TLS only.
	HSTS bool
}

// Mux routes requests to services and keeps the table of all routes. Trees, and
// further methods of a path, are added before it serves. It is safe for concurrent
// use.
type Mux struct {
	cfg     MuxConfig
	metrics *metrics
	mux     *http.ServeMux
	trees   []string // prefixes, with final slash, whose paths are taken as sent

	mu     sync.Mutex
	paths  map[string]*resource // guarded by mu: by registered path
	routes []Route              // guarded by mu
}

// Route is one method and path that a service answers.
type Route struct {
	Service string
	Method  string
	Path    string // net/http pattern path; for a tree the prefix, with final slash
	MaxBody int64  // bytes; 0: no request body is read
	Tree    bool   // all paths below Path
	Effect  Effect // never that of an unchosen one
}

// resource is everything that is known about one path.
type resource struct {
	group   *Group
	path    string
	tree    bool
	wild    bool // has wildcards
	methods map[string]endpoint
}

type endpoint struct {
	maxBody int64
	foreign bool
	handle  HandlerFunc
	effect  Effect
	access  Access
	open    func(*http.Request) bool // requests that are Public all the same; nil: none
	rpc     *rpc                     // nil: no method of gRPC
	page    Page                     // for who the guard does not let in; nil: an error body for all
}

// Page answers, for a person, a request that the guard refused with err, or reports
// that it does not.
type Page func(w http.ResponseWriter, r *http.Request, err error) bool

// NewMux returns a Mux without routes.
func NewMux(cfg MuxConfig) *Mux {
	m := &Mux{cfg: cfg, metrics: newMetrics(cfg.Metrics), mux: http.NewServeMux(), paths: map[string]*resource{}}
	return m
}

// Group is the part of a Mux that one service mounts its routes on.
type Group struct {
	mux     *Mux
	service string
	format  ErrorFormat
	effect  Effect
	open    func(*http.Request) bool
	page    Page
	rpc     *rpc
	meter   Meter
}

// Meter is told of each request to a path of a group, by the path as it was mounted,
// method ("other" beside GET, HEAD and POST), status of HTTP, and how long it took.
type Meter func(path, method string, status int, took time.Duration)

// Group returns a group whose errors are rendered in format f. The service's
// name is a metric label and a log attribute.
func (m *Mux) Group(service string, f ErrorFormat) *Group {
	return &Group{mux: m, service: service, format: f}
}

// As returns the same group for routes of effect e.
func (g *Group) As(e Effect) *Group {
	as := *g
	as.effect = e
	return &as
}

// Open returns the same group for routes some of whose requests are Public,
// which open picks out: one tree may hold pages and logins.
func (g *Group) Open(open func(*http.Request) bool) *Group {
	as := *g
	as.open = open
	return &as
}

// Paged returns the same group for routes that people see in a browser: what the
// guard refuses is answered by page, where that does.
func (g *Group) Paged(page Page) *Group {
	as := *g
	as.page = page
	return &as
}

// Metered returns the same group, of whose requests m is told: those of a path are told
// to the meter of its first route.
func (g *Group) Metered(m Meter) *Group {
	as := *g
	as.meter = m
	return &as
}

// Handle adds a route. Path may hold {name} wildcards as in net/http; a route
// for GET answers HEAD too. More than maxBody bytes of request body are refused.
// It panics if the route is taken: routes are our own code's.
func (g *Group) Handle(method, path string, maxBody int64, h HandlerFunc) {
	g.add(method, path, false, endpoint{maxBody: maxBody, handle: h})
}

// HandleForeign adds a route answered by another library's handler, which words
// its own errors.
func (g *Group) HandleForeign(method, path string, maxBody int64, h http.Handler) {
	g.add(method, path, false, endpoint{maxBody: maxBody, foreign: true, handle: foreign(h)})
}

// HandleTree adds every path below prefix (which ends in a slash) for the given
// methods. Its paths reach h as they were sent, neither cleaned nor stripped;
// those with a "..", "." or empty element are answered 404 and never do. An
// escaped one, %2e%2e, is not an element until h decodes it: h that reads files
// must guard against it.
func (g *Group) HandleTree(methods []string, prefix string, maxBody int64, h http.Handler) {
	for _, method := range methods {
		g.add(method, prefix, true, endpoint{maxBody: maxBody, foreign: true, handle: foreign(h)})
	}
	g.mux.trees = append(g.mux.trees, prefix)
}

func foreign(h http.Handler) HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		h.ServeHTTP(w, r)
		return nil
	}
}

func (g *Group) add(method, path string, tree bool, ep endpoint) {
	g.mux.mu.Lock()
	defer g.mux.mu.Unlock()
	res, known := g.mux.paths[path]
	if !known {
		res = &resource{group: g, path: path, tree: tree, wild: strings.Contains(path, "{"), methods: map[string]endpoint{}}
	}
	if _, taken := res.methods[method]; taken {
		panic("httpd: route " + method + " " + path + " is mounted twice")
	}
	ep.effect, ep.open, ep.page, ep.rpc = effect(method, g.effect), g.open, g.page, g.rpc
	ep.access = g.mux.cfg.Guard.access(g.service, ep.effect)
	if ep.access == Bearer && g.mux.cfg.Guard.Bearer == nil {
		panic("httpd: route " + method + " " + path + " asks for a token that nobody verifies")
	}
	res.methods[method] = ep
	g.mux.routes = append(g.mux.routes, Route{g.service, method, path, ep.maxBody, tree, ep.effect})
	if known {
		return
	}
	g.mux.paths[path] = res
	pattern := path
	if path == "/" {
		pattern = "/{$}" // the start page, not everything
	}
	g.mux.mux.Handle(pattern, res) // last: a request may come at once
}

// Routes returns the table of all routes, in the order of mounting.
func (m *Mux) Routes() []Route {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.routes)
}

// ServeHTTP answers r: see the package comment.
func (m *Mux) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.observe(w, r, func(w http.ResponseWriter, r *http.Request, seen *observed) {
		r = m.clean(r)
		h, pattern := m.mux.Handler(r)
		res, ok := h.(*resource)
		if !ok || pattern == "" {
			seen.fail(RESTErrors, w, noSuch(seen))
			return
		}
		// Before the call, so that a panic is counted where it happened.
		seen.service, seen.route, seen.meter = res.group.service, res.path, res.group.meter
		if res.wild {
			m.mux.ServeHTTP(w, r) // which finds it again, for the values of wildcards
			return
		}
		res.ServeHTTP(w, r)
	})
}

// noSuch is the error for a path that has no route. For gRPC it is a method that
// the server does not have.
func noSuch(seen *observed) error {
	if seen.call {
		return fault.New(fault.Unimplemented, "no such method")
	}
	return fault.New(fault.NotFound, "no such path")
}

// clean collapses repeated slashes, which clients make by joining URLs, and
// drops a final one. Paths in trees are the foreign handler's business.
func (m *Mux) clean(r *http.Request) *http.Request {
	for _, prefix := range m.trees {
		if strings.HasPrefix(r.URL.Path, prefix) {
			return r
		}
	}
	if isClean(r.URL.Path) {
		return r
	}
	path := "/" + strings.Join(strings.FieldsFunc(r.URL.Path, func(c rune) bool { return c == '/' }), "/")
	if path == r.URL.Path {
		return r
	}
	r2 := r.Clone(r.Context())
	r2.URL.Path, r2.URL.RawPath = path, ""
	return r2
}

// isClean reports what most paths are.
func isClean(path string) bool {
	return strings.HasPrefix(path, "/") && !strings.Contains(path, "//") && (path == "/" || !strings.HasSuffix(path, "/"))
}

// ServeHTTP picks the method's endpoint, limits its body and renders its error.
func (res *resource) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	seen := observedFrom(r.Context())
	ep, ok := res.methods[r.Method]
	if !ok && r.Method == http.MethodHead {
		ep, ok = res.methods[http.MethodGet]
	}
	if !ok {
		w.Header().Set("Allow", strings.Join(res.allowed(), ", "))
		seen.fail(res.group.format, w, fault.Newf(fault.WrongMethod, "method %s is not allowed here", printable(r.Method)))
		return
	}
	seen.format = &res.group.format
	if seen.call {
		seen.rpc = ep.rpc
		seen.rpc.begin()
	}
	if err := res.group.mux.admit(w, r, res.group.service, &ep, seen.from); err != nil {
		seen.refuse(&ep, w, r, err)
		return
	}
	seen.foreign = ep.foreign
	seen.body.within(w, r, ep.maxBody)
	if err := ep.handle(w, r); err != nil {
		seen.fail(res.group.format, w, err)
	}
}

func (res *resource) allowed() []string {
	var methods []string
	for m := range res.methods {
		methods = append(methods, m)
		if m == http.MethodGet {
			methods = append(methods, http.MethodHead)
		}
	}
	slices.Sort(methods)
	return methods
}

// printable keeps a hostile method name out of messages.
func printable(method string) string {
	if len(method) > 16 || strings.ContainsFunc(method, func(c rune) bool { return c < 'A' || c > 'Z' }) {
		return "of this request"
	}
	return method
}
