package compromise

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
)

// kinds are the keys whose trust can end. Timestamps count for cosign only if it is
// told to use them.
var kinds = []struct {
	kind, key string
	succeed   func(*testing.T, *e2etest.Stack) // nil: the key signs on
	accept    []string                         // clients that accept what was signed after, too
}{
	{"log", "rekor", nextShard, nil},
	{"ca", "ca", nextChain, nil},
	{"ctlog", "ctlog", nil, nil},
	{"tsa", "tsa", nil, []string{"cosign-v3", "cosign-v3, old bundle", "cosign-v2", "cosign-v2, old bundle"}},
}

// TestEndOfTrust signs before and after a moment, ends the trust in a key then, and
// finds that exactly what is listed is refused.
func TestEndOfTrust(t *testing.T) {
	if e2etest.Split() {
		t.Skip("no process of a split stack ends trust")
	}
	for _, c := range kinds {
		t.Run(c.kind, func(t *testing.T) {
			dir := t.TempDir()
			s := e2etest.Start(t, filepath.Join(dir, "data"))
			before := sign(t, s, dir, "before")
			at := moment()
			after := sign(t, s, dir, "after")
			want(t, "signed after, before trust ended", true, verify(t, s, after))
			published := time.Now().UTC()

			var stop []string
			if c.succeed == nil {
				refusedWhileActive(t, s, c.kind, c.key, at)
				stop = []string{"--stop-issuing"}
			} else {
				c.succeed(t, s)
			}
			list := end(t, s, c.kind, c.key, at, stop...)
			want(t, "signed before", true, verify(t, s, before))
			want(t, "signed after", false, verify(t, s, after), c.accept...)
			wantListed(t, list, entryIndex(t, before.own), "stays")
			wantListed(t, list, entryIndex(t, before.bundle), "stays")
			wantListed(t, list, entryIndex(t, after.own), "ends")
			wantListed(t, list, entryIndex(t, after.bundle), "ends")

			if c.succeed != nil {
				want(t, "signed with the next key", true, verify(t, s, sign(t, s, dir, "next")))
			}
			if again := end(t, s, c.kind, c.key, at, stop...); len(again) < len(list) {
				t.Errorf("the list has %d lines when asked again, want at least %d", len(again), len(list))
			}
			asOf(t, s, published, after, true)
			asOf(t, s, time.Now().UTC(), after, false)
			asOf(t, s, time.Now().UTC(), before, true)
			restarts(t, s, before, after)
		})
	}
}

// refusedWhileActive: a key that signs now is not ended by mistake, and nothing is
// changed by --plan.
func refusedWhileActive(t *testing.T, s *e2etest.Stack, kind, key string, at time.Time) {
	t.Helper()
	was := e2etest.ReadFile(t, s.Kit("trusted_root.json"))
	args := []string{"compromise", kind, "--key", key, "--at", at.Format(time.RFC3339), "--dir", s.Dir}
	if r := e2etest.Run(t, nil, e2etest.Sigstack(t), args...); r.Code != 1 || !strings.Contains(r.Stderr, "signs now") {
		t.Errorf("exit %d, %s; want 1 and that the key signs now", r.Code, r.Stderr)
	}
	if r := e2etest.Run(t, nil, e2etest.Sigstack(t), append(args, "--plan")...); r.Code != 0 || !strings.Contains(r.Stdout, "would end") {
		t.Errorf("exit %d, %s%s; want a plan", r.Code, r.Stdout, r.Stderr)
	}
	if e2etest.ReadFile(t, s.Kit("trusted_root.json")) != was {
		t.Error("the trusted root changed")
	}
}

func wantListed(t *testing.T, list []listed, index int, trust string) {
	t.Helper()
	for _, l := range list {
		if l.What == "entry" && l.Index == index {
			if l.Trust != trust {
				t.Errorf("the trust in entry %d %s, want that it %s", index, l.Trust, trust)
			}
			return
		}
	}
	t.Errorf("entry %d is not listed, want that its trust %s", index, trust)
}

// asOf asks what a client at a moment would have decided.
func asOf(t *testing.T, s *e2etest.Stack, at time.Time, x samples, accepted bool) {
	t.Helper()
	args := append([]string{"verify", "--as-of", at.Format(time.RFC3339Nano), "--dir", s.Dir}, s.IdentityArgs()...)
	if r := e2etest.Run(t, nil, e2etest.Sigstack(t), append(args, x.file)...); (r.Code == 0) != accepted {
		t.Errorf("%s as of %v: exit %d, want it accepted: %v\n%s%s", filepath.Base(x.file), at, r.Code, accepted, r.Stdout, r.Stderr)
	}
}

// restarts: the end outlasts the process.
func restarts(t *testing.T, s *e2etest.Stack, before, after samples) {
	t.Helper()
	was := e2etest.ReadFile(t, s.Kit("trusted_root.json"))
	s.Stop()
	if _, err := os.Stat(filepath.Join(s.Dir, "compromised.json")); err != nil {
		t.Error(err)
	}
	again, err := e2etest.TryStart(t, s.Dir)
	if err != nil {
		t.Logf("a stack whose key signs on is not ready again: %v", err)
		return
	}
	if got := e2etest.ReadFile(t, again.Kit("trusted_root.json")); got != was {
		t.Errorf("the kit's trusted root changed with a restart: %s, was %s", got, was)
	}
	e2etest.WantAccepted(t, "sigstack", again.Verify(t, before.file, before.own))
	if r := again.Verify(t, after.file, after.own); r.Code != 1 {
		t.Errorf("signed after, after a restart: exit %d, want 1\n%s", r.Code, r.Stdout)
	}
}

// nextShard lets another key of the log take the place of the first.
func nextShard(t *testing.T, s *e2etest.Stack) {
	t.Helper()
	e2etest.MustRun(t, nil, e2etest.Sigstack(t), "log", "shard", "prepare", "--dir", s.Dir)
	repeat(t, func() e2etest.Result {
		return e2etest.Run(t, nil, e2etest.Sigstack(t), "log", "shard", "activate", "--dir", s.Dir)
	})
}

// nextChain lets another chain of the authority take the place of the first.
func nextChain(t *testing.T, s *e2etest.Stack) {
	t.Helper()
	e2etest.MustRun(t, nil, e2etest.Sigstack(t), "ca", "chain", "prepare", "--dir", s.Dir)
	config := filepath.Join(s.Dir, "config.yaml")
	text := strings.NewReplacer("chain: keys/ca.chain.pem", "chain: keys/ca-2.chain.pem", "key: ca\n", "key: ca-2\n").Replace(e2etest.ReadFile(t, config))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	repeat(t, func() e2etest.Result {
		r := e2etest.Run(t, nil, e2etest.Sigstack(t), "ca", "chain", "list", "--dir", s.Dir)
		if !strings.Contains(r.Stdout, "active   ca-2") {
			r.Code = 1
		}
		return r
	})
}

// repeat waits for the windows of a test stack.
func repeat(t *testing.T, try func() e2etest.Result) {
	t.Helper()
	r := try()
	for end := time.Now().Add(e2etest.ReadyWithin); r.Code != 0 && time.Now().Before(end); r = try() {
		time.Sleep(200 * time.Millisecond)
	}
	if r.Code != 0 {
		t.Fatalf("exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
}
