package admin_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"sigstack/internal/admin"
)

const nobody = 65534

// asNobody runs f with the rights of another user. The thread is given up
// afterwards, so that nothing else runs with them.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	done := make(chan syscall.Errno)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		unchanged := ^uintptr(0)
		_, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, unchanged, nobody, unchanged)
		if errno == 0 {
			f()
		}
		done <- errno
	}()
	if errno := <-done; errno != 0 {
		t.Fatal(errno)
	}
}

// connect connects on the present thread, as whoever it is.
func connect(path string) (fd int, err error) {
	if fd, err = syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0); err != nil {
		return 0, err
	}
	if err := syscall.Connect(fd, &syscall.SockaddrUnix{Name: path}); err != nil {
		return 0, errors.Join(err, syscall.Close(fd))
	}
	return fd, nil
}

// TestOthersAreRefused: by the socket's mode, and by who they are where the mode
// does not keep them out.
func TestOthersAreRefused(t *testing.T) {
	dir := t.TempDir()
	c := serve(t, dir)
	path := filepath.Join(dir, admin.SocketName)
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	asNobody(t, func() {
		if fd, err := connect(path); !errors.Is(err, syscall.EACCES) {
			t.Errorf("connect: %d, %v, want %v", fd, err, syscall.EACCES)
		}
	})
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	var answer []byte
	asNobody(t, func() {
		fd, err := connect(path)
		if err != nil {
			t.Errorf("connect: %v", err)
			return
		}
		request := "POST /v1/empty HTTP/1.1\r\nHost: admin\r\nContent-Length: 0\r\n\r\n"
		if _, err := syscall.Write(fd, []byte(request)); err != nil {
			t.Errorf("ask: %v", err)
		}
		buf := make([]byte, 4096)
		n, err := syscall.Read(fd, buf)
		if err := errors.Join(err, syscall.Close(fd)); err != nil {
			t.Errorf("read: %v", err)
		}
		answer = buf[:max(n, 0)]
	})
	if !strings.HasPrefix(string(answer), "HTTP/1.1 403 ") || strings.Contains(string(answer), "Sigstack-Act") {
		t.Errorf("answer %q, want a refusal by no act", answer)
	}
	if _, done := c.seen(); done {
		t.Error("the act was done")
	}
	if act := c.last(t); act.Name != "connect" || act.Outcome != admin.OutcomeRefused || !strings.HasPrefix(act.By, "uid 65534 pid ") {
		t.Errorf("recorded %+v, want a refused connection of uid 65534", act)
	}
}
