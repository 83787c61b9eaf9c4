package admin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"

	"sigstack/internal/durable"
)

// SocketName is the socket's name in the data directory.
const SocketName = "admin.sock"

// listen binds the socket of dir, whose lock the caller holds: whatever socket is
// there belongs to a process that has ended.
//
// It is bound in a directory that nobody else can enter and moved to its name
// once its mode is right, so that there is no moment at which others may connect.
func listen(ctx context.Context, dir string) (_ net.Listener, err error) {
	if err := sweep(dir); err != nil {
		return nil, err
	}
	private, err := os.MkdirTemp(dir, "."+SocketName+".tmp-")
	if err != nil {
		return nil, fmt.Errorf("make the socket: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(private)) }()
	l, err := bind(ctx, private)
	if err != nil {
		return nil, err
	}
	temporary := filepath.Join(private, SocketName)
	if err := os.Chmod(temporary, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("make the socket: %w", err), l.Close())
	}
	if err := os.Rename(temporary, filepath.Join(dir, SocketName)); err != nil {
		return nil, errors.Join(fmt.Errorf("make the socket: %w", err), l.Close())
	}
	return l, nil
}

// sweep makes way for the socket: it removes what a crash left behind, and
// refuses to replace what is no socket.
func sweep(dir string) error {
	path := filepath.Join(dir, SocketName)
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("look for an old socket: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s is in the way and no socket: move it elsewhere", path)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("look for an old socket: %w", err)
	}
	for _, e := range entries {
		if !durable.IsTemp(e.Name(), SocketName) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("remove what a crash left: %w", err)
		}
	}
	return remove(dir)
}

func remove(dir string) error {
	err := os.Remove(filepath.Join(dir, SocketName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func bind(ctx context.Context, dir string) (net.Listener, error) {
	address, done, err := addressIn(dir)
	if err != nil {
		return nil, err
	}
	defer done()
	l, err := new(net.ListenConfig).Listen(ctx, "unix", address)
	if err != nil {
		return nil, fmt.Errorf("bind the socket: %w", err)
	}
	// Its name is not the one that it was bound to, and Close removes it.
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	return l, nil
}

// maxAddress is the longest path that fits into a socket address, whose last byte
// is zero: 108 on Linux, 104 on the systems that come from BSD.
var maxAddress = len(syscall.RawSockaddrUnix{}.Path) - 1

// addressIn returns a path to the socket in dir that fits into a socket address,
// good until done is called.
func addressIn(dir string) (address string, done func(), err error) {
	path := filepath.Join(dir, SocketName)
	if len(path) <= maxAddress {
		return path, func() {}, nil
	}
	if runtime.GOOS != "linux" {
		return "", nil, fmt.Errorf("path %s is over the %d bytes that a socket may have: name a shorter directory", path, maxAddress)
	}
	d, err := os.Open(dir)
	if err != nil {
		return "", nil, fmt.Errorf("open directory: %w", err)
	}
	// The kernel follows this link to the directory, however long its path is.
	address = "/proc/self/fd/" + strconv.Itoa(int(d.Fd())) + "/" + SocketName
	return address, func() { _ = d.Close() }, nil
}
