package faults

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
	"sigstack/services/tlog/tlogtest"
)

const (
	mebi     = 1 << 20
	diskSize = "size=320m,mode=0755" // what is on it may be another user's
)

// TestFullDisk fills the disk that all of a stack lies on, while it is written to.
// It warns before; then writes are answered 503, and reads go on; with space again
// it takes entries again, nobody having done anything else, and what it acknowledged
// on the way is there, also after it was killed on the full disk.
func TestFullDisk(t *testing.T) {
	if e2etest.OnReplicas() {
		t.Skip("the logs of replicas are not on their disks: TestFullDatabase")
	}
	dir := smallDisk(t)
	first := e2etest.Start(t, dir)
	first.Stop()
	for _, process := range first.ProcessDirs() {
		config := e2etest.ReadFile(t, filepath.Join(process, "config.yaml"))
		e2etest.WriteFile(t, process, "config.yaml", config+"\nlimits:\n  free_disk: 134217728\n")
	}
	s := e2etest.Start(t, dir)
	ledger := tlogtest.NewLedger("localhost")
	check := func(when string) {
		t.Helper()
		if _, err := ledger.Check(t.Context(), asking(t, s.URL), nil); err != nil {
			t.Fatalf("%s: %v", when, err)
		}
	}
	load := newLoad(t, s.URL, ledger, true)
	waitUntil(t, "entries are acknowledged", func() bool { return load.acked.Load() > 50 })
	wantReady(t, s.URL, `"tlog":{"status":"ok"`)

	ballast := filepath.Join(dir, "ballast")
	fill(t, ballast, free(t, dir)-100*mebi)
	waitUntil(t, "it warns", func() bool { return readiness(t, s.URL, `"tlog":{"status":"warn","detail":"only `) })
	before := load.acked.Load()
	waitUntil(t, "it goes on writing", func() bool { return load.acked.Load() > before+20 })
	if n := load.refused.Load(); n > 0 {
		t.Errorf("%d requests were refused before the disk was full", n)
	}

	fill(t, ballast, -1)
	waitUntil(t, "writes are refused", func() bool { return load.refused.Load() > 50 })
	if err := load.end(); err != nil {
		t.Errorf("an answer on the full disk is neither 201 nor 503 with Retry-After: %v", err)
	}
	if n := free(t, dir); n != 0 {
		t.Logf("%d bytes free", n)
	}
	status, header, answer, err := e2etest.Exchange(t.Context(), e2etest.HTTP, http.MethodPost, s.URL+entriesPath, propose(t, tlogtest.NewSigner(t), 0).body)
	if err != nil || status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" || !bytes.Contains(answer, []byte("disk is full")) {
		t.Errorf("on a full disk: %d %s %v, want 503 that says so", status, answer, err)
	}
	check("on the full disk")
	waitUntil(t, "it says that it is full", func() bool { return readiness(t, s.URL, `entries are refused until there is space`) })

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	load = newLoad(t, s.URL, ledger, true)
	waitUntil(t, "entries are acknowledged again", func() bool { return load.acked.Load() > 50 })
	waitUntil(t, "it is well again", func() bool { return readiness(t, s.URL, `"tlog":{"status":"ok"`) })
	if err := load.end(); err != nil {
		t.Errorf("with space again: %v", err)
	}
	check("with space again")

	fill(t, ballast, -1)
	s.Kill()
	if _, err := e2etest.TryStart(t, dir); err == nil || !strings.Contains(err.Error(), "free some space and start again") {
		t.Errorf("started on a full disk: %v, want a refusal that says what to do", err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	s = e2etest.Start(t, dir)
	check("after a kill on the full disk")
	entries, heads := ledger.Size()
	t.Logf("%d entries acknowledged, %d checkpoints seen, all there", entries, heads)
}

func wantReady(t *testing.T, url, piece string) {
	t.Helper()
	if !readiness(t, url, piece) {
		_, body := e2etest.Get(t, url+"/readyz")
		t.Errorf("readiness: %s, want %s", body, piece)
	}
}

func readiness(t *testing.T, url, piece string) bool {
	t.Helper()
	_, body := e2etest.Get(t, url+"/readyz")
	return bytes.Contains(body, []byte(piece))
}

// waitUntil waits for what is bound to happen, at most a minute.
func waitUntil(t *testing.T, what string, happened func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !happened(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// smallDisk is a folder on a disk of its own, which other users can enter.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "small-disk-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, diskSize); err != nil {
		t.Skipf("mount a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// free is how much the disk of dir has, in bytes.
func free(t *testing.T, dir string) int64 {
	t.Helper()
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	return int64(st.Bavail) * st.Bsize
}

// fill appends so many bytes to a file, or all that there is room for if it is
// below 0.
func fill(t *testing.T, name string, bytes int64) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	piece := make([]byte, 64<<10)
	for n := int64(0); err == nil && (bytes < 0 || n < bytes); n += int64(len(piece)) {
		_, err = f.Write(piece)
	}
	if bytes < 0 && errors.Is(err, syscall.ENOSPC) {
		err = nil
	}
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}
