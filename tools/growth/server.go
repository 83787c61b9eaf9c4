package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const startWithin = time.Minute

// server is a running `sigstack up`.
type server struct {
	url     string
	started time.Duration // from exec to ready
	process *exec.Cmd
}

// startServer returns when the stack says that it is ready.
func startServer(ctx context.Context, bin, dir, log string) (_ *server, err error) {
	stderr, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stderr.Close()) }()
	args := []string{"up", "--dir", dir}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		args = append(args, "--listen", "127.0.0.1:0") // which port stays the same from then on
	}
	s := &server{process: exec.Command(bin, args...)} // stopped by stop
	s.process.Stderr = stderr
	out, err := s.process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	if err := s.process.Start(); err != nil {
		return nil, err
	}
	first := make(chan string, 1)
	go func() {
		lines := bufio.NewReader(out)
		line, _ := lines.ReadString('\n') // at the end of output: what there is of it
		first <- line
		_, _ = io.Copy(io.Discard, lines) // a full pipe would stop it
	}()
	line := ""
	select {
	case line = <-first:
	case <-ctx.Done():
	case <-time.After(startWithin):
	}
	s.started = time.Since(begin)
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "ready ")
	if !ok {
		return nil, errors.Join(fmt.Errorf("the stack began with %q, want \"ready URL\"; see %s", line, log), s.stop())
	}
	s.url = url
	return s, nil
}

// stop ends the stack in order.
func (s *server) stop() error {
	return errors.Join(s.process.Process.Signal(syscall.SIGTERM), s.process.Wait())
}

// cpu is what the process has used so far, user and system, in steps of 10 ms.
func (s *server) cpu() (time.Duration, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.process.Process.Pid))
	if err != nil {
		return 0, err
	}
	// proc(5): field 2 is the name in brackets, 14 and 15 are ticks of 10 ms.
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/stat has only %d fields", len(fields))
	}
	user, errUser := strconv.ParseInt(fields[11], 10, 64)
	system, errSystem := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond, errors.Join(errUser, errSystem)
}

// memory returns a line of the process's status in MB: VmRSS is what is resident,
// VmHWM the most that ever was.
func (s *server) memory(name string) (int, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.process.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			kb, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
			return kb / 1000, err
		}
	}
	return 0, fmt.Errorf("/proc/status has no %s", name)
}

// bytesIn is the size of all files below a directory.
func bytesIn(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // deleted meanwhile
		}
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return total, err
}
