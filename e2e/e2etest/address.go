package e2etest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// The ports of FreeAddress are below those that systems give to the own end of a
// connection: a server that was stopped finds its port free when it starts again.
const (
	lowestPort  = 18000
	highestPort = 31999
)

// given are the ports that this process has handed out.
var given sync.Map

// FreeAddress is a loopback address that nobody listens on, nor is given to anybody else.
func FreeAddress(t testing.TB) string {
	t.Helper()
	for range 1000 {
		port := lowestPort + rand.IntN(highestPort-lowestPort+1)
		if _, taken := given.LoadOrStore(port, true); taken {
			continue
		}
		address := fmt.Sprint("127.0.0.1:", port)
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
		if err != nil {
			continue // somebody listens
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return address
	}
	t.Fatal("no free port")
	return ""
}
