// Package rotate_test rotates the keys of stacks while real clients sign and verify.
package rotate_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
	"sigstack/internal/rotate"
)

func TestMain(m *testing.M) { os.Exit(e2etest.Main(m)) }

// command is a rotation of s.
func command(s *e2etest.Stack, what string, more ...string) []string {
	args := []string{"rotate", what, "--dir", s.Dir}
	if what == "ca" || what == "tsa" {
		args = append(args, "--close-after", "0s")
	}
	return append(args, more...)
}

// artifact is a blob and its bundle.
type artifact struct{ blob, bundle, by string }

// signers sign blobs, each in its own way, until they are stopped.
type signers struct {
	s     *e2etest.Stack
	token string
	dir   string

	mu   sync.Mutex
	all  []artifact
	fail []string
}

// ways are those in which the clients sign.
var ways = []string{"sigstack", "sigstack", "cosign-v3", "cosign-v2"}

func (w *signers) sign(t *testing.T, by string, n int) {
	blob := filepath.Join(w.dir, fmt.Sprintf("%s-%d", by, n))
	if err := os.WriteFile(blob, []byte(blob+"\n"), 0o600); err != nil {
		t.Error(err)
		return
	}
	a := artifact{blob, blob + ".sigstore.json", by}
	env := []string{"SIGSTORE_ID_TOKEN=" + w.token}
	var r e2etest.Result
	switch kit := w.s.Kit; by {
	case "sigstack":
		r = e2etest.Run(t, env, e2etest.Sigstack(t), "sign", "--client", kit(""), "--bundle", a.bundle, blob)
	case "cosign-v3":
		r = e2etest.Run(t, env, e2etest.Client(t, by), "sign-blob", "--yes", "--signing-config", kit("signing_config.v0.2.json"),
			"--trusted-root", kit("trusted_root.json"), "--bundle", a.bundle, blob)
	case "cosign-v2":
		r = e2etest.Run(t, env, e2etest.Client(t, by), "sign-blob", "--yes", "--new-bundle-format", "--trusted-root", kit("trusted_root.json"),
			"--fulcio-url", w.s.URL, "--rekor-url", w.s.URL, "--timestamp-server-url", w.s.URL+"/api/v1/timestamp", "--bundle", a.bundle, blob)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if r.Code != 0 {
		w.fail = append(w.fail, fmt.Sprintf("%s: exit %d\n%s%s", by, r.Code, r.Stdout, r.Stderr))
		return
	}
	w.all = append(w.all, a)
}

func (w *signers) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.all)
}

// start lets all clients sign at once. stop ends that.
func (w *signers) start(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i, by := range ways {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				w.sign(t, by, i*1_000_000+n)
			}
		})
	}
	stop = func() { cancel(); wg.Wait() }
	t.Cleanup(stop)
	return stop
}

// reach waits until that many artifacts are signed.
func (w *signers) reach(t *testing.T, n int) {
	t.Helper()
	for deadline := time.Now().Add(4 * time.Minute); w.count() < n; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d artifacts signed, want %d", w.count(), n)
		}
	}
}

// tufRoots are where each client keeps what it learned of a stack by TUF alone.
func tufRoots(t *testing.T, s *e2etest.Stack) (env map[string][]string) {
	t.Helper()
	env = map[string][]string{}
	for _, client := range []string{"cosign-v2", "cosign-v3"} {
		env[client] = []string{"TUF_ROOT=" + t.TempDir()}
		e2etest.MustRun(t, env[client], e2etest.Client(t, client), "initialize", "--mirror", s.URL+"/tuf", "--root", s.Kit("root.json"))
	}
	return env
}

// verify holds an artifact against all clients, which know the stack by TUF.
func verify(t *testing.T, s *e2etest.Stack, tuf map[string][]string, a artifact) {
	t.Helper()
	identity := s.IdentityArgs()
	own := append([]string{"verify", "--tuf-url", s.URL + "/tuf", "--tuf-root", s.Kit("root.json"), "--bundle", a.bundle}, identity...)
	e2etest.WantAccepted(t, "sigstack, what "+a.by+" signed", e2etest.Run(t, nil, e2etest.Sigstack(t), append(own, a.blob)...))
	v3 := append([]string{"verify-blob", "--bundle", a.bundle}, identity...)
	e2etest.WantAccepted(t, "cosign 3, what "+a.by+" signed", e2etest.Run(t, tuf["cosign-v3"], e2etest.Client(t, "cosign-v3"), append(v3, a.blob)...))
	v2 := append([]string{"verify-blob", "--new-bundle-format", "--bundle", a.bundle}, identity...)
	e2etest.WantAccepted(t, "cosign 2, what "+a.by+" signed", e2etest.Run(t, tuf["cosign-v2"], e2etest.Client(t, "cosign-v2"), append(v2, a.blob)...))
}

// TestSignedThroughRotations: clients sign all the while that keys are rotated. No
// request fails, and what was signed before, during and after verifies with each
// client, by TUF alone.
func TestSignedThroughRotations(t *testing.T) {
	if e2etest.Split() {
		t.Skip("a split stack rotates no keys")
	}
	for _, what := range []string{"log", "ca", "tsa", "tuf-online"} {
		t.Run(what, func(t *testing.T) {
			s := e2etest.Start(t, t.TempDir())
			w := &signers{s: s, token: s.Token(t), dir: t.TempDir()}
			stop := w.start(t)
			w.reach(t, 33)
			before := w.count()
			e2etest.MustRun(t, nil, e2etest.Sigstack(t), command(s, what, "--sample", w.sample(t))...)
			during := w.count()
			w.reach(t, max(100, during+20))
			stop()
			for _, f := range w.fail {
				t.Errorf("a signature failed: %s", f)
			}
			t.Logf("%s: %d artifacts, %d before and %d during the rotation", what, len(w.all), before, during-before)
			tuf := tufRoots(t, s)
			for _, a := range w.all {
				verify(t, s, tuf, a)
			}
		})
	}
}

// sample is a folder with some of what was signed so far.
func (w *signers) sample(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.all[:5] {
		for _, file := range []string{a.blob, a.bundle} {
			if err := os.Link(file, filepath.Join(dir, filepath.Base(file))); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

// journal is that of a rotation, nil when there is none.
func journal(s *e2etest.Stack, what string) *rotate.Journal {
	j, err := rotate.Read(filepath.Join(s.Dir, "rotations"), what)
	if err != nil {
		return nil
	}
	return j
}

// finished counts the rotations of a kind that are finished.
func finished(t *testing.T, s *e2etest.Stack, what string) (n int) {
	t.Helper()
	var list struct{ Rotations []*rotate.Journal }
	out := e2etest.MustRun(t, nil, e2etest.Sigstack(t), "rotate", "status", "--dir", s.Dir, "--output", "json")
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatal(err)
	}
	for _, j := range list.Rotations {
		if j.What == what && !j.Finished.IsZero() {
			n++
		}
	}
	return n
}

// made counts what rotations of a kind have made: chains, shards or online keys.
func made(t *testing.T, s *e2etest.Stack, what string) int {
	t.Helper()
	if what == "tuf-online" {
		keys, err := filepath.Glob(filepath.Join(s.Dir, "keys", "tuf-snapshot*.key"))
		if err != nil {
			t.Fatal(err)
		}
		return len(keys)
	}
	args := map[string][]string{"ca": {"ca", "chain", "list"}, "tsa": {"tsa", "chain", "list"}, "log": {"log", "shard", "list"}}[what]
	out := e2etest.MustRun(t, nil, e2etest.Sigstack(t), append(args, "--dir", s.Dir)...)
	return strings.Count(out, "\n") - 1
}

// TestKilledAtEachStep kills the command, then the stack, as each step of each rotation
// has begun and as it is done. The same command goes on, and makes one key in all.
func TestKilledAtEachStep(t *testing.T) {
	if e2etest.Split() {
		t.Skip("a split stack rotates no keys")
	}
	for what, steps := range map[string]int{"log": 2, "ca": 4, "tuf-online": 5} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := e2etest.Start(t, t.TempDir())
			for step := range steps {
				for _, done := range []bool{false, true} {
					for _, victim := range []string{"command", "stack"} {
						s = killedAt(t, s, what, step, done, victim)
						if t.Failed() {
							return
						}
					}
				}
			}
		})
	}
}

func killedAt(t *testing.T, s *e2etest.Stack, what string, step int, done bool, victim string) *e2etest.Stack {
	t.Helper()
	before, rotated := made(t, s, what), finished(t, s, what)
	c := e2etest.Converse(t, nil, e2etest.Sigstack(t), command(s, what)...)
	at := func() bool {
		j := journal(s, what)
		return j != nil && (!done && !j.Steps[step].Begun.IsZero() || !j.Steps[step].Done.IsZero())
	}
	over := func() bool { return finishedNow(s, what, rotated) }
	for deadline := time.Now().Add(time.Minute); !at() && !over(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("rotation of %s does not come to step %d", what, step)
		}
	}
	if victim == "command" {
		c.Kill()
		c.End()
	} else {
		s.Kill()
		c.End()
		s = e2etest.Start(t, s.Dir)
	}
	if !over() {
		e2etest.MustRun(t, nil, e2etest.Sigstack(t), command(s, what)...)
	}
	where := fmt.Sprintf("%s killed at step %d of %s (done %v)", victim, step, what, done)
	if got := made(t, s, what); got != before+1 {
		t.Errorf("%s: there are %d keys, want %d", where, got, before+1)
	}
	if got := finished(t, s, what); got != rotated+1 {
		t.Errorf("%s: %d rotations finished, want %d", where, got, rotated+1)
	}
	blob := e2etest.WriteFile(t, t.TempDir(), "blob", where)
	e2etest.MustRun(t, []string{s.TokenEnv(t)}, e2etest.Sigstack(t), "sign", "--client", s.Kit(""), "--bundle", blob+".sigstore.json", blob)
	e2etest.WantAccepted(t, where, s.Verify(t, blob, blob+".sigstore.json"))
	return s
}

// finishedNow reports whether one more rotation is finished than were.
func finishedNow(s *e2etest.Stack, what string, were int) bool {
	done, _ := filepath.Glob(filepath.Join(s.Dir, "rotations", "done", what+"-*.json")) // the pattern is right
	return len(done) > were
}
