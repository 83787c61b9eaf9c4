package faults

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
	"sigstack/internal/pgtest"
	"sigstack/services/tlog/tlogtest"
)

// TestFullDatabase fills the disk of the database that replicas share, while they are
// written to: one with all that PostgreSQL has, or one with the tables alone. Entries are
// answered 503 from then on, and no certificate is issued. With space again entries are
// taken again, and what was acknowledged on the way is there. Nobody does anything for
// that, unless PostgreSQL could not write to its own log of changes either, and ended:
// then its operator starts it anew.
func TestFullDatabase(t *testing.T) {
	if !e2etest.OnReplicas() {
		t.Skip("there is no database: TestFullDisk")
	}
	t.Run("all", func(t *testing.T) {
		t.Parallel()
		disk := smallDisk(t)
		server, db := pgtest.StartIn(t, disk)
		fillDatabase(t, disk, db, func() {
			if err := errors.Join(server.Kill(), server.Start()); err != nil {
				t.Fatal(err)
			}
		})
	})
	t.Run("tables", func(t *testing.T) {
		t.Parallel()
		disk := smallDisk(t)
		_, db := pgtest.Start(t)
		db.KeepIn(t, disk)
		since := func() string { return pgtest.Value[string](t, db, "SELECT pg_postmaster_start_time()::text") }
		before := since()
		s := fillDatabase(t, disk, db, func() {})
		if after := since(); after != before {
			t.Errorf("PostgreSQL started at %s, before at %s: want that it went on", after, before)
		}
		const cause = "No space left on device"
		for i, logged := range s.Logged() {
			if !strings.Contains(logged, cause) {
				t.Errorf("replica %d does not log %q:\n%s", i, cause, logged)
			}
		}
	})
}

// fillDatabase fills the disk on which a database is, makes room again and calls mend. It
// returns the stack, stopped.
func fillDatabase(t *testing.T, disk string, db *pgtest.Database, mend func()) *e2etest.Stack {
	t.Helper()
	s := e2etest.StartOn(t, db, filepath.Join(t.TempDir(), "stack"))
	ledger := tlogtest.NewLedger("localhost")
	load := newLoad(t, s.URL, ledger, true)
	waitUntil(t, "entries are acknowledged", func() bool { return load.acked.Load() > 50 })

	token := e2etest.WriteFile(t, t.TempDir(), "token", s.Token(t))
	ballast := filepath.Join(disk, "ballast")
	fill(t, ballast, -1)
	waitUntil(t, "writes are refused", func() bool { return load.refused.Load() > 50 })
	if err := load.end(); err != nil {
		t.Errorf("an answer on the full disk is neither 201 nor 503 with Retry-After: %v", err)
	}
	for _, address := range s.Addresses() {
		status, header, answer, err := e2etest.Exchange(t.Context(), e2etest.HTTP, http.MethodPost, "http://"+address+entriesPath, propose(t, tlogtest.NewSigner(t), 0).body)
		if err != nil || status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" {
			t.Errorf("on a full disk %s answers an entry: %d %s %v, want 503 with Retry-After", address, status, answer, err)
		}
		waitUntil(t, address+" says that it is not ready", func() bool {
			status, _ := e2etest.Get(t, "http://"+address+"/readyz")
			return status == http.StatusServiceUnavailable
		})
	}
	blob := e2etest.WriteFile(t, t.TempDir(), "blob", "signed on a full disk")
	if r := e2etest.Run(t, nil, e2etest.Sigstack(t), "sign", "--client", filepath.Join(s.Dir, "client"), "--identity-token", token, "--bundle", blob+".bundle", blob); r.Code == 0 {
		t.Errorf("something was signed on a full disk: %s", r.Stdout)
	}

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	mend()
	load = newLoad(t, s.URL, ledger, true)
	waitUntil(t, "entries are acknowledged again", func() bool { return load.acked.Load() > 50 })
	for _, address := range s.Addresses() {
		waitUntil(t, address+" is well again", func() bool { return readiness(t, "http://"+address, `"tlog":{"status":"ok"`) })
	}
	if err := load.end(); err != nil {
		t.Errorf("with space again: %v", err)
	}
	for size, before := logSize(t, s), -1; size != before; size, before = logSize(t, s), size {
		time.Sleep(500 * time.Millisecond) // what a writer did not wait for may still be logged
	}
	if _, err := ledger.Check(t.Context(), asking(t, s.URL), nil); err != nil {
		t.Fatalf("with space again: %v", err)
	}
	entries, heads := ledger.Size()
	t.Logf("%d entries acknowledged, %d checkpoints seen, all there", entries, heads)
	s.Stop()
	e2etest.MustRun(t, nil, e2etest.Sigstack(t), "log", "fsck", "--dir", s.Dir)
	return s
}

// logSize is how many entries the active shard has.
func logSize(t *testing.T, s *e2etest.Stack) (size int) {
	t.Helper()
	_, answer := e2etest.Get(t, s.URL+"/api/v1/log")
	var info struct {
		TreeSize int `json:"treeSize"`
	}
	if err := json.Unmarshal(answer, &info); err != nil {
		t.Fatal(err)
	}
	return info.TreeSize
}
