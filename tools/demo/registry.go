package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

// A shelf is a running registry.
type shelf struct {
	address string // HOST:PORT
	stop    func() error
}

// startRegistry runs Debian's docker-registry where it is installed, else one inside this
// process. Both keep what they are given for as long as they run.
func startRegistry(ctx context.Context, dir string) (*shelf, string, error) {
	program, err := exec.LookPath("docker-registry")
	if errors.Is(err, exec.ErrNotFound) {
		s, err := serveRegistry()
		return s, "go-containerregistry's, in process", err
	}
	if err != nil {
		return nil, "", err
	}
	s, err := runRegistry(ctx, program, dir)
	return s, "docker-registry", err
}

func serveRegistry() (*shelf, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	server := &http.Server{
		Handler:           registry.New(registry.WithReferrersSupport(true), registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelError))),
		ReadHeaderTimeout: readyWithin,
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	return &shelf{listener.Addr().String(), func() error {
		err := server.Close()
		if left := <-ended; !errors.Is(left, http.ErrServerClosed) {
			err = errors.Join(err, left)
		}
		return err
	}}, nil
}

func runRegistry(ctx context.Context, program, dir string) (*shelf, error) {
	// It cannot tell which port it chose, so one is chosen for it.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &shelf{address: listener.Addr().String()}
	if err := errors.Join(listener.Close(), os.MkdirAll(dir, 0o700)); err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "config.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %q}\n", filepath.Join(dir, "data"), s.address)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	process := exec.Command(program, "serve", config)
	if err := process.Start(); err != nil {
		return nil, err
	}
	s.stop = func() error {
		if err := process.Process.Signal(syscall.SIGTERM); err != nil {
			return err
		}
		var exit *exec.ExitError
		if err := process.Wait(); err != nil && !errors.As(err, &exit) { // it dies of the signal
			return err
		}
		return nil
	}
	if err := s.awaitReady(ctx); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

func (s *shelf) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.address+"/v2/", nil)
		if err != nil {
			return err
		}
		if response, err := http.DefaultClient.Do(request); err == nil {
			return response.Body.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the registry did not get ready: %w", ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}
