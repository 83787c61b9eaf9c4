package pgtest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The database and each replica have a network namespace of their own, so that a cut is
// what it is between machines: packets vanish, and the kernels' TCP finds out by itself.
// What a test says to a replica goes by Unix sockets, which lie in the file system, or
// from inside the replica's namespace, and is not cut.

// insideVariable is set where the test runs in the namespace of the database.
const insideVariable = "PGTEST_INSIDE"

// InNamespace reports whether the test is in a network namespace of its own. If not, it
// runs it in one, whose result becomes that of the test. Root needs nothing else; an
// ordinary user has to be allowed user namespaces, and is told so by a skip.
func InNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv(insideVariable) != "" {
		return true
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"-test.run=^" + t.Name() + "$", "-test.v", "-test.count=1"}
	if end, ok := t.Deadline(); ok {
		args = append(args, fmt.Sprint("-test.timeout=", time.Until(end)-5*time.Second)) // before this one's
	}
	cmd := exec.CommandContext(t.Context(), exe, args...)
	cmd.Env = append(os.Environ(), insideVariable+"=yes")
	cmd.SysProcAttr = ownNetwork()
	said, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil { // it never began
		why := fmt.Sprintf("no network namespace can be made here: %v: run the test as root with the capabilities of root (CAP_SYS_ADMIN, CAP_NET_ADMIN), or allow ordinary users user namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone)", err)
		if os.Geteuid() == 0 {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	t.Logf("in a network namespace:\n%s", said)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(said), "--- PASS: "+t.Name()) {
		t.Fatal("the test did not run in its namespace")
	}
	return false
}

// ownNetwork is a process in a new network namespace. An ordinary user stays who they
// are, as PostgreSQL refuses root, and may administer that namespace alone.
func ownNetwork() *syscall.SysProcAttr {
	const netAdmin, sysAdmin = 12, 21 // capabilities(7)
	uid, gid := os.Geteuid(), os.Getegid()
	if uid == 0 {
		return &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	}
	return &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}},
		AmbientCaps: []uintptr{netAdmin, sysAdmin},
	}
}

// Cable is a veth pair between the database and the namespace of one replica.
type Cable struct {
	URL  string // of the database, by this cable
	Near string // address of the database's end
	Far  string // address of the replica's end

	enter string // path of the replica's namespace
	end   string // the database's end
}

// NewCable makes a namespace for replica i, which lasts as long as the test however
// often the replica is started, and joins it to this one.
func NewCable(t testing.TB, db *Database, i int) *Cable {
	t.Helper()
	holder := exec.Command("cat")                                               // ends with this process, whose pipe it reads
	holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET} // the user may by now
	stdin, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatalf("make a network namespace: %v", err)
	}
	t.Cleanup(func() { _ = stdin.Close(); _ = holder.Wait() })
	here, there := fmt.Sprintf("10.99.%d.1", i), fmt.Sprintf("10.99.%d.2", i)
	c := &Cable{URL: db.At(here), Near: here, Far: there, enter: fmt.Sprintf("/proc/%d/ns/net", holder.Process.Pid), end: fmt.Sprint("cable", i)}
	tool(t, "ip", "link", "add", c.end, "type", "veth", "peer", "name", "far", "netns", fmt.Sprint(holder.Process.Pid))
	tool(t, "ip", "address", "add", here+"/24", "dev", c.end)
	c.ip(t, "address", "add", there+"/24", "dev", "far")
	c.ip(t, "link", "set", "far", "up")
	c.Mend(t)
	// A kernel may take a second to carry packets on a link that is up already, and the
	// first start of a replica waits no longer for an answer.
	near := func() *exec.Cmd { return exec.Command(program("ip"), "link", "show", c.end) }
	far := func() *exec.Cmd { return c.Command(program("ip"), "link", "show", "far") }
	for began := time.Now(); !isUp(t, near()) || !isUp(t, far()); time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > patience {
			t.Fatalf("a link carries no packets after %v", patience)
		}
	}
	return c
}

// ip runs ip(8) in the replica's namespace.
func (c *Cable) ip(t testing.TB, args ...string) {
	t.Helper()
	tool(t, "nsenter", append([]string{"--net=" + c.enter, program("ip")}, args...)...)
}

// Switch lets the namespaces of cables reach each other, and the database at one address
// that stays when a cable is cut; and it gives each a loopback. It returns that address.
func Switch(t testing.TB, cables ...*Cable) (database string) {
	t.Helper()
	const always = "10.99.255.1"
	tool(t, "ip", "link", "set", "lo", "up")
	tool(t, "ip", "address", "add", always+"/32", "dev", "lo")
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range cables {
		c.ip(t, "link", "set", "lo", "up")
		c.ip(t, "route", "add", "default", "via", c.Near)
	}
	return always
}

// Dial connects from inside the replica's namespace; the address is an IP address with a
// port.
func (c *Cable) Dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good: the thread ends with this goroutine, wherever it is
		var namespace *os.File
		if namespace, err = os.Open(c.enter); err != nil {
			return
		}
		defer namespace.Close() //nolint:errcheck // it is only read
		if err = unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
			err = os.NewSyscallError("setns", err)
			return
		}
		conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
	}()
	<-done
	return conn, err
}

// isUp reports whether `ip link show` calls its link up in operation (RFC 2863).
func isUp(t testing.TB, show *exec.Cmd) bool {
	t.Helper()
	out, err := show.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", show, err, out)
	}
	return strings.Contains(string(out), " state UP ")
}

// Command is a program in the replica's namespace. Its process is that of the program.
func (c *Cable) Command(path string, args ...string) *exec.Cmd {
	return exec.Command(program("nsenter"), append([]string{"--net=" + c.enter, "--", path}, args...)...)
}

// Sever takes the database's end down: the replica's packets, and those to it, vanish.
func (c *Cable) Sever(t testing.TB) { t.Helper(); tool(t, "ip", "link", "set", c.end, "down") }

// Mend takes it up again.
func (c *Cable) Mend(t testing.TB) { t.Helper(); tool(t, "ip", "link", "set", c.end, "up") }

// program finds what may be out of the PATH of plain users.
func program(name string) string {
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if path := filepath.Join(dir, name); exec.Command(path, "-V").Run() == nil {
			return path
		}
	}
	return name
}

func tool(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(program(name), args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s (packages iproute2 and util-linux; make deps)", name, strings.Join(args, " "), err, out)
	}
}
