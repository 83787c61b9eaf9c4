//go:build darwin || freebsd

package admin

import "golang.org/x/sys/unix"

func peerOfSocket(fd int) peer {
	c, err := unix.GetsockoptXucred(fd, unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
	if err != nil {
		return peer{}
	}
	return peer{uid: int(c.Uid), known: true}
}
