package e2etest

import (
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"
)

// TestFreeAddressIsKept: a server listens at such an address, stops and listens again,
// and meanwhile another test process is not given it.
func TestFreeAddressIsKept(t *testing.T) {
	const other = "E2ETEST_RESERVE"
	if port := os.Getenv(other); port != "" { // the other process
		n, err := strconv.Atoi(port)
		if err != nil {
			t.Fatal(err)
		}
		if err := reserve(n); err == nil {
			t.Errorf("port %d was given a second time", n)
		}
		return
	}
	address := FreeAddress(t)
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	takes := func() {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFreeAddressIsKept$", "-test.v")
		cmd.Env = append(os.Environ(), other+"="+port)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("another process: %v\n%s", err, out)
		}
	}
	takes()
	for range 2 {
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		takes()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		takes()
	}
}
