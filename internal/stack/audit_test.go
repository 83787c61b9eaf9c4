package stack_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigstack/internal/audit"
	"sigstack/internal/config"
	"sigstack/internal/httpd"
	"sigstack/internal/stack"
)

// editConfig changes the configuration in dir.
func editConfig(t *testing.T, dir string, change func(*config.Config)) {
	t.Helper()
	path := filepath.Join(dir, "config.yaml")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	conf, err := config.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	change(conf)
	if data, err = conf.Marshal(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func check(dir string) stack.AuditCheck {
	return stack.AuditCheck{Dir: dir, KitDir: stack.Layout{Dir: dir}.Client(), Offline: true, Now: time.Now}
}

// TestDirectoryWithoutAnAuditSection: one that an older version made. Its record is
// kept, and the lack of a key told.
func TestDirectoryWithoutAnAuditSection(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	l := stack.Layout{Dir: dir}
	for _, path := range []string{l.Audit(), filepath.Join(l.Keys(), "audit.key"), filepath.Join(l.Client(), "audit.pub")} {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
	editConfig(t, dir, func(c *config.Config) { c.Audit = nil })
	r := start(t, options(dir, config.ProfileUp))
	if _, rep := r.report(t); rep.Services["audit"].Status != httpd.Warn || !strings.Contains(rep.Services["audit"].Detail, "docs/audit.md") {
		t.Errorf("readiness: got %+v, want a warning", rep.Services["audit"])
	}
	r.stop()
	if err := <-r.done; err != nil {
		t.Error(err)
	}
	got, err := stack.VerifyAudit(t.Context(), check(dir))
	if err != nil || got.Signed || got.Anchors != 0 || got.Key != "none" || got.Records < 4 {
		t.Errorf("got %+v, %v; want records, unsigned", got, err)
	}
}

// TestARecordWhoseKeyIsGoneIsRefused: whoever takes the key out of an operator's
// configuration and kit has no record that verifies.
func TestARecordWhoseKeyIsGoneIsRefused(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileServe, Passphrase: []byte("pass")})
	if _, err := stack.VerifyAudit(t.Context(), check(dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(stack.Layout{Dir: dir}.Client(), "audit.pub")); err != nil {
		t.Fatal(err)
	}
	if _, err := stack.VerifyAudit(t.Context(), check(dir)); err == nil || !strings.Contains(err.Error(), "has no audit.pub, and the record is signed") {
		t.Errorf("without the public key: got %v", err)
	}
	editConfig(t, dir, func(c *config.Config) { c.Audit = nil })
	if _, err := stack.VerifyAudit(t.Context(), check(dir)); err == nil || !strings.Contains(err.Error(), "the head is signed, and no key") {
		t.Errorf("without the section: got %v", err)
	}
	record := stack.Layout{Dir: dir}.Audit()
	if err := errors.Join(os.RemoveAll(record), os.Mkdir(record, 0o700)); err != nil {
		t.Fatal(err)
	}
	anew, err := audit.Open(t.Context(), audit.Options{Dir: record, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := anew.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := stack.VerifyAudit(t.Context(), check(dir)); err == nil || !strings.Contains(err.Error(), "the record is not signed") {
		t.Errorf("without the section, too: got %v", err)
	}
}

// TestAnOlderKitLacksTheKeysOfProcesses, and the error says which one has them.
func TestAnOlderKitLacksTheKeysOfProcesses(t *testing.T) {
	whole := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	older := filepath.Join(t.TempDir(), "kit")
	if err := os.CopyFS(older, os.DirFS(stack.Layout{Dir: whole}.Client())); err != nil {
		t.Fatal(err)
	}
	for name, dir := range split(t, splitConfig(t, whole)) {
		c := check(dir)
		if _, err := stack.VerifyAudit(t.Context(), c); err != nil {
			t.Errorf("%s by the kit beside it: %v", name, err)
		}
		c.KitDir = older
		_, err := stack.VerifyAudit(t.Context(), c)
		var other *stack.OtherKeyError
		if want := "the record of process " + name; !errors.As(err, &other) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "http://stack.test:8080/client/") {
			t.Errorf("%s by an older kit: got %v, want %q", name, err, want)
		}
	}
}

// TestTheKeyCannotBeTakenOut: whoever takes the key out of the configuration, or
// puts another one in, has a record that no start goes on with.
func TestTheKeyCannotBeTakenOut(t *testing.T) {
	for name, change := range map[string]func(*config.Config){
		"no section":    func(c *config.Config) { c.Audit = nil },
		"another key":   func(c *config.Config) { c.Audit.Key = c.TUF.SnapshotKey },
		"another chain": func(c *config.Config) { c.Audit.Chain = strings.Repeat("0", 64) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
			editConfig(t, dir, change)
			s, err := stack.Open(t.Context(), options(dir, config.ProfileUp))
			if err == nil {
				t.Error("the stack opens")
				_ = s.Close() // the failure above is the one to tell
				return
			}
			if !strings.Contains(err.Error(), "start audit: open audit record") {
				t.Errorf("got %v, want that the audit record is refused", err)
			}
		})
	}
}

// TestEachRunIsOnRecord: starts and stops, anchored.
func TestEachRunIsOnRecord(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	for range 2 {
		runUntilReady(t, options(dir, config.ProfileUp))
	}
	got, err := stack.VerifyAudit(t.Context(), check(dir))
	if err != nil {
		t.Fatal(err)
	}
	if !got.Signed || got.Anchors < 2 || got.Anchored != got.LastSeq-1 {
		t.Errorf("got %+v, want anchors over all but the last one's own record", got)
	}
	records, err := os.ReadFile(filepath.Join(stack.Layout{Dir: dir}.Audit(), "audit-00000000000000000001.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for action, want := range map[string]int{"stack.start": 2, "stack.stop": 2, "audit.begin": 1} {
		if n := strings.Count(string(records), `"action":"`+action+`"`); n != want {
			t.Errorf("%s: got %d records, want %d", action, n, want)
		}
	}
}
