package release

import (
	"io"
	"net"
	"sync"
	"testing"
)

// network is the way to an address, which can be cut.
type network struct {
	address string // HOST:PORT to connect to
	target  string

	mu    sync.Mutex // guards what follows
	gone  bool
	conns map[net.Conn]bool // open ones, of both sides
}

// networkTo forwards connections to the target until the test ends.
func networkTo(t *testing.T, target string) *network {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &network{address: listener.Addr().String(), target: target, conns: map[net.Conn]bool{}}
	var done sync.WaitGroup
	done.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			done.Go(func() { n.forward(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		n.cut()
		done.Wait()
	})
	return n
}

// cut ends all connections, in the middle of whatever they carry, and lets none be made.
func (n *network) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.gone = true
	for conn := range n.conns {
		_ = conn.Close()
	}
}

// mend lets connections be made again.
func (n *network) mend() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.gone = false
}

// keep books a connection, unless the network is gone.
func (n *network) keep(conn net.Conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.gone {
		n.conns[conn] = true
	}
	return !n.gone
}

func (n *network) drop(conn net.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, conn)
	_ = conn.Close()
}

func (n *network) forward(from net.Conn) {
	defer n.drop(from)
	if !n.keep(from) {
		return
	}
	to, err := net.Dial("tcp", n.target)
	if err != nil {
		return
	}
	defer n.drop(to)
	if !n.keep(to) {
		return
	}
	var both sync.WaitGroup
	for _, pair := range [][2]net.Conn{{from, to}, {to, from}} {
		both.Go(func() {
			_, _ = io.Copy(pair[1], pair[0]) // it ends with either side, which ends the other
			_ = pair[1].Close()
		})
	}
	both.Wait()
}
