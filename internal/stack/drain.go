package stack

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"
)

// drained returns a context that ends when ctx has ended and the time for balancers
// to go elsewhere is over. It must be canceled.
func (s *Stack) drained(ctx context.Context) (context.Context, context.CancelFunc) {
	out, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		if s.opts.Drain == 0 || s.anew.Load() {
			cancel()
			return
		}
		s.opts.Log.InfoContext(out, "stopping", slog.Duration("serves_for", s.opts.Drain))
		s.ready.Leave()
		time.AfterFunc(s.opts.Drain, cancel)
	})
	return out, func() { stop(); cancel() }
}

// farewell has clients of HTTP/1 close their connections after the answer while the
// stack is about to stop: a request that is on its way when an idle connection is
// closed fails. In HTTP/2 the server says which requests it has not taken.
func (s *Stack) farewell(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 1 && s.ready.Left() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// drain ends srv. Cutting off who is too slow is part of stopping, not a failure
// of it.
func (s *Stack) drain(ctx context.Context, srv *http.Server) error {
	limit, cancel := context.WithTimeout(ctx, s.drainTimeout)
	defer cancel()
	err := srv.Shutdown(limit)
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	s.opts.Log.WarnContext(ctx, "cut connections that were still busy", slog.Duration("after", s.drainTimeout))
	return srv.Close()
}
