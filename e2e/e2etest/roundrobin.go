package e2etest

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// balancer is what stands before replicas: a proxy for TCP that gives each connection
// to the next one, or to the one after it if nobody listens there.
type balancer struct {
	listener net.Listener
	behind   []string // host:port
	next     atomic.Uint64
	conns    sync.WaitGroup
}

// balance starts a balancer at an address, until its stop. Some connection's own end may
// have that port for a moment.
func balance(at string, behind ...string) (*balancer, error) {
	l, err := net.Listen("tcp", at)
	for began := time.Now(); errors.Is(err, syscall.EADDRINUSE) && time.Since(began) < 10*time.Second; time.Sleep(100 * time.Millisecond) {
		l, err = net.Listen("tcp", at)
	}
	if err != nil {
		return nil, err
	}
	b := &balancer{listener: l, behind: behind}
	b.conns.Go(b.accept)
	return b, nil
}

// stop closes the listener, and waits for the connections to end, which they do with
// those behind.
func (b *balancer) stop() {
	_ = b.listener.Close() // it may be closed already
	b.conns.Wait()
}

func (b *balancer) accept() {
	for {
		conn, err := b.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // there are too many open files
			time.Sleep(time.Millisecond)
			continue
		}
		b.conns.Go(func() { b.serve(conn) })
	}
}

func (b *balancer) serve(client net.Conn) {
	defer client.Close() //nolint:errcheck // there is nobody to tell
	first := b.next.Add(1)
	for i := range uint64(len(b.behind)) {
		server, err := net.DialTimeout("tcp", b.behind[(first+i)%uint64(len(b.behind))], time.Second)
		if err != nil {
			continue
		}
		defer server.Close() //nolint:errcheck // as above
		relay(client, server)
		return
	}
}

// relay carries bytes both ways until both are done, or either breaks.
func relay(client, server net.Conn) {
	var up sync.WaitGroup
	up.Go(func() {
		if _, err := io.Copy(server, client); err != nil {
			_ = server.Close()
			return
		}
		_ = server.(*net.TCPConn).CloseWrite() //nolint:forcetypeassert // it was dialed so
	})
	_, _ = io.Copy(client, server)
	_ = client.Close() // the answer is over: what else would be asked has nobody to hear it
	up.Wait()
}
