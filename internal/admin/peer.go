package admin

import (
	"context"
	"fmt"
	"net"
)

// peer is the process at the other end of a connection, as the kernel knows it
// from the moment of connecting.
type peer struct {
	uid, pid int
	known    bool
}

// allowed: the user that the process runs as, and root.
func (p peer) allowed(own int) bool { return p.known && (p.uid == own || p.uid == 0) }

func (p peer) String() string {
	switch {
	case !p.known:
		return "unknown"
	case p.pid == 0:
		return fmt.Sprintf("uid %d", p.uid)
	default:
		return fmt.Sprintf("uid %d pid %d", p.uid, p.pid)
	}
}

type peerKey struct{}

// withPeer is an http.Server's ConnContext.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, peerKey{}, credentials(c))
}

// peerOf is unknown outside a connection.
func peerOf(ctx context.Context) peer {
	p, _ := ctx.Value(peerKey{}).(peer)
	return p
}

// credentials asks the kernel. A connection that it says nothing about is
// unknown, and nobody's.
func credentials(c net.Conn) (p peer) {
	unix, ok := c.(*net.UnixConn)
	if !ok {
		return peer{}
	}
	raw, err := unix.SyscallConn()
	if err != nil {
		return peer{}
	}
	if err := raw.Control(func(fd uintptr) { p = peerOfSocket(int(fd)) }); err != nil {
		return peer{}
	}
	return p
}
