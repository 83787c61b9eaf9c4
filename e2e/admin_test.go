package e2e

import (
	"crypto/tls"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigstack/e2e/e2etest"
	"sigstack/internal/stack"
)

// TestAdminChannel: the commands of whoever owns the directory reach the process
// that serves it, and leave a trace in its audit record; a crash is in nobody's
// way.
func TestAdminChannel(t *testing.T) {
	t.Parallel()
	s := e2etest.Start(t, t.TempDir())
	dir, sigstack := s.ServiceDir("tuf"), e2etest.Sigstack(t)
	status := func() (st stack.Status) {
		t.Helper()
		if err := json.Unmarshal([]byte(e2etest.MustRun(t, nil, sigstack, "status", "--dir", dir, "--output", "json")), &st); err != nil {
			t.Fatal(err)
		}
		return st
	}
	before := status()
	if before.Status != "ok" || before.URL != s.URL || before.Version == "" || len(before.Keys) == 0 || len(before.Expiry) == 0 {
		t.Errorf("status %+v", before)
	}
	serial := servedSerial(t, s)
	said := e2etest.MustRun(t, nil, sigstack, "reload", "--dir", dir)
	if e2etest.OverTLS() {
		if now := servedSerial(t, s); now == serial || !strings.Contains(said, "took tls certificate "+now) {
			t.Errorf("reload said %q; the certificate was %s and is %s", said, serial, now)
		}
	} else if !strings.Contains(said, "nothing new to take") {
		t.Errorf("reload said %q", said)
	}
	if after := status(); after.Audit.Seq <= before.Audit.Seq {
		t.Errorf("audit record ends at %d, before the reload at %d", after.Audit.Seq, before.Audit.Seq)
	}

	s.Kill()
	if _, err := os.Lstat(filepath.Join(dir, "admin.sock")); err != nil {
		t.Errorf("a killed process leaves its socket: %v", err)
	}
	r := e2etest.Run(t, nil, sigstack, "status", "--dir", dir)
	if r.Code != 3 || !strings.Contains(r.Stderr, "it is not running") {
		t.Errorf("status after a crash: %d %s, want 3", r.Code, r.Stderr)
	}
	s = e2etest.Start(t, s.Dir)
	if again := status(); again.PID == before.PID || again.Status != "ok" {
		t.Errorf("status after a new start: %+v", again)
	}
	s.Stop()
	if _, err := os.Lstat(filepath.Join(dir, "admin.sock")); !os.IsNotExist(err) {
		t.Errorf("a process that ended left its socket: %v", err)
	}
}

// servedSerial is the serial number of the certificate that clients are shown, ""
// in plaintext.
func servedSerial(t *testing.T, s *e2etest.Stack) string {
	t.Helper()
	if !e2etest.OverTLS() {
		return ""
	}
	conn, err := e2etest.Transport().DialTLSContext(t.Context(), "tcp", strings.TrimPrefix(s.URL, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // it was only looked at
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.Text(16)
}
