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
	name, kind, key string
	by              func(*testing.T, *e2etest.Stack, string, string, time.Time) []listed
	next            bool     // another key signs afterwards
	accept          []string // clients that accept what was signed after, too
}{
	{"log", "log", "rekor", rotated, true, nil},
	{"ca", "ca", "ca", rotated, true, nil},
	{"ctlog", "ctlog", "ctlog", rotated, true, nil},
	{"tsa", "tsa", "tsa", rotated, true, []string{"cosign-v3", "cosign-v3, old bundle", "cosign-v2", "cosign-v2, old bundle"}},
	{"log at once", "log", "rekor", atOnce, true, nil},
	{"tsa without another", "tsa", "tsa", stopped, false, []string{"cosign-v3", "cosign-v3, old bundle", "cosign-v2", "cosign-v2, old bundle"}},
	{"ctlog without another", "ctlog", "ctlog", stopped, false, nil},
}

// TestEndOfTrust signs before and after a moment, ends the trust in a key then, and
// finds that exactly what is listed is refused.
func TestEndOfTrust(t *testing.T) {
	if e2etest.Split() {
		t.Skip("no process of a split stack ends trust")
	}
	for _, c := range kinds {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := e2etest.Start(t, filepath.Join(dir, "data"))
			before := sign(t, s, dir, "before")
			at := moment()
			after := sign(t, s, dir, "after")
			want(t, "signed after, before trust ended", true, verify(t, s, after))
			published := time.Now().UTC()

			list := c.by(t, s, c.kind, c.key, at)
			want(t, "signed before", true, verify(t, s, before))
			want(t, "signed after", false, verify(t, s, after), c.accept...)
			wantListed(t, list, entryIndex(t, before.own), "stays")
			wantListed(t, list, entryIndex(t, before.bundle), "stays")
			wantListed(t, list, entryIndex(t, after.own), "ends")
			wantListed(t, list, entryIndex(t, after.bundle), "ends")

			var stop []string
			if c.next {
				want(t, "signed with the next key", true, verify(t, s, sign(t, s, dir, "next")))
			} else {
				stop = []string{"--stop-issuing"}
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

// rotated lets another key take the place of the one that others may have had, and
// reads what that refuses.
func rotated(t *testing.T, s *e2etest.Stack, kind, _ string, at time.Time) []listed {
	t.Helper()
	return rotate(t, s, kind, at)
}

// atOnce ends the trust before the next key signs.
func atOnce(t *testing.T, s *e2etest.Stack, kind, _ string, at time.Time) []listed {
	t.Helper()
	return rotate(t, s, kind, at, "--stop-issuing")
}

func rotate(t *testing.T, s *e2etest.Stack, kind string, at time.Time, more ...string) []listed {
	t.Helper()
	args := append([]string{"rotate", kind, "--dir", s.Dir, "--compromised-at", at.Format(time.RFC3339)}, more...)
	out := e2etest.MustRun(t, nil, e2etest.Sigstack(t), args...)
	if !strings.Contains(out, "rotation of "+kind+" finished") || !strings.Contains(out, "trust ends for ") {
		t.Errorf("the rotation said %s, want that it is finished, and how many are refused", out)
	}
	files, err := filepath.Glob(filepath.Join(s.Dir, "rotations", "affected-"+kind+"-*.jsonl"))
	if err != nil || len(files) != 1 {
		t.Fatalf("lists of what is affected: %v, %v, want one", files, err)
	}
	return readList(t, e2etest.ReadFile(t, files[0]))
}

// stopped ends the trust in a key that no other one follows: its service stops.
func stopped(t *testing.T, s *e2etest.Stack, kind, key string, at time.Time) []listed {
	t.Helper()
	refusedWhileActive(t, s, kind, key, at)
	list := end(t, s, kind, key, at, "--stop-issuing")
	wantStopped(t, s, kind)
	return list
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
