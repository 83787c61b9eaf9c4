package stack_test

import (
	"context"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sigstack/internal/admin"
	"sigstack/internal/config"
	"sigstack/internal/keys"
	"sigstack/internal/stack"
	tufroot "sigstack/tuf-root"
)

// otherLogURL leads nowhere.
const otherLogURL = "https://ct.example/log"

// otherLog is a CT log of others as a configuration has it, whose key is in dir.
func otherLog(t *testing.T, dir string) config.CTClient {
	t.Helper()
	key, err := keys.Open(t.TempDir(), nil).Create("other", keys.ECDSAP256, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: key.SPKI()})
	writeSecret(t, filepath.Join(dir, "other.pub"), string(text), 0o600)
	return config.CTClient{URL: otherLogURL, Key: "other.pub", Since: "2026-01-01T00:00:00Z"}
}

func publishCT(t *testing.T, dir string) {
	t.Helper()
	opts := options(dir, config.ProfileUp)
	opts.Unpublished = true
	if err := offline(t.Context(), opts, func(ctx context.Context) error { return publishCTLogs(ctx, dir) }); err != nil {
		t.Fatal(err)
	}
	distributedLong(t, dir)
}

// distributedLong lets every client know the published CT logs.
func distributedLong(t *testing.T, dir string) {
	t.Helper()
	path := stack.Layout{Dir: dir}.CTLogs()
	text := regexp.MustCompile(`"(published|distributed)": "[^"]*"`).ReplaceAllString(readFile(t, path), `"$1": "2026-01-02T00:00:00Z"`)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// publishCTLogs publishes what waits for it in a directory whose acts are answered,
// otherLog's too, which is nowhere.
func publishCTLogs(ctx context.Context, dir string) error {
	key, err := stack.TargetsKey(filepath.Join(dir, "offline"), nil, keys.Devices{})
	if err != nil {
		return err
	}
	var draft stack.CTLogDraft
	if err := admin.Dial(dir).Post(ctx, stack.AdminCTLogDraft, nil, &draft); err != nil || draft.Targets == nil {
		return err
	}
	change, err := tufroot.Review(stack.Layout{Dir: dir}.TUF(), draft.Targets, key)
	if err != nil {
		return err
	}
	if added, err := stack.ApproveCTLogs(change, time.Now()); err != nil || len(added) > 0 && !slices.Equal(added, draft.Added) {
		return fmt.Errorf("the draft adds %v, %w, not %v", added, err, draft.Added)
	}
	signed, err := tufroot.SignTargets(draft.Targets, key)
	if err != nil {
		return err
	}
	return admin.Dial(dir).Post(ctx, stack.AdminCTLogPublish, stack.Publication{Targets: signed, Unchecked: []string{"ctlog@" + otherLogURL}}, nil)
}

func listening(t *testing.T, opts stack.Options) stack.Options {
	t.Helper()
	opts.Listener = newListener(t)
	return opts
}

// TestCTLogsOfTheConfiguration: what does not fit the published CT logs is told by
// the check, at the field where it is wrong, and in the same words by the start.
func TestCTLogsOfTheConfiguration(t *testing.T) {
	made := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	published := copyOf(t, made)
	other := otherLog(t, published)
	unpublished := otherLog(t, made)
	edit(t, published, func(c *config.Config) { c.CA.CTLogs = []config.CTClient{other, {Own: true}} })
	publishCT(t, published)
	s, err := stack.Open(t.Context(), listening(t, options(published, config.ProfileUp))) // which uses it
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	asked := func(change func(*config.CTClient)) func(*config.Config) {
		return func(c *config.Config) { change(&c.CA.CTLogs[0]) }
	}
	for _, tt := range []struct {
		name, dir string
		change    func(*config.Config)
		want      string // "": nothing
	}{
		{"as made", made, func(*config.Config) {}, ""},
		{"own log by its name", made, func(c *config.Config) { c.CA.CTLogs = []config.CTClient{{Own: true}} }, ""},
		{
			"log of others", made, func(c *config.Config) { c.CA.CTLogs = []config.CTClient{unpublished, {Own: true}} },
			"ca.ct_logs[0]: clients do not know the CT log https://ct.example/log yet: run `sigstack ctlog publish --dir ",
		},
		{"other prefix", made, func(c *config.Config) { c.CTLog.Prefix = "ct" }, "ctlog.prefix: clients know the CT log by the URL http://stack.test:8080/ctlog, and"},
		{"an end", made, func(c *config.Config) { c.CTLog.NotAfterLimit = "2097-01-01T00:00:00Z" }, "ctlog.not_after_limit: clients were told to trust the CT log for ever, and"},
		{"as published", published, func(*config.Config) {}, ""},
		{"retired", published, asked(func(c *config.CTClient) { c.Retired = true }), ""},
		{"in another order", published, func(c *config.Config) { slices.Reverse(c.CA.CTLogs) }, ""},
		{
			"taken out", published, func(c *config.Config) { c.CA.CTLogs = nil },
			"ca.ct_logs: the published CT log https://ct.example/log is missing, and what it has logged would not verify any more: leave its entry in, with retired: true",
		},
		{"later", published, asked(func(c *config.CTClient) { c.Since = "2026-02-01T00:00:00Z" }), "ca.ct_logs[0].since: clients were told to trust the CT log from 2026-01-01T00:00:00Z on, and"},
		{"with an end", published, asked(func(c *config.CTClient) { c.NotAfterLimit = "2097-01-01T00:00:00Z" }), "ca.ct_logs[0].not_after_limit: clients were told to trust the CT log for ever, and"},
		{"moved", published, asked(func(c *config.CTClient) { c.URL = "https://ct2.example" }), "ca.ct_logs[0].url: clients know the CT log by the URL https://ct.example/log, and"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := copyOf(t, tt.dir)
			edit(t, dir, tt.change)
			got := strings.Join(checked(t, dir), "\n")
			s, err := stack.Open(t.Context(), listening(t, options(dir, config.ProfileUp)))
			if err == nil {
				err = s.Close()
			}
			if tt.want == "" && (got != "" || err != nil) {
				t.Errorf("checked %q, started %v, want no complaint", got, err)
			}
			if tt.want != "" && (!strings.HasPrefix(got, tt.want) || strings.Contains(got, "\n")) {
				t.Errorf("checked\n%s\nwant\n%s", got, tt.want)
			}
			if tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("started\n%v\nwant\n%s", err, tt.want)
			}
		})
	}
}

// TestCTLogsOfAPart: the process that has the CA keeps the logs that it has.
func TestCTLogsOfAPart(t *testing.T) {
	_, dirs := splitDir(t)
	for name, dir := range dirs {
		if got := checked(t, dir); slices.ContainsFunc(got, func(line string) bool { return strings.Contains(line, "CT log") }) {
			t.Errorf("%s: %q, want nothing of CT logs", name, got)
		}
	}
	other := otherLog(t, dirs["ca"])
	edit(t, dirs["ca"], func(c *config.Config) { c.CA.CTLogs = []config.CTClient{other, {Own: true}} })
	const want = "ca.ct_logs[0]: clients do not know the CT log https://ct.example/log, and a stack that is split keeps the logs it has"
	if got := strings.Join(checked(t, dirs["ca"]), "\n"); !strings.Contains(got, want) {
		t.Errorf("checked %q, want %q", got, want)
	}
	if _, err := stack.Open(t.Context(), options(dirs["ca"], config.ProfileUp)); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("started %v, want %q", err, want)
	}
}

// TestCTLogIsOver: a log that can take no certificate any more is told of.
func TestCTLogIsOver(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	other := otherLog(t, dir)
	other.Since, other.NotAfterLimit = "2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z"
	edit(t, dir, func(c *config.Config) { c.CA.CTLogs = []config.CTClient{other, {Own: true}} })
	publishCT(t, dir)
	const want = "warning: ca.ct_logs[0].not_after_limit: 2021-01-01T00:00:00Z is over"
	if got := checked(t, dir); len(got) != 1 || !strings.HasPrefix(got[0], want) {
		t.Errorf("got %q, want %q", got, want)
	}
	edit(t, dir, func(c *config.Config) { c.CA.CTLogs[0].Retired = true })
	if got := checked(t, dir); len(got) != 0 {
		t.Errorf("retired: got %q, want nothing", got)
	}
}

// TestNoCTLogTakesNow: the log that is left begins later than today's certificates end.
func TestNoCTLogTakesNow(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	other := otherLog(t, dir)
	edit(t, dir, func(c *config.Config) { c.CA.CTLogs = []config.CTClient{other, {Own: true}} })
	publishCT(t, dir)
	edit(t, dir, func(c *config.Config) { c.CTLog.State = config.CTFrozen })
	if got := checked(t, dir); len(got) != 0 {
		t.Errorf("the other log takes all: got %q, want nothing", got)
	}
	edit(t, dir, func(c *config.Config) { c.CA.CTLogs[0].NotAfterStart = "2097-01-01T00:00:00Z" })
	if got := checked(t, dir); len(got) != 1 || !strings.HasPrefix(got[0], "warning: ctlog: no CT log takes certificates that end at ") {
		t.Errorf("got %q, want the warning that none is issued", got)
	}
}
