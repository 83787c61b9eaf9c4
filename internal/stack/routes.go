package stack

import (
	"log/slog"
	"net/http"
	"slices"

	"sigstack/internal/fault"
	"sigstack/internal/httpd"
	cagrpc "sigstack/services/ca/grpc"
)

// Limits of request bodies in bytes, as the services have them: a test compares.
const (
	maxCertificateRequest = 4 << 20
	maxCall               = maxCertificateRequest + 5 // with its frame
	maxCTChain            = 500 << 10
	maxEntry              = 8 << 20
	maxSearch             = 128 << 10
	maxTimestampRequest   = 64 << 10
	maxLogin              = 256 << 10
)

// passedOn are the routes of the services that the front passes on to the
// processes that have them; ctPrefixes are the paths of the CT logs.
func passedOn(ctPrefixes ...string) []httpd.Route {
	const get, post = http.MethodGet, http.MethodPost
	const log = "/api/v1/log"
	out := []httpd.Route{
		{Service: "ca", Method: post, Path: "/api/v2/signingCert", MaxBody: maxCertificateRequest},
		{Service: "ca", Method: get, Path: "/api/v2/trustBundle"},
		{Service: "ca", Method: get, Path: "/api/v2/configuration"},
		{Service: "ca", Method: post, Path: "/api/v1/signingCert", MaxBody: maxCertificateRequest},
		{Service: "ca", Method: get, Path: "/api/v1/rootCert"},
		{Service: "ca", Method: post, Path: "/" + cagrpc.Service + "/CreateSigningCertificate", MaxBody: maxCall},
		{Service: "ca", Method: post, Path: "/" + cagrpc.Service + "/GetTrustBundle", MaxBody: maxCall},
		{Service: "ca", Method: post, Path: "/" + cagrpc.Service + "/GetConfiguration", MaxBody: maxCall},

		{Service: "tlog", Method: post, Path: log + "/entries", MaxBody: maxEntry},
		{Service: "tlog", Method: get, Path: log + "/entries"},
		{Service: "tlog", Method: get, Path: log + "/entries/{id}"},
		{Service: "tlog", Method: post, Path: log + "/entries/retrieve", MaxBody: maxEntry},
		{Service: "tlog", Method: post, Path: "/api/v1/index/retrieve", MaxBody: maxSearch},
		{Service: "tlog", Method: get, Path: log},
		{Service: "tlog", Method: get, Path: log + "/proof"},
		{Service: "tlog", Method: get, Path: log + "/publicKey"},

		{Service: "tsa", Method: post, Path: "/api/v1/timestamp", MaxBody: maxTimestampRequest},
		{Service: "tsa", Method: get, Path: "/api/v1/timestamp/certchain"},

		{Service: "oidc", Method: get, Path: "/dex"},
		{Service: "oidc", Method: get, Path: "/dex/", MaxBody: maxLogin, Tree: true},
		{Service: "oidc", Method: post, Path: "/dex/", MaxBody: maxLogin, Tree: true},
	}
	for _, prefix := range ctPrefixes {
		ct := prefix + "/ct/v1/"
		out = append(out, []httpd.Route{
			{Service: "ctlog", Method: post, Path: ct + "add-chain", MaxBody: maxCTChain},
			{Service: "ctlog", Method: post, Path: ct + "add-pre-chain", MaxBody: maxCTChain},
			{Service: "ctlog", Method: get, Path: ct + "get-sth"},
			{Service: "ctlog", Method: get, Path: ct + "get-sth-consistency"},
			{Service: "ctlog", Method: get, Path: ct + "get-proof-by-hash"},
			{Service: "ctlog", Method: get, Path: ct + "get-entries"},
			{Service: "ctlog", Method: get, Path: ct + "get-roots"},
			{Service: "ctlog", Method: get, Path: ct + "get-entry-and-proof"},
			{Service: "ctlog", Method: get, Path: prefix + "/log.v3.json"},
		}...)
	}
	return out
}

// passOn mounts the routes of the services that other processes have.
func (s *Stack) passOn() {
	groups := map[string]*httpd.Group{}
	trees := map[string][]httpd.Route{}
	for _, route := range passedOn(s.ctPrefixes()...) {
		l := s.linkTo(route.Service)
		if l == nil {
			continue
		}
		g := groups[route.Service]
		if g == nil {
			format := httpd.RESTErrors
			if route.Service == "ca" {
				format = httpd.GRPCErrors
			}
			// Who may ask, and how often, is for the process to say that answers.
			g = s.mux.Group(route.Service, format).As(httpd.Public)
			groups[route.Service] = g
		}
		if route.Tree {
			trees[route.Service] = append(trees[route.Service], route)
			continue
		}
		g.Handle(route.Method, route.Path, route.MaxBody, l.handle)
	}
	for service, routes := range trees {
		s.passTree(groups[service], s.linkTo(service), routes)
	}
}

// passTree mounts the routes of one tree, which differ in their methods alone.
func (s *Stack) passTree(g *httpd.Group, l *link, routes []httpd.Route) {
	var methods []string
	for _, r := range routes {
		methods = append(methods, r.Method)
	}
	slices.Sort(methods)
	g.HandleTree(methods, routes[0].Path, routes[0].MaxBody, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := l.handle(w, r); err != nil {
			s.opts.Log.InfoContext(r.Context(), "request was not passed on", slog.String("peer", l.conf.Name), slog.Any("error", err))
			status, theirs := notPassed[fault.KindOf(err)]
			if !theirs {
				status = http.StatusServiceUnavailable
				w.Header().Set("Retry-After", "1")
			}
			http.Error(w, fault.Public(err), status)
		}
	}))
}

// notPassed are the answers to requests of a tree that are not passed on because of
// the client; the rest is unavailable. That there is no room for a body, the mux
// answers by itself.
var notPassed = map[fault.Kind]int{
	fault.Invalid:  http.StatusBadRequest,
	fault.TooLarge: http.StatusRequestEntityTooLarge,
	fault.Slow:     http.StatusRequestTimeout,
	fault.Limited:  http.StatusTooManyRequests,
	fault.Canceled: 499, // as httpd has it: the client went away
}
