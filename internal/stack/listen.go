package stack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"sigstack/internal/durable"
	"sigstack/internal/run"
)

// Limits of a connection (contract: ca.md §2).
const (
	headerTimeout  = 10 * time.Second
	requestTimeout = 60 * time.Second
	idleTimeout    = 30 * time.Second
	drainTimeout   = 8 * time.Second
	maxHeaderBytes = 64 << 10
)

// addListeners adds the public and the metrics listener, both bound already
// when this returns, and writes their addresses and the process id to run/.
func (s *Stack) addListeners(ctx context.Context, g *run.Group) error {
	metrics, err := new(net.ListenConfig).Listen(ctx, "tcp", s.conf.MetricsListen)
	if err != nil {
		return fmt.Errorf("listen for metrics: %w", err)
	}
	handler := http.NewServeMux()
	handler.Handle("GET /metrics", promhttp.HandlerFor(s.metrics, promhttp.HandlerOpts{}))
	s.metricsAddress = metrics.Addr().String()
	g.Add("metrics listener", s.server(metrics, handler))
	public, err := s.public()
	if err != nil {
		return errors.Join(err, metrics.Close())
	}
	g.Add("listener", public)
	if err := s.tellAddresses(metrics.Addr()); err != nil {
		return errors.Join(err, metrics.Close())
	}
	return nil
}

// public is the component that serves on the public listener.
func (s *Stack) public() (func(context.Context) error, error) {
	if m := s.opts.member; m != nil && !s.conf.Behind() { // a front holds requests itself
		return m.attend(s)
	}
	s.listener = s.bounded(s.listener)
	listener, face := s.face()
	return s.server(listener, face), nil
}

// ListenFailed says what to do about an address that cannot be listened on.
func ListenFailed(err error) error {
	next := "choose another address with --listen"
	if errors.Is(err, syscall.EADDRINUSE) {
		next = "free the address, or choose another with --listen"
	}
	return fmt.Errorf("listen: %w; %s", err, next)
}

// tellAddresses writes to run/ where this process is found, until Close: an
// address that outlives its listener may lead to somebody else's. What a crash
// leaves is overwritten at the next start.
func (s *Stack) tellAddresses(metrics net.Addr) error {
	for name, content := range map[string]string{
		"pid":     strconv.Itoa(os.Getpid()),
		"address": s.listener.Addr().String(),
		"metrics": metrics.String(),
	} {
		path := filepath.Join(s.layout.Run(), name)
		if err := durable.WriteFile(path, []byte(content+"\n"), 0o644); err != nil {
			return err
		}
		s.onClose(func() error { return os.Remove(path) })
	}
	return nil
}

// server returns a component that serves on l until it is stopped, then refuses
// new connections and waits for requests under way, those of slow clients for
// drainTimeout at most.
func (s *Stack) server(l net.Listener, h http.Handler) func(context.Context) error {
	srv := s.newServer(s.farewell(h))
	serve := srv.Serve
	if s.tls != nil {
		srv.TLSConfig = s.tls.ServerConfig()
		serve = func(l net.Listener) error { return srv.ServeTLS(l, "", "") }
	}
	return func(ctx context.Context) error {
		served := make(chan error, 1)
		go func() { served <- serve(l) }()
		select {
		case err := <-served:
			return err
		case <-ctx.Done():
		}
		err := s.drain(context.WithoutCancel(ctx), srv)
		if serveErr := <-served; !errors.Is(serveErr, http.ErrServerClosed) {
			err = errors.Join(err, serveErr)
		}
		return err
	}
}

// newServer returns a server of HTTP/1.1 and HTTP/2. In plaintext a client must
// know that it may speak HTTP/2 (RFC 9113 §3.3): there is no upgrade.
func (s *Stack) newServer(h http.Handler) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(s.tls == nil)
	return s.limited(&http.Server{
		Handler:           h,
		Protocols:         protocols,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      requestTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.opts.Log.Handler(), slog.LevelDebug),
	})
}
