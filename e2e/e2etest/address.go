package e2etest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// The ports of FreeAddress are below those that systems give to the own end of a
// connection, and those of `sigstack up --split`: a server that was stopped finds its
// port free when it starts again.
const (
	lowestPort  = 10000
	highestPort = 19999
)

// FreeAddress is a loopback address that nobody listens on, nor is given to anybody else
// while this process runs, be it by another test process beside it.
func FreeAddress(t testing.TB) string {
	t.Helper()
	for range 1000 {
		port := lowestPort + rand.IntN(highestPort-lowestPort+1)
		if err := reserve(port); err == nil {
			return net.JoinHostPort("127.0.0.1", fmt.Sprint(port))
		}
	}
	t.Fatal("no free port")
	return ""
}

// reserve binds a socket to a loopback port and keeps it until the process ends, without
// listening. It is bound as the only one, which fails if another one is there; then it
// is made one that shares (SO_REUSEADDR, socket(7)), as each server's is in Go, which
// may thus still listen there.
func reserve(port int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("reserve port %d: %w", port, err)
	}
	err = unix.Bind(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	if err != nil {
		_ = unix.Close(fd)
		return fmt.Errorf("reserve port %d: %w", port, err)
	}
	return nil
}
