package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrLocked is returned by LockDir when another process holds the directory.
var ErrLocked = errors.New("in use by another process")

// Lock keeps other processes out of a directory until Unlock or the end of the
// process; the kernel releases it even after kill -9.
type Lock struct {
	dir string
	f   *os.File
}

// Dir returns the directory that is locked.
func (l *Lock) Dir() string { return l.dir }

// LockDir takes the one lock of dir. The error matches ErrLocked, and names the
// holder's process id, if another process (or this one) has it.
func LockDir(dir string) (*Lock, error) {
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock directory: %w", err)
	}
	if err := lockSoon(f); err != nil {
		defer f.Close() //nolint:errcheck // read-only use; the lock error is what matters
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("directory %s is %w%s", dir, ErrLocked, holder(f))
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	if err := f.Truncate(0); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	if _, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return &Lock{dir, f}, nil
}

// Who only looks whether a directory is locked has the lock itself for a moment: as long
// as that is waited for.
const (
	lockTries = 20
	lockPause = 10 * time.Millisecond
)

func lockSoon(f *os.File) (err error) {
	for range lockTries {
		if err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		time.Sleep(lockPause)
	}
	return err
}

// Unlocked returns an error that matches ErrLocked, and names the holder's process
// id, if a process has the lock of dir; nil if none has.
func Unlocked(dir string) error {
	f, err := os.Open(filepath.Join(dir, "lock"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at the lock: %w", err)
	}
	defer f.Close() //nolint:errcheck // read-only use, and it gives the lock back
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return fmt.Errorf("directory %s is %w%s", dir, ErrLocked, holder(f))
	}
	return err
}

// Unlock releases the lock. The file stays: removing it would let two processes
// lock two different inodes of the same name.
func (l *Lock) Unlock() error {
	// Closing alone would leave the lock, for an instant, to a child process that
	// was just forked and has not closed its copy of the descriptor yet.
	if err := syscall.Flock(int(l.f.Fd()), syscall.LOCK_UN); err != nil {
		return errors.Join(fmt.Errorf("unlock %s: %w", l.f.Name(), err), l.f.Close())
	}
	return l.f.Close()
}

// holder describes the process that wrote the lock file, if it says.
func holder(f *os.File) string {
	buf := make([]byte, 32)
	n, err := f.ReadAt(buf, 0)
	pid := strings.TrimSpace(string(buf[:n]))
	if n == 0 || (err != nil && pid == "") {
		return ""
	}
	return " (pid " + pid + ")"
}

// HoldForReading keeps other processes from locking dir until release is called,
// without changing a byte in it. The error matches ErrLocked, and names the holder's
// process id, if a process has the lock. A directory without a lock file, such as a
// copy, is nobody's, and cannot be held.
func HoldForReading(dir string) (release func() error, err error) {
	f, err := os.Open(filepath.Join(dir, "lock"))
	if errors.Is(err, fs.ErrNotExist) {
		return func() error { return nil }, nil
	}
	if err != nil {
		return nil, fmt.Errorf("lock directory: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	if err == nil {
		return f.Close, nil
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = fmt.Errorf("directory %s is %w%s", dir, ErrLocked, holder(f))
	}
	return nil, errors.Join(err, f.Close())
}
