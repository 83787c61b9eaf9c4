package admin

import "syscall"

func peerOfSocket(fd int) peer {
	c, err := syscall.GetsockoptUcred(fd, syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	if err != nil {
		return peer{}
	}
	return peer{uid: int(c.Uid), pid: int(c.Pid), known: true}
}
