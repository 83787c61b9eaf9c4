// Package rotate_test rotates the keys of stacks while real clients sign and verify.
package rotate_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
	"sigstack/internal/rotate"
	"sigstack/internal/stack"
)

func TestMain(m *testing.M) { os.Exit(e2etest.Main(m)) }

// machine is a rotation, with what a test has to know of it.
type machine struct {
	name, what string
	steps      int
	// args are what the command takes besides; of the nth rotation, from 0 on.
	args func(t *testing.T, s *e2etest.Stack, n int) []string
	// made counts what rotations have made: keys, chains, shards, logs or roots.
	made func(t *testing.T, s *e2etest.Stack) int
}

// closing are the arguments of rotations that close something, at once.
func closing(*testing.T, *e2etest.Stack, int) []string { return []string{"--close-after", "0s"} }

func plain(*testing.T, *e2etest.Stack, int) []string { return nil }

// machines are all of them.
func machines() []machine {
	return []machine{
		{"ctlog", "ctlog", 6, closing, lines("ctlog", "list")},
		{"log", "log", 2, plain, lines("log", "shard", "list")},
		{"ca", "ca", 4, closing, lines("ca", "chain", "list")},
		{"tsa", "tsa", 4, closing, lines("tsa", "chain", "list")},
		{"tuf-online", "tuf-online", 5, plain, onlineKeys},
		{"root", "root", 3, exchangeRoot, func(t *testing.T, s *e2etest.Stack) int { return int(roles(t, s)["root"].Version) }},
	}
}

// lines counts the lines of a list, without its head.
func lines(args ...string) func(*testing.T, *e2etest.Stack) int {
	return func(t *testing.T, s *e2etest.Stack) int {
		t.Helper()
		return strings.Count(e2etest.MustRun(t, nil, e2etest.Sigstack(t), append(args, "--dir", s.Dir)...), "\n") - 1
	}
}

func onlineKeys(t *testing.T, s *e2etest.Stack) int {
	t.Helper()
	keys, err := filepath.Glob(filepath.Join(s.Dir, "keys", "tuf-snapshot*.key"))
	if err != nil {
		t.Fatal(err)
	}
	return len(keys)
}

// roles are those of the trust root, by name.
func roles(t *testing.T, s *e2etest.Stack) map[string]stack.TUFRole {
	t.Helper()
	var st stack.TUFStatus
	out := e2etest.MustRun(t, nil, e2etest.Sigstack(t), "tuf", "status", "--dir", s.Dir, "--output", "json")
	if err := json.Unmarshal([]byte(out), &st); err != nil {
		t.Fatal(err)
	}
	byName := map[string]stack.TUFRole{}
	for _, r := range st.Roles {
		byName[r.Role] = r
	}
	return byName
}

// exchangeRoot adds a signer's key to root and targets, and takes it away again the
// next time: targets are signed anew each time, too, and published before the root.
func exchangeRoot(t *testing.T, s *e2etest.Stack, n int) []string {
	t.Helper()
	signer := filepath.Join(filepath.Dir(s.Dir), "signer")
	at := []string{"--offline", filepath.Join(s.Dir, "offline"), "--offline", signer}
	public := filepath.Join(signer, "..", "new.pub")
	if n == 0 {
		pass := e2etest.WriteFile(t, filepath.Dir(s.Dir), "pass", "correct horse battery\n")
		e2etest.MustRun(t, nil, e2etest.Sigstack(t), "keys", "create", "new", "--signer", "--dir", signer, "--algorithm", "ed25519", "--passphrase-file", pass)
		e2etest.WriteFile(t, signer, "passphrase", "correct horse battery\n")
		e2etest.WriteFile(t, filepath.Dir(s.Dir), "new.pub", e2etest.MustRun(t, nil, e2etest.Sigstack(t), "keys", "show", "new", "--signer", "--dir", signer))
		return append(at, "--add-root-key", public, "--add-targets-key", public)
	}
	key := ""
	pem := strings.TrimSpace(e2etest.ReadFile(t, public))
	for _, k := range roles(t, s)["root"].Keys {
		if strings.TrimSpace(k.PublicKey) == pem {
			key = k.ID
		}
	}
	return append(at, "--remove-root-key", key, "--remove-targets-key", key)
}

// command is the nth rotation of s.
func (m machine) command(t *testing.T, s *e2etest.Stack, n int) []string {
	t.Helper()
	return append([]string{"rotate", m.what, "--dir", s.Dir}, m.args(t, s, n)...)
}

// journal is that of a rotation, nil when there is none.
func (m machine) journal(s *e2etest.Stack) *rotate.Journal {
	j, err := rotate.Read(filepath.Join(s.Dir, "rotations"), m.what)
	if err != nil {
		return nil
	}
	return j
}

// finished counts the rotations that are finished.
func (m machine) finished(s *e2etest.Stack) int {
	done, _ := filepath.Glob(filepath.Join(s.Dir, "rotations", "done", m.what+"-*.json")) // the pattern is right
	return len(done)
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(e2etest.ReadyWithin); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", e2etest.ReadyWithin, what)
		}
	}
}
