package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// Server is a PostgreSQL of a test, reached by a Unix socket that only the test's
// user and its own can open. Commits are synced as in production.
type Server struct {
	programs string // folder
	dir      string // data, socket and log of the server
	as       *syscall.Credential
	settings []string // name=value, beside those of every server

	mu   sync.Mutex   // guards cmd
	cmd  *exec.Cmd    // nil: not running
	done <-chan error // of cmd
}

// memory is where files are quick to sync, so that tests do not wait for a disk that
// others use; empty, for the usual place, where there is no such, or too little.
func memory() string {
	const dir, least = "/dev/shm", 2 << 30
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil || fs.Bavail*uint64(fs.Bsize) < least {
		return ""
	}
	return dir
}

// launch makes a new server in a temporary directory of parent, with settings of its
// own (name=value), and waits until it answers.
func launch(parent string, settings ...string) (*Server, error) {
	programs, err := findPrograms()
	if err != nil {
		return nil, err
	}
	s := &Server{programs: programs, settings: settings}
	if s.as, err = ordinaryUser(); err != nil {
		return nil, err
	}
	// Not the test's own directory: that is closed to the ordinary user, and its
	// path may be too long for a socket's.
	if s.dir, err = os.MkdirTemp(parent, "pgtest"); err != nil {
		return nil, fmt.Errorf("make a directory for PostgreSQL: %w", err)
	}
	if s.as != nil {
		if err := os.Chown(s.dir, int(s.as.Uid), int(s.as.Gid)); err != nil {
			return nil, errors.Join(err, os.RemoveAll(s.dir))
		}
	}
	initdb := s.program("initdb", "--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", s.data())
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("initdb: %w: %s", err, out), os.RemoveAll(s.dir))
	}
	if err := errors.Join(s.admit(), s.Start()); err != nil {
		return nil, errors.Join(err, s.end())
	}
	return s, nil
}

// admit lets a server that listens take connections from every address that it has.
func (s *Server) admit() error {
	if len(s.settings) == 0 {
		return nil
	}
	const everybody = "host all all all trust\n"
	rules, err := os.OpenFile(filepath.Join(s.data(), "pg_hba.conf"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return fmt.Errorf("open PostgreSQL's rules of access: %w", err)
	}
	_, err = rules.WriteString(everybody)
	return errors.Join(err, rules.Close())
}

// findPrograms returns the newest folder with PostgreSQL's programs.
func findPrograms() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		return "", err
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		found = append(found, path)
	}
	version := func(path string) int {
		n, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
		if err != nil {
			return 0 // one in PATH, wherever that is
		}
		return n
	}
	slices.SortFunc(found, func(a, b string) int { return version(b) - version(a) })
	for _, path := range found {
		if dir := filepath.Dir(path); isFile(filepath.Join(dir, "postgres")) {
			return dir, nil
		}
	}
	return "", errors.New("PostgreSQL's programs (initdb, postgres) are missing: install the package postgresql, or run make deps")
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// ordinaryUser is whom PostgreSQL runs as where the test runs as root, which it
// refuses; nil elsewhere.
func ordinaryUser() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return nil, err
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			return nil, err
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("PostgreSQL does not run as root, and there is no user postgres or nobody")
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) url(database string) string {
	return fmt.Sprintf("host=%s user=postgres dbname=%s", s.dir, database)
}

func (s *Server) program(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.programs, name), args...)
	cmd.Dir, cmd.Env = s.dir, []string{"LC_ALL=C", "TZ=UTC", "PATH=/usr/bin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.as}
	return cmd
}

// Start starts a server that was stopped or killed and waits until it answers.
func (s *Server) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd != nil {
		return errors.New("PostgreSQL is running already")
	}
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open PostgreSQL's log: %w", err)
	}
	defer log.Close() //nolint:errcheck // the server has its own copy
	cmd := s.program("postgres", "-D", s.data(), "-k", s.dir,
		"-c", "listen_addresses=", "-c", "max_connections=500", "-c", "fsync=on", "-c", "shared_buffers=64MB")
	for _, setting := range s.settings {
		cmd.Args = append(cmd.Args, "-c", setting)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if s.done, err = supervised(cmd); err != nil {
		return fmt.Errorf("start PostgreSQL: %w", err)
	}
	s.cmd = cmd
	return s.ready()
}

// supervised starts a process that ends with this one, however that ends, and
// returns what tells how it did.
func supervised(cmd *exec.Cmd) (<-chan error, error) {
	cmd.SysProcAttr.Pdeathsig = syscall.SIGQUIT
	started, done := make(chan error, 1), make(chan error, 1)
	go func() {
		runtime.LockOSThread() // whose end is the parent's to the kernel
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			done <- cmd.Wait()
		}
	}()
	return done, <-started
}

// ready waits until the server answers or has ended.
func (s *Server) ready() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		conn, err := pgx.Connect(ctx, s.url("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case end := <-s.done:
			s.cmd = nil
			said, _ := os.ReadFile(filepath.Join(s.dir, "log")) // the better half of the message
			return fmt.Errorf("PostgreSQL ended at once: %w: %s", end, said)
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("PostgreSQL does not answer: %w", err)
		}
	}
}

// Stop ends the server as its administrator would: connections are cut, commits
// that were acknowledged are written.
func (s *Server) Stop() error { return s.signal(syscall.SIGINT) }

// Kill ends the server as a power cut would, but for the page cache: whatever it
// was doing, its next start has to recover.
func (s *Server) Kill() error { return s.signal(syscall.SIGQUIT) }

func (s *Server) signal(sig syscall.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return nil
	}
	if err := s.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) { // it may have ended by itself
		return fmt.Errorf("end PostgreSQL: %w", err)
	}
	s.cmd = nil
	if err := <-s.done; err != nil && !errors.As(err, new(*exec.ExitError)) { // killed, as it was asked
		return fmt.Errorf("end PostgreSQL: %w", err)
	}
	return nil
}

func (s *Server) end() error { return errors.Join(s.Kill(), os.RemoveAll(s.dir)) }
