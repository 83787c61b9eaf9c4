package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	readyWithin   = time.Minute
	stoppedWithin = 20 * time.Second
)

// A stack is a running `sigstack up`.
type stack struct {
	bin, dir, log string // its stderr goes to log

	// Set by start.
	url     string
	process *exec.Cmd
	exited  chan error // receives what the process left with, once
}

// start runs the stack and returns when it says that it is ready. It is
// stopped by stop alone, so that an interrupted demo still ends it in order.
func (s *stack) start(ctx context.Context) (_ string, err error) {
	log, err := os.Create(s.log)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	s.process = exec.Command(s.bin, "up", "--dir", s.dir, "--listen", "127.0.0.1:0")
	s.process.Stderr = log
	out, in, err := os.Pipe()
	if err != nil {
		return "", err
	}
	s.process.Stdout = in
	begin := time.Now()
	if err := errors.Join(s.process.Start(), in.Close()); err != nil {
		return "", err
	}
	s.exited = make(chan error, 1)
	go func() { s.exited <- s.process.Wait() }()
	if err := s.awaitReady(ctx, out); err != nil {
		return "", errors.Join(err, s.stop(), s.quoteLog())
	}
	took := time.Since(begin)
	return fmt.Sprintf("%s ready after %s%s", s.url, seconds(took), s.memory()), s.checkReady(ctx)
}

// awaitReady reads the first line of the stack's output, and then the rest to
// nowhere: a full pipe would stop the stack.
func (s *stack) awaitReady(ctx context.Context, out io.Reader) error {
	first := make(chan string, 1)
	go func() {
		lines := bufio.NewReader(out)
		line, _ := lines.ReadString('\n') // at the end of output: what there is of it
		first <- line
		_, _ = io.Copy(io.Discard, lines)
	}()
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	select {
	case <-ctx.Done():
		return fmt.Errorf("the stack did not get ready: %w", ctx.Err())
	case line := <-first:
		url, ok := strings.CutPrefix(line, "ready ")
		if !ok {
			return fmt.Errorf("the stack began with %q, want \"ready URL\"", line)
		}
		s.url = strings.TrimSpace(url)
		return nil
	}
}

func (s *stack) checkReady(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/readyz", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		err = fmt.Errorf("/readyz answered %s, want 200", response.Status)
	}
	return errors.Join(err, response.Body.Close())
}

// memory tells what the stack occupies, where the kernel says.
func (s *stack) memory() string {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.process.Process.Pid))
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return ""
	}
	kib, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil {
		return ""
	}
	return ", " + size(kib<<10) + " resident"
}

// stop asks the stack to end and waits until it has.
func (s *stack) stop() error {
	err := s.process.Process.Signal(syscall.SIGTERM)
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	select {
	case left := <-s.exited:
		return errors.Join(err, left)
	case <-time.After(stoppedWithin):
		return errors.Join(fmt.Errorf("the stack did not stop within %s", stoppedWithin), s.process.Process.Kill())
	}
}

// quoteLog returns the last of what the stack said as an error.
func (s *stack) quoteLog() error {
	log, err := os.ReadFile(s.log)
	if err != nil {
		return err
	}
	return fmt.Errorf("it said:\n%s", log[max(0, len(log)-4000):])
}
