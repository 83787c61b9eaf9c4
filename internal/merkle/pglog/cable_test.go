package pglog_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sigstack/internal/pgtest"
)

// The database and each replica have a network namespace of their own, so that a cut is
// what it is between machines: packets vanish, and the kernels' TCP finds out by itself.
// What a replica hears and says otherwise goes by Unix sockets, which lie in the file
// system and are not cut.

// insideVariable is set where the test runs in the namespace of the database.
const insideVariable = "PGLOG_TEST_INSIDE"

// inNamespace reports whether the test is in a network namespace of its own. If not, it
// runs it in one, whose result becomes that of the test. Root needs nothing else; an
// ordinary user has to be allowed user namespaces, and is told so by a skip.
func inNamespace(t *testing.T) bool {
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

// cable is a veth pair between the database and the namespace of one replica.
type cable struct {
	url   string // of the database, by this cable
	enter string // path of the replica's namespace
	end   string // the database's end
}

// newCable makes a namespace for replica i, which lasts as long as the test however
// often the replica is started, and joins it to this one.
func newCable(t testing.TB, db *pgtest.Database, i int) *cable {
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
	c := &cable{url: db.At(here), enter: fmt.Sprintf("/proc/%d/ns/net", holder.Process.Pid), end: fmt.Sprint("cable", i)}
	tool(t, "ip", "link", "add", c.end, "type", "veth", "peer", "name", "far", "netns", fmt.Sprint(holder.Process.Pid))
	tool(t, "ip", "address", "add", here+"/24", "dev", c.end)
	tool(t, "nsenter", "--net="+c.enter, program("ip"), "address", "add", there+"/24", "dev", "far")
	tool(t, "nsenter", "--net="+c.enter, program("ip"), "link", "set", "far", "up")
	c.mend(t)
	// A kernel may take a second to carry packets on a link that is up already, and the
	// first start of a replica waits no longer for an answer.
	eventually(t, "the link carries packets", func() bool {
		near := exec.Command(program("ip"), "link", "show", c.end)
		far := exec.Command(program("nsenter"), "--net="+c.enter, program("ip"), "link", "show", "far")
		return isUp(t, near) && isUp(t, far)
	})
	return c
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

// command is a program in the replica's namespace.
func (c *cable) command(path string) *exec.Cmd {
	return exec.Command(program("nsenter"), "--net="+c.enter, "--", path)
}

// sever takes the database's end down: the replica's packets, and those to it, vanish.
func (c *cable) sever(t testing.TB) { t.Helper(); tool(t, "ip", "link", "set", c.end, "down") }

func (c *cable) mend(t testing.TB) { t.Helper(); tool(t, "ip", "link", "set", c.end, "up") }

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
