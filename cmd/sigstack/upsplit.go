package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"

	"sigstack/internal/admin"
	"sigstack/internal/config"
	"sigstack/internal/durable"
	"sigstack/internal/stack"
)

// processesDir is where up --split has the directories of its processes.
const processesDir = "processes"

// childPatience bounds the wait for a process that was asked to end.
const childPatience = 20 * time.Second

// upSplit runs a test stack as four processes of this program. The directory
// has the kit and the demo user as ever; the processes' own are below it. done says
// that it was made before.
func (a *app) upSplit(ctx context.Context, u upFlags, opts stack.Options, done bool) error {
	l := stack.Layout{Dir: u.dir}
	if !done {
		if err := a.makeTestStack(ctx, &opts, u); err != nil {
			return err
		}
	}
	sup := &supervisor{app: a, flags: u, tls: opts.TLS, layout: l, listener: opts.Listener}
	err := a.divide(ctx, opts, sup)
	if err == nil {
		err = sup.run(ctx)
	}
	if opts.Listener != nil {
		err = errors.Join(err, ignoreClosed(opts.Listener.Close()))
	}
	return err
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// divide splits the directory, if it is not yet.
func (a *app) divide(ctx context.Context, opts stack.Options, sup *supervisor) error {
	if conf, err := loadConfig(sup.layout); err != nil {
		return err
	} else if conf.Profile != config.ProfileUp {
		return fmt.Errorf("directory %s was made by `init`, not for `up`: see sigstack split", opts.Dir)
	}
	addresses, err := freeAddresses(ctx)
	if err != nil {
		return err
	}
	sup.processes, err = stack.Split(ctx, stack.SplitConfig{
		Dir: opts.Dir, Into: filepath.Join(opts.Dir, processesDir), Addresses: addresses, Now: a.now, Log: opts.Log,
	})
	return err
}

// freeAddresses finds ports below those that the system gives out by itself, so
// that they are still free at the next start.
func freeAddresses(ctx context.Context) (map[string]string, error) {
	addresses := stack.DefaultAddresses()
	for name := range addresses {
		for attempt := 0; ; attempt++ {
			n, err := rand.Int(rand.Reader, big.NewInt(12000))
			if err != nil {
				return nil, err
			}
			address := net.JoinHostPort("127.0.0.1", strconv.FormatInt(20000+n.Int64(), 10))
			l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
			if err == nil {
				addresses[name] = address
				if err := l.Close(); err != nil {
					return nil, err
				}
				break
			}
			if attempt == 100 {
				return nil, fmt.Errorf("find a free port for process %s: %w", name, err)
			}
		}
	}
	return addresses, nil
}

// supervisor runs processes that live and end together.
type supervisor struct {
	app       *app
	flags     upFlags
	tls       *bool
	layout    stack.Layout
	processes []stack.Process
	listener  net.Listener // the front's, nil: it binds its own
	ended     chan error   // one for each child, unasked or not
}

// child is a running process.
type child struct {
	name  string
	cmd   *exec.Cmd
	ready chan readyLine // what it says first, if it gets so far
	done  chan struct{}  // closed when it has ended
}

// run starts the processes, says when they are ready, and ends all of them when
// one ends or ctx does.
func (s *supervisor) run(ctx context.Context) (err error) {
	lock, err := durable.LockDir(s.layout.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	if err := s.awaitOrphans(ctx); err != nil {
		return err
	}
	s.ended = make(chan error, len(s.processes))
	received, stop := s.app.hangupsOfTests()
	defer stop()
	var children []*child
	defer func() { err = errors.Join(err, s.stop(children)) }()
	for _, p := range s.processes {
		c, err := s.start(p)
		if err != nil {
			return err
		}
		children = append(children, c)
	}
	front := children[len(children)-1]
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.ended:
		return err
	case line := <-front.ready:
		forget, err := s.show(line.Listen)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, forget()) }()
		s.app.announce(line, s.layout)
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-s.ended:
			return err
		case <-received:
			if err := hangUp(children); err != nil {
				return err
			}
		}
	}
}

// hangUp passes a hangup on, on which each process reloads its own files.
func hangUp(children []*child) error {
	var errs []error
	for _, c := range children {
		if err := c.cmd.Process.Signal(syscall.SIGHUP); err != nil && !errors.Is(err, os.ErrProcessDone) {
			errs = append(errs, fmt.Errorf("reload process %s: %w", c.name, err))
		}
	}
	return errors.Join(errs...)
}

// awaitOrphans waits until the processes of a supervisor that was killed are gone:
// the kernel ends them, but not at once.
func (s *supervisor) awaitOrphans(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, childPatience)
	defer cancel()
	for _, p := range s.processes {
		for {
			lock, err := durable.LockDir(p.Dir)
			if err == nil {
				if err := lock.Unlock(); err != nil {
					return err
				}
				break
			}
			select {
			case <-ctx.Done():
				return err
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	return nil
}

// show makes the stack found in its directory as a single process would be, until
// forget is called: by its address in run/, and by the front's admin channel.
func (s *supervisor) show(address string) (forget func() error, err error) {
	path, socket := filepath.Join(s.layout.Run(), "address"), filepath.Join(s.layout.Dir, admin.SocketName)
	if err := durable.WriteFile(path, []byte(address+"\n"), 0o644); err != nil {
		return nil, err
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("show the admin channel: %w", err)
	}
	if err := os.Symlink(filepath.Join(processesDir, "front", admin.SocketName), socket); err != nil {
		return nil, fmt.Errorf("show the admin channel: %w", err)
	}
	return func() error { return errors.Join(os.Remove(path), os.Remove(socket)) }, nil
}

// start runs the program itself on the directory of one process.
func (s *supervisor) start(p stack.Process) (*child, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find own program: %w", err)
	}
	cmd := exec.Command(program, s.args(p)...) //nolint:gosec // our own program and directories
	cmd.Stderr, cmd.SysProcAttr = s.app.err, diesWithParent()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start process %s: %w", p.Name, err)
	}
	if tcp, ok := s.listener.(*net.TCPListener); ok && isFront(p) {
		file, err := tcp.File()
		if err != nil {
			return nil, fmt.Errorf("hand the listener on: %w", err)
		}
		defer file.Close() //nolint:errcheck // the child has its own
		cmd.ExtraFiles = []*os.File{file}
	}
	c := &child{name: p.Name, cmd: cmd, ready: make(chan readyLine, 1), done: make(chan struct{})}
	started := make(chan error, 1)
	go s.tend(c, stdout, started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start process %s: %w", p.Name, err)
	}
	return c, nil
}

func isFront(p stack.Process) bool { return slices.Contains(p.Services, "tuf") }

// args are those of the process's own `up`.
func (s *supervisor) args(p stack.Process) []string {
	args := []string{"up", "--dir", p.Dir, "--output", "json", "--log-level", s.flags.log.level, "--log-format", s.flags.log.format}
	if slices.Contains(p.Services, "ca") {
		for _, iss := range s.flags.issuers {
			args = append(args, "--trust-issuer", iss)
		}
	}
	if !isFront(p) {
		return args
	}
	if s.tls != nil {
		args = append(args, "--tls="+strconv.FormatBool(*s.tls))
	}
	if s.flags.url != "" {
		args = append(args, "--url", s.flags.url)
	}
	switch {
	case s.listener != nil:
		args = append(args, "--listen-fd", "3")
	case s.flags.listen != "":
		args = append(args, "--listen", s.flags.listen)
	}
	return args
}

// tend starts a child and waits for its end. The thread that starts it stays: its
// end, not the process's, is what the kernel takes for the parent's death.
func (s *supervisor) tend(c *child, stdout io.Reader, started chan<- error) {
	runtime.LockOSThread()
	defer close(c.done)
	err := c.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	var line readyLine
	if json.NewDecoder(stdout).Decode(&line) == nil {
		c.ready <- line
	}
	_, _ = io.Copy(io.Discard, stdout) // until it is closed
	err = c.cmd.Wait()
	if err == nil {
		err = errors.New("without an error")
	}
	s.ended <- fmt.Errorf("process %s ended: %w", c.name, err)
}

// stop ends the children in reverse, the front first, so that each finds those
// that it needs until it is done.
func (s *supervisor) stop(children []*child) error {
	var errs []error
	for _, c := range slices.Backward(children) {
		if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			errs = append(errs, fmt.Errorf("end process %s: %w", c.name, err))
		}
		select {
		case <-c.done:
			continue
		case <-time.After(childPatience):
			errs = append(errs, fmt.Errorf("process %s did not end within %v and was killed", c.name, childPatience), c.cmd.Process.Kill())
			<-c.done
		}
	}
	return errors.Join(errs...)
}
