package e2etest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The directory's suffix, and the account that may read people but not their
// passwords.
const (
	directorySuffix       = "dc=corp,dc=example"
	DirectoryPeople       = "ou=people," + directorySuffix
	DirectoryBindDN       = "cn=reader," + directorySuffix
	DirectoryBindPassword = "a reader's password"
)

// probeEvery is the pause between two looks at something that others change.
const probeEvery = 20 * time.Millisecond

// Person is somebody in a Directory.
type Person struct{ UID, Name, Mail, Password string }

// Directory is a real LDAP server of one test, OpenLDAP's slapd, with
// configuration and data of its own.
type Directory struct {
	Host string // with port

	t    *testing.T
	conf string
	cmd  *exec.Cmd // nil while it is down
	logs bytes.Buffer
}

// StartDirectory fills a directory with people and starts it on a loopback
// port. It ends with the test.
func StartDirectory(t *testing.T, people ...Person) *Directory {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	KeepSecret(DirectoryBindPassword)
	d := &Directory{t: t, Host: FreeAddress(t), conf: WriteFile(t, dir, "slapd.conf", directoryConfig(dir))}
	ldif := WriteFile(t, dir, "people.ldif", directoryEntries(people))
	MustRun(t, nil, slapd("slapadd"), "-q", "-f", d.conf, "-l", ldif)
	t.Cleanup(d.Stop)
	d.Start()
	return d
}

// Start starts the server, again after Stop, and waits until the reader can
// log in.
func (d *Directory) Start() {
	d.t.Helper()
	d.logs.Reset()
	cmd := exec.Command(slapd("slapd"), "-d", "0", "-h", "ldap://"+d.Host, "-f", d.conf) // ended by Stop
	cmd.Stdout, cmd.Stderr = &d.logs, &d.logs
	if err := cmd.Start(); err != nil {
		d.t.Fatalf("start slapd: %v (run `make deps` first)", err)
	}
	d.cmd = cmd
	ctx, cancel := context.WithTimeout(d.t.Context(), ReadyWithin)
	defer cancel()
	again := time.NewTicker(probeEvery)
	defer again.Stop()
	for ; ; <-again.C {
		probe := exec.CommandContext(ctx, "ldapwhoami", "-x", "-H", "ldap://"+d.Host, "-D", DirectoryBindDN, "-w", DirectoryBindPassword)
		out, err := probe.CombinedOutput()
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			d.Stop()
			d.t.Fatalf("slapd is not ready after %v: %v: %s%s", ReadyWithin, err, out, &d.logs)
		}
	}
}

// Stop takes the server down, data kept.
func (d *Directory) Stop() {
	if d.cmd == nil {
		return
	}
	err := d.cmd.Process.Signal(syscall.SIGTERM)
	if err := errors.Join(err, d.cmd.Wait()); err != nil {
		d.t.Errorf("stop slapd: %v\n%s", err, &d.logs)
	}
	d.cmd = nil
}

// slapd is the path of one of the server's programs, which are not on the PATH
// of every user.
func slapd(name string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	return filepath.Join("/usr/sbin", name)
}

func directoryConfig(dir string) string {
	var b strings.Builder
	for _, schema := range []string{"core", "cosine", "inetorgperson"} {
		fmt.Fprintf(&b, "include /etc/ldap/schema/%s.schema\n", schema)
	}
	fmt.Fprintf(&b, `pidfile %[1]s/pid
modulepath /usr/lib/ldap
moduleload back_mdb
database mdb
suffix "%[2]s"
directory %[1]s/data
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="%[3]s" read by * none
`, dir, directorySuffix, DirectoryBindDN)
	return b.String()
}

// directoryEntries is the directory's content as LDIF (RFC 2849).
func directoryEntries(people []Person) string {
	var b strings.Builder
	entry := func(dn string, attributes ...string) {
		fmt.Fprintf(&b, "dn: %s\n%s\n\n", dn, strings.Join(attributes, "\n"))
	}
	entry(directorySuffix, "objectClass: dcObject", "objectClass: organization", "o: Corp")
	entry(DirectoryPeople, "objectClass: organizationalUnit")
	entry(DirectoryBindDN, "objectClass: organizationalRole", "objectClass: simpleSecurityObject",
		"userPassword: "+DirectoryBindPassword)
	for _, p := range people {
		KeepSecret(p.Password)
		attributes := []string{
			"objectClass: inetOrgPerson", "cn: " + p.Name, "sn: " + p.Name, "userPassword: " + p.Password,
		}
		if p.Mail != "" {
			attributes = append(attributes, "mail: "+p.Mail)
		}
		entry("uid="+p.UID+","+DirectoryPeople, attributes...)
	}
	return b.String()
}
