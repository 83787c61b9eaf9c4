package postgres

import (
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

// urlFile is a file for --database-url-file.
func urlFile(t *testing.T, url string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "database-url")
	if err := os.WriteFile(path, []byte(url+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// start starts a stack whose logs are in a database of a server of its own.
func start(t *testing.T, args ...string) (*e2etest.Stack, *pgtest.Server, *pgtest.Database) {
	t.Helper()
	server, db := pgtest.Start(t)
	args = append([]string{"--database-url-file", urlFile(t, db.URL)}, args...)
	return e2etest.Start(t, t.TempDir(), args...), server, db
}

// signsAndVerifies has cosign do both.
func signsAndVerifies(t *testing.T, s *e2etest.Stack) {
	t.Helper()
	blob := e2etest.WriteFile(t, t.TempDir(), "artifact", time.Now().String())
	bundle := blob + ".bundle"
	s.SignWithCosign(t, blob, bundle)
	wantVerified(t, s, blob, bundle)
}

func wantVerified(t *testing.T, s *e2etest.Stack, blob, bundle string) {
	t.Helper()
	if r := s.VerifyWithCosign(t, blob, bundle); r.Code != 0 {
		t.Errorf("cosign verify-blob: exit code %d\n%s", r.Code, r.Stderr)
	}
	if r := s.Verify(t, blob, bundle); r.Code != 0 {
		t.Errorf("sigstack verify: exit code %d\n%s", r.Code, r.Stderr)
	}
}

// TestCosign signs in one process and in four, restarts, and verifies what was signed
// before.
func TestCosign(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
	}{{"one process", nil}, {"four processes", []string{"--split"}}} {
		t.Run(tt.name, func(t *testing.T) {
			s, _, db := start(t, tt.args...)
			blob := e2etest.WriteFile(t, t.TempDir(), "artifact", "signed before the restart")
			s.SignWithCosign(t, blob, blob+".bundle")
			wantVerified(t, s, blob, blob+".bundle")
			if n := pgtest.Value[int64](t, db, "SELECT count(*) FROM sigstack_tlog.SequencedLeafData"); n < 2 {
				t.Errorf("%d entries are in the database, want the self-test's and cosign's", n)
			}
			if logs, err := filepath.Glob(filepath.Join(s.Dir, "db", "log")); err != nil || len(logs) > 0 {
				t.Errorf("the directory has %v, %v, want no log", logs, err)
			}
			s.Stop()
			s = e2etest.Start(t, s.Dir, tt.args...)
			wantVerified(t, s, blob, blob+".bundle")
			signsAndVerifies(t, s)
		})
	}
}

// TestDatabaseAway stops the database under load: entries and reads are refused, never
// anything worse, readiness says which services are down, and all heals by itself.
func TestDatabaseAway(t *testing.T) {
	s, server, _ := start(t)
	ledger := tlogtest.NewLedger("localhost")
	l := newLoad(t, s.URL, ledger)
	for _, stop := range []struct {
		name string
		do   func() error
	}{{"stopped", server.Stop}, {"killed", server.Kill}} {
		l.more(t, 100)
		if err := stop.do(); err != nil {
			t.Fatal(err)
		}
		wantSoon(t, "readiness of the log is 503", func() bool { return statusOf(t, s, "/readyz/tlog") == http.StatusServiceUnavailable })
		for path, want := range map[string]int{
			"/readyz/ctlog":                          http.StatusServiceUnavailable,
			"/readyz/tsa":                            http.StatusOK,
			"/healthz":                               http.StatusOK,
			entriesPath + "?logIndex=0":              http.StatusServiceUnavailable,
			"/ctlog/ct/v1/get-entries?start=0&end=0": http.StatusServiceUnavailable,
		} {
			if got := statusOf(t, s, path); got != want {
				t.Errorf("database %s: %s answers %d, want %d", stop.name, path, got, want)
			}
		}
		refused := l.refused.Load()
		wantSoon(t, "entries are refused", func() bool { return l.refused.Load() > refused+writers })
		back := time.Now()
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		answers := time.Now()
		l.more(t, 1)
		first := time.Now()
		wantSoon(t, "readiness is 200 again", func() bool { return statusOf(t, s, "/readyz") == http.StatusOK })
		t.Logf("database %s: started again in %v, the first entry %v later, ready %v later",
			stop.name, answers.Sub(back).Round(time.Millisecond), first.Sub(answers).Round(time.Millisecond), time.Since(answers).Round(time.Millisecond))
	}
	l.more(t, 100)
	if err := l.end(); err != nil {
		t.Error(err)
	}
	t.Logf("%d acknowledged, %d refused, %d connections broken", l.acked.Load(), l.refused.Load(), l.broken.Load())
	if n := l.broken.Load(); n > 0 {
		t.Errorf("%d requests got no answer", n)
	}
	wantAll(t, s.URL, ledger)
	signsAndVerifies(t, s)
}

// TestKilled kills the process under load, five times, and once with the database.
func TestKilled(t *testing.T) {
	s, server, _ := start(t)
	ledger := tlogtest.NewLedger("localhost")
	for round := range 5 {
		l := newLoad(t, s.URL, ledger)
		l.more(t, 50)
		if round == 2 {
			if err := server.Kill(); err != nil {
				t.Fatal(err)
			}
		}
		s.Kill()
		if err := l.end(); err != nil {
			t.Fatal(err)
		}
		if round == 2 {
			if err := server.Start(); err != nil {
				t.Fatal(err)
			}
		}
		s = e2etest.Start(t, s.Dir)
		wantAll(t, s.URL, ledger)
	}
	signsAndVerifies(t, s)
}

// TestOlderDatabase: a database that was restored from before the newest checkpoint is
// refused, and one that is away is named without its password.
func TestOlderDatabase(t *testing.T) {
	s, _, db := start(t)
	signsAndVerifies(t, s)
	s.Stop()
	db.Exec(t, "CREATE DATABASE older TEMPLATE "+nameOf(db.URL))
	s = e2etest.Start(t, s.Dir)
	signsAndVerifies(t, s)
	s.Stop()
	conf, err := os.ReadFile(filepath.Join(s.Dir, "config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	point := func(url string) {
		t.Helper()
		_, rest, _ := strings.Cut(string(conf), "url_file: ")
		file, _, _ := strings.Cut(rest, "\n")
		if err := os.WriteFile(file, []byte(url), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	point(strings.Replace(db.URL, "dbname="+nameOf(db.URL), "dbname=older", 1))
	wantRefused(t, s.Dir, "are gone")
	const password = "correct-horse"
	e2etest.KeepSecret(password)
	point("postgres://log:" + password + "@127.0.0.1:1/logs?sslmode=disable")
	wantRefused(t, s.Dir, "connect")
	point(db.URL)
	signsAndVerifies(t, e2etest.Start(t, s.Dir))
}

func nameOf(url string) string { return url[strings.LastIndex(url, "=")+1:] }

func wantRefused(t *testing.T, dir, want string) {
	t.Helper()
	_, err := e2etest.TryStart(t, dir)
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("start: got %v, want %q in it", err, want)
	}
}
