package publish

import (
	"path/filepath"
	"strings"
	"testing"

	"sigstack/e2e/e2etest"
)

// TestTrustRootWhileServed: in one process, over TLS and split alike, the process that
// publishes tells of the trust root, signs it again, compares, and publishes what a
// ceremony has signed; any other says whom to ask.
func TestTrustRootWhileServed(t *testing.T) {
	s := e2etest.Start(t, t.TempDir())
	dir, folder := s.ServiceDir("tuf"), filepath.Join(t.TempDir(), "ceremony")
	run := func(args ...string) string {
		t.Helper()
		return e2etest.MustRun(t, nil, e2etest.Sigstack(t), append([]string{"tuf"}, args...)...)
	}
	if got := run("diff", "--live", "--dir", dir); got != "nothing\n" {
		t.Errorf("diff: %s; want nothing", got)
	}
	if got := run("refresh", "--dir", dir); !strings.Contains(got, "signed again") {
		t.Errorf("refresh: %s", got)
	}
	run("ceremony", "start", "--dir", dir, "--folder", folder, "--renew")
	for _, key := range []string{"tuf-root", "tuf-targets"} {
		run("ceremony", "sign", "--folder", folder, "--dir", filepath.Join(s.Dir, "offline"), "--key", key, "--yes")
	}
	run("ceremony", "finish", "--folder", folder, "--dir", dir)
	status := run("status", "--dir", dir)
	for _, role := range []string{"root       2 ", "targets    2 "} {
		if !strings.Contains(status, role) {
			t.Errorf("status after the ceremony: %s; want %q", status, role)
		}
	}
	if !e2etest.Split() {
		return
	}
	other := s.ServiceDir("ca")
	for _, args := range [][]string{{"status"}, {"refresh"}, {"diff"}, {"ceremony", "start", "--folder", folder + "-2", "--renew"}} {
		args = append(append([]string{"tuf"}, args...), "--dir", other)
		if r := e2etest.Run(t, nil, e2etest.Sigstack(t), args...); r.Code != 1 || !strings.Contains(r.Stderr, "section tuf") {
			t.Errorf("%v of another process: exit %d, %s; want 1 and whom to ask", args, r.Code, r.Stderr)
		}
	}
}
