// Package admin is the admin channel of a data directory: HTTP/1.1 over the unix
// socket admin.sock in it, for the directory's owner and root, and its client.
// What the acts do is left to the stack, and keeping a record of them to the
// func that it is given.
package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sigstack/internal/durable"
	"sigstack/internal/fault"
	"sigstack/internal/httpd"
)

// Headers of an answer: the version of the serving process, and the path of the
// act that answers. An answer without the latter comes from no act.
const (
	headerVersion = "Sigstack-Version"
	headerAct     = "Sigstack-Act"
)

// Bounds of a request and of a connection that waits.
const (
	maxBody        = 64 << 10
	maxHeaderBytes = 16 << 10
	requestTimeout = 10 * time.Second
	idleTimeout    = 30 * time.Second
	drainTimeout   = 5 * time.Second
)

// How an act ended.
const (
	OutcomeOK      = "ok"
	OutcomeRefused = "refused" // the request was at fault, or not allowed
	OutcomeFailed  = "failed"  // the process was at fault, or something it needs
)

// Act is what is recorded of an administrative act.
type Act struct {
	Name      string // such as reload
	Outcome   string // OutcomeOK, OutcomeRefused or OutcomeFailed
	RequestID string // "" for an act that did not come by the socket
	By        string // who asked: "uid 0 pid 4711", or "signal hangup"
	Detail    map[string]string
}

// Detailed is an answer that tells the record more than that the act was done.
type Detailed interface {
	// Details has names in snake_case and no secrets.
	Details() map[string]string
}

// Config configures New. Every field but Version, May and Done is required.
type Config struct {
	// Lock of the data directory; it must be held until Close has returned.
	Lock *durable.Lock
	// Version of this process, for clients of another one.
	Version string
	// Ready is asked before an act that is to be recorded; after an error it is not
	// begun.
	Ready func(context.Context) error
	// Record puts an act on record, durably, before it is answered. An error
	// means that it is not on record.
	Record func(context.Context, Act) error
	// May, if set, is asked before an act that is to be recorded; its error is the
	// answer then, and on record.
	May func(ctx context.Context, act string) error
	// Done, if set, is called after such an act that May let through, with how it ended.
	// Its error makes the act a failed one.
	Done func(ctx context.Context, act string, err error) error
	Now  func() time.Time
	Log  *slog.Logger
}

// Server answers on the socket. Acts are added before Run.
type Server struct {
	cfg      Config
	listener net.Listener
	mux      *httpd.Mux
	group    *httpd.Group

	acting sync.Mutex // one act that changes something at a time
}

// New binds the socket, replacing one that a crashed process left behind. The
// caller closes the Server.
func New(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.Lock == nil || cfg.Ready == nil || cfg.Record == nil || cfg.Now == nil || cfg.Log == nil {
		return nil, errors.New("admin channel: lock, record, clock and log are required")
	}
	l, err := listen(ctx, cfg.Lock.Dir())
	if err != nil {
		return nil, fmt.Errorf("admin channel: %w", err)
	}
	s := &Server{cfg: cfg, listener: l}
	// Its requests are not the public listener's: they are counted nowhere.
	s.mux = httpd.NewMux(httpd.MuxConfig{Log: cfg.Log, Metrics: prometheus.NewRegistry(), Now: cfg.Now})
	s.group = s.mux.Group("admin", httpd.RESTErrors)
	return s, nil
}

// Handler does an act and returns what is answered as JSON; nil is an empty
// object. Its errors go to the caller in full: who may ask may read the log.
type Handler func(ctx context.Context, r *http.Request) (any, error)

// Handle adds an act at a versioned path, such as /v1/reload. One that changes
// something has a name: it is recorded before it is answered, carried through
// when the caller goes away, and waits for any other such act. Reading has none.
func (s *Server) Handle(method, path, name string, h Handler) {
	s.group.Handle(method, path, maxBody, func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set(headerAct, path)
		answer, err := s.answer(r, name, h)
		if err != nil {
			return &fault.Error{Kind: fault.KindOf(err), Public: err.Error(), Err: nil}
		}
		if answer == nil {
			answer = struct{}{}
		}
		return httpd.WriteJSON(w, http.StatusOK, answer)
	})
}

// Routes returns the table of all acts.
func (s *Server) Routes() []httpd.Route { return s.mux.Routes() }

func (s *Server) answer(r *http.Request, name string, h Handler) (any, error) {
	if name == "" {
		return h(r.Context(), r)
	}
	act := Act{
		Name: name, By: peerOf(r.Context()).String(), RequestID: httpd.RequestID(r.Context()),
		Detail: map[string]string{"path": r.URL.Path},
	}
	return s.Do(r.Context(), act, func(ctx context.Context) (any, error) { return h(ctx, r) })
}

// Do carries out an act that did not come by the socket, such as a signal's, in
// the same way: alone, to its end, and recorded. It fills in Outcome.
func (s *Server) Do(ctx context.Context, act Act, do func(context.Context) (any, error)) (any, error) {
	s.acting.Lock()
	defer s.acting.Unlock()
	ctx = context.WithoutCancel(ctx)
	if err := s.cfg.Ready(ctx); err != nil {
		return nil, fault.Wrap(fault.Unavailable, err, act.Name+" was not begun, because it could not be recorded")
	}
	answer, err := s.carryOut(ctx, act.Name, do)
	act.Outcome, act.Detail = outcome(err), details(act.Detail, answer, err)
	if recordErr := s.cfg.Record(ctx, act); recordErr != nil {
		what := "was done"
		if err != nil {
			what = "failed (" + err.Error() + ")"
		}
		return nil, fault.Wrap(fault.Unavailable, recordErr, act.Name+" "+what+", and cannot be recorded")
	}
	return answer, err
}

// carryOut does an act that may be done.
func (s *Server) carryOut(ctx context.Context, name string, do func(context.Context) (any, error)) (any, error) {
	if s.cfg.May != nil {
		if err := s.cfg.May(ctx, name); err != nil {
			return nil, err
		}
	}
	answer, err := do(ctx)
	if s.cfg.Done == nil {
		return answer, err
	}
	if doneErr := s.cfg.Done(ctx, name, err); doneErr != nil {
		return nil, errors.Join(err, doneErr)
	}
	return answer, err
}

func outcome(err error) string {
	switch {
	case err == nil:
		return OutcomeOK
	case ours(fault.KindOf(err)):
		return OutcomeFailed
	default:
		return OutcomeRefused
	}
}

// ours are the kinds of fault that are not the caller's.
func ours(k fault.Kind) bool {
	return k == fault.Internal || k == fault.Unavailable || k == fault.Timeout || k == fault.Canceled
}

// details returns a map of its own.
func details(given map[string]string, answer any, err error) map[string]string {
	all := map[string]string{}
	for name, value := range given {
		all[name] = value
	}
	if err != nil {
		all["error"] = err.Error()
		return all
	}
	if d, ok := answer.(Detailed); ok {
		for name, value := range d.Details() {
			all[name] = value
		}
	}
	return all
}

// Run answers until ctx ends, then waits a moment for acts under way.
func (s *Server) Run(ctx context.Context) error {
	srv := &http.Server{
		Handler: http.HandlerFunc(s.serve),
		// No limit on writing: an act takes as long as it takes.
		ReadTimeout:    requestTimeout,
		IdleTimeout:    idleTimeout,
		MaxHeaderBytes: maxHeaderBytes,
		ErrorLog:       slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
		ConnContext:    withPeer,
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(s.listener) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	err := srv.Shutdown(limit)
	if errors.Is(err, context.DeadlineExceeded) {
		err = srv.Close()
	}
	if serveErr := <-served; !errors.Is(serveErr, http.ErrServerClosed) {
		err = errors.Join(err, serveErr)
	}
	return err
}

// serve lets only this process's user and root in.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(headerVersion, s.cfg.Version)
	p := peerOf(r.Context())
	if p.allowed(os.Geteuid()) {
		s.mux.ServeHTTP(w, r)
		return
	}
	ctx := r.Context()
	s.cfg.Log.WarnContext(ctx, "refused a caller of the admin channel", slog.String("by", p.String()))
	act := Act{Name: "connect", Outcome: OutcomeRefused, By: p.String()}
	if err := s.cfg.Record(context.WithoutCancel(ctx), act); err != nil {
		s.cfg.Log.ErrorContext(ctx, "refused caller cannot be recorded", slog.Any("error", err))
	}
	w.Header().Set("Connection", "close")
	http.Error(w, "the admin channel is for uid "+strconv.Itoa(os.Geteuid())+" and root", http.StatusForbidden)
}

// Close frees the socket's name. It is safe after Run.
func (s *Server) Close() error {
	err := s.listener.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	return errors.Join(err, remove(s.cfg.Lock.Dir()))
}
