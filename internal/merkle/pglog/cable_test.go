package pglog_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"sigstack/internal/pgtest"
)

// cable is the network between one process and the database. While it is cut
// nothing passes, and nobody is told.
type cable struct {
	url string // of the database, by this cable

	mu  sync.Mutex    // guards cut
	cut chan struct{} // closed while the cable is whole; nil: it was never cut
}

// newCable listens in dir, which needs a short path.
func newCable(t testing.TB, db *pgtest.Database, dir string) *cable {
	t.Helper()
	host, rest, _ := strings.Cut(db.URL, " ")
	const socket = ".s.PGSQL.5432"
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", filepath.Join(dir, socket))
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{url: "host=" + dir + " " + rest}
	done := make(chan struct{})
	t.Cleanup(func() { _ = listener.Close(); close(done) })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return // the test is over
			}
			server, err := net.Dial("unix", filepath.Join(strings.TrimPrefix(host, "host="), socket))
			if err != nil {
				_ = client.Close()
				continue
			}
			go c.carry(client, server, done)
			go c.carry(server, client, done)
		}
	}()
	return c
}

// carry copies one way. What comes out of a cable that is cut stays in it until it is
// mended; so does the end of a connection.
func (c *cable) carry(to, from net.Conn, done <-chan struct{}) {
	defer to.Close()   //nolint:errcheck // what was carried has arrived or not
	defer from.Close() //nolint:errcheck // the same
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		select {
		case <-c.whole():
		case <-done:
			return
		}
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// whole is closed unless the cable is cut.
func (c *cable) whole() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut == nil {
		c.cut = make(chan struct{})
		close(c.cut)
	}
	return c.cut
}

func (c *cable) sever() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = make(chan struct{})
}

func (c *cable) mend() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.cut)
}
