package httpd

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"time"

	"sigstack/internal/fault"
)

// maxRequestID bounds a request id taken from a client (contract: ca.md §12).
const maxRequestID = 128

type contextKey int

const (
	observedKey contextKey = iota
	peerKey
	connKey
)

// RequestID returns the id of the request that ctx belongs to, "" outside one.
func RequestID(ctx context.Context) string {
	if seen, ok := ctx.Value(observedKey).(*observed); ok {
		return seen.id
	}
	return ""
}

// observed is what is known of one request: who sent it, and what the access log
// and metrics say of it. The request's goroutine owns it; id, client and
// certificate never change once there is a context that holds it.
type observed struct {
	id          string
	client      netip.Addr
	from        string            // its AddressKey
	certificate *x509.Certificate // verified; nil: none

	body *body // nil: the request has none

	service, route string
	format         *ErrorFormat
	err            error
	foreign        bool // answered by a handler that words its own errors
	call           bool // of gRPC: errors are its statuses
	status         int  // what err would be for a client of HTTP, where call is
	rpc            *rpc // the method's counters, where call is; nil: there is no such method
	meter          Meter
}

func observedFrom(ctx context.Context) *observed {
	seen, ok := ctx.Value(observedKey).(*observed)
	if !ok {
		panic("httpd: resource reached around its Mux")
	}
	return seen
}

// fail renders err and remembers it for the log.
func (o *observed) fail(f ErrorFormat, w http.ResponseWriter, err error) {
	o.err = err
	o.body.abandon()
	if o.call {
		o.status = writeStatus(w, err)
		return
	}
	f.write(w, err)
}

// refuse is fail for a request that the guard did not let in: people get a page
// where there is one.
func (o *observed) refuse(ep *endpoint, w http.ResponseWriter, r *http.Request, err error) {
	if o.call || ep.page == nil {
		o.fail(*o.format, w, err)
		return
	}
	o.err = err
	o.body.abandon()
	if !ep.page(w, r, err) {
		o.format.write(w, err)
	}
}

// observe wraps serve with request id, CORS, panic recovery, log and metrics.
func (m *Mux) observe(w http.ResponseWriter, r *http.Request, serve func(http.ResponseWriter, *http.Request, *observed)) {
	start := m.cfg.Now()
	seen := &observed{id: requestID(r), service: "none", route: "none", call: isGRPC(r)}
	m.identify(seen, r)
	seen.from = AddressKey(seen.client)
	w.Header().Set("X-Request-Id", seen.id)
	m.setHeaders(w.Header())
	own := connOf(r.Context())
	seen.body = m.newBody(w, r, own, seen.from)
	rec := &recorder{ResponseWriter: w, mux: m, body: seen.body, conn: own, from: seen.from, flow: r.ProtoMajor >= 2}
	r = r.WithContext(context.WithValue(r.Context(), observedKey, seen))
	defer func() {
		p := recover()
		// http.ErrAbortHandler is the library's way to cut a connection.
		aborted := p == http.ErrAbortHandler //nolint:errorlint // a panic value, compared as net/http does
		if p != nil && !aborted {
			m.recovered(rec, r, seen, p)
		}
		m.finish(rec, r, seen, m.cfg.Now().Sub(start))
		rec.release()
		seen.body.release()
		own.change(-1, 0)
		if aborted {
			panic(p)
		}
	}()
	if cors(rec, r) {
		seen.body.abandon()
		return
	}
	if !m.cfg.Guard.Requests.Take(1) {
		m.Refused(ByRequests)
		seen.fail(RESTErrors, rec, fault.Later(time.Second, "this server has as many requests under way as it takes, try again"))
		return
	}
	defer m.cfg.Guard.Requests.Give(1)
	serve(rec, r, seen)
}

// cors lets any web page read: every endpoint is public, and with a wildcard
// origin browsers send no cookies, so the login pages give nothing away.
// It reports whether the request was a preflight and is answered.
func cors(w http.ResponseWriter, r *http.Request) bool {
	if r.Header.Get("Origin") == "" {
		return false
	}
	w.Header().Set("Access-Control-Allow-Origin", "*")
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	w.Header().Set("Access-Control-Allow-Methods", "GET, POST, HEAD")
	w.Header().Set("Access-Control-Allow-Headers", "Content-Type, Authorization")
	w.Header().Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
	return true
}

// recovered answers a request whose handler panicked. The stack goes to our log
// only.
func (m *Mux) recovered(w *recorder, r *http.Request, seen *observed, p any) {
	m.cfg.Log.ErrorContext(r.Context(), "handler panicked",
		slog.String("request_id", RequestID(r.Context())),
		slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
	err := fault.New(fault.Internal, "internal error")
	if w.status != 0 {
		seen.err = err
		return // the answer is under way; the client sees it cut short
	}
	format := RESTErrors
	if seen.format != nil {
		format = *seen.format
	}
	seen.fail(format, w, err)
}

func (m *Mux) finish(w *recorder, r *http.Request, seen *observed, took time.Duration) {
	status := w.status
	if status == 0 {
		status = http.StatusOK // net/http sends it when a handler writes nothing
	}
	if seen.status != 0 {
		status = seen.status
	}
	m.metrics.observe(seen, r.Method, status, took)
	seen.rpc.end(seen.err)
	at := level(status, seen)
	if !m.cfg.Log.Enabled(r.Context(), at) {
		return
	}
	attrs := []slog.Attr{
		slog.String("request_id", RequestID(r.Context())),
		slog.String("service", seen.service),
		slog.String("method", printable(r.Method)),
		slog.String("route", seen.route),
		slog.Int("status", status),
		slog.Int64("bytes", w.bytes),
		slog.Duration("took", took),
	}
	if seen.err != nil {
		attrs = append(attrs, slog.String("error", seen.err.Error()))
	}
	m.cfg.Log.LogAttrs(r.Context(), at, "request", attrs...)
}

// level: our faults are errors, the callers' are information, the rest detail,
// readiness that says no among it. A wrong method is a caller's, though a gRPC
// gateway answers it with 501, and so is asking for what is switched off.
func level(status int, seen *observed) slog.Level {
	kind := fault.KindOf(seen.err)
	callers := seen.err != nil && (kind == fault.WrongMethod || kind == fault.Unimplemented)
	switch {
	case status >= 500 && !callers && (seen.err != nil || seen.foreign):
		return slog.LevelError
	case status >= 400 && (seen.err != nil || seen.foreign):
		return slog.LevelInfo
	default:
		return slog.LevelDebug
	}
}

// requestID takes the client's id if it is short printable ASCII, else a new one.
func requestID(r *http.Request) string {
	id := r.Header.Get("X-Request-Id")
	bad := func(c rune) bool { return c <= ' ' || c > '~' }
	if id == "" || len(id) > maxRequestID || strings.ContainsFunc(id, bad) {
		return rand.Text()
	}
	return id
}
