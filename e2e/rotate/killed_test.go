package rotate_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
	"sigstack/internal/signing"
)

// TestKilledAtEachStep kills the command, or the stack (all replicas of it) and the
// command, as each step of each rotation has begun and as it is done: two rotations of
// each kind, in which they take turns. The same command goes on each time; each rotation makes one key in all;
// clients find something whole at every moment; and no version of TUF's metadata is
// ever two.
func TestKilledAtEachStep(t *testing.T) {
	if e2etest.Split() {
		t.Skip("a split stack rotates no keys")
	}
	t.Parallel()
	all := append(machines(), machine{"log, compromised", "log", 4, compromisedSince, lines("log", "shard", "list")})
	for _, m := range all {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			k := newKilling(t, m)
			for n := range 2 {
				k.rotate(t, n)
			}
			k.restart(t)
			k.look(t, "after all")
		})
	}
}

// compromisedSince are the arguments of a rotation whose key others have had for a
// second.
func compromisedSince(*testing.T, *e2etest.Stack, int) []string {
	return []string{"--compromised-at", time.Now().Add(-time.Second).UTC().Format(time.RFC3339)}
}

// killing is a rotation that is killed.
type killing struct {
	machine

	s    *e2etest.Stack
	tuf  signing.TUF       // of a client that has been there from the beginning
	seen map[string]string // metadata by file name
}

func newKilling(t *testing.T, m machine) *killing {
	t.Helper()
	s := e2etest.Start(t, filepath.Join(t.TempDir(), "data"))
	return &killing{
		machine: m, s: s, seen: map[string]string{},
		tuf: signing.TUF{URL: s.URL + "/tuf", Root: []byte(e2etest.ReadFile(t, s.Kit("root.json"))), Cache: t.TempDir(), Now: time.Now},
	}
}

// restart kills the stack and starts it again.
func (k *killing) restart(t *testing.T) {
	t.Helper()
	k.s.Kill()
	k.s = e2etest.Start(t, k.s.Dir)
}

// rotate is the nth rotation, killed at each of its steps.
func (k *killing) rotate(t *testing.T, n int) {
	t.Helper()
	before, rotated := k.made(t, k.s), k.finished(k.s)
	args := k.command(t, k.s, n)
	over, kills := func() bool { return k.finished(k.s) > rotated }, 0
	for at := range 2 * k.steps {
		step, done := at/2, at%2 == 1
		where := fmt.Sprintf("step %d (done: %v) of rotation %d", step, done, n)
		c := e2etest.Converse(t, nil, e2etest.Sigstack(t), args...)
		eventually(t, where, func() bool { return k.isAt(step, done) || over() })
		if !over() {
			kills++
		}
		c.Kill()
		if done == (n == 0) {
			k.s.Kill()
			c.End()
			k.s = e2etest.Start(t, k.s.Dir)
		} else {
			c.End()
		}
		k.look(t, where)
		if over() {
			break
		}
	}
	if kills < 2*k.steps-2 { // the last moments may be missed: the rotation ends
		t.Errorf("rotation %d of %s was killed %d times, want %d", n, k.name, kills, 2*k.steps)
	}
	if !over() {
		e2etest.MustRun(t, nil, e2etest.Sigstack(t), args...)
	}
	if got := k.made(t, k.s); got != before+1 {
		t.Errorf("rotation %d of %s: there are %d keys, want %d", n, k.name, got, before+1)
	}
	if got := k.finished(k.s); got != rotated+1 {
		t.Errorf("rotation %d of %s: %d are finished, want %d", n, k.name, got, rotated+1)
	}
	k.signs(t)
}

// TestLeaderKilledAlone kills the replica that leads as each step of each rotation has
// begun, and as the last is done: the command with it, or the replica alone, and then the
// command ends by itself, unless it was through. The same command goes on at the other
// replica, which leads then; the one that was killed comes back before that, or after. Each
// rotation makes one key in all, clients find something whole at every
// moment, and no version of TUF's metadata is ever two, whichever replica made it.
func TestLeaderKilledAlone(t *testing.T) {
	if !e2etest.OnReplicas() {
		t.Skip("there is one replica")
	}
	t.Parallel()
	for _, m := range machines() {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			k := newKilling(t, m)
			first := k.s.Dir
			k.passOn(t, filepath.Join(first, "offline"))
			k.agree(t)
		})
	}
}

// passOn is a rotation that the replicas take from each other at each of its steps.
func (k *killing) passOn(t *testing.T, offline string) {
	t.Helper()
	before, kills := k.made(t, k.s), 0
	args := append(k.command(t, k.s, 0), "--offline", offline)
	if k.what == "root" {
		args = args[:len(args)-2] // it names them itself
	}
	here := slices.Index(args, "--dir") + 1
	over := func() bool { return k.finished(k.s) > 0 }
	for at := range k.steps + 1 {
		step, done := min(at, k.steps-1), at == k.steps
		where := fmt.Sprintf("step %d (done: %v)", step, done)
		args[here] = k.s.Dir
		c := e2etest.Converse(t, nil, e2etest.Sigstack(t), args...)
		eventually(t, where, func() bool { return k.isAt(step, done) || over() })
		ended, livesOn := over(), at%4 > 1
		if !livesOn {
			c.Kill()
		}
		k.s.FailOver()
		if c.End() == 0 && !over() {
			t.Errorf("%s: the command succeeded, and the replica that leads knows nothing of it:\n%s", where, c.Output())
		}
		if livesOn {
			t.Logf("%s: the command, whose replica was killed: %s", where, strings.TrimSpace(c.Output()))
		}
		kills++
		back := at%2 == 0
		if back {
			k.s.Rejoin(t)
		}
		k.leads(t, where)
		k.look(t, where)
		if !back {
			k.s.Rejoin(t)
		}
		if over() {
			break
		}
		if ended {
			t.Logf("%s: the rotation had ended where the replica was killed, and goes on here", where)
		}
	}
	if kills < k.steps-1 { // the last moments may be missed: the rotation ends
		t.Errorf("the rotation of %s was passed on %d times, want about %d", k.name, kills, k.steps+1)
	}
	args[here] = k.s.Dir
	if !over() {
		e2etest.MustRun(t, nil, e2etest.Sigstack(t), args...)
	}
	if got := k.made(t, k.s); got != before+1 {
		t.Errorf("rotation of %s: there are %d keys, want %d", k.name, got, before+1)
	}
	k.signs(t)
}

// leads waits until the replica in Dir takes acts, which it does when it leads.
func (k *killing) leads(t *testing.T, where string) {
	t.Helper()
	var r e2etest.Result
	eventually(t, where+": the other replica leads", func() bool {
		r = e2etest.Run(t, nil, e2etest.Sigstack(t), "reload", "--dir", k.s.Dir)
		return r.Code == 0
	})
}

// agree: what the command has said is so at the other replica, too, when the one where
// it was said is killed at once.
func (k *killing) agree(t *testing.T) {
	t.Helper()
	made := k.made(t, k.s)
	k.s.FailOver()
	k.leads(t, "after all")
	if got := k.made(t, k.s); got != made {
		t.Errorf("the other replica has %d keys, want %d", got, made)
	}
	if k.finished(k.s) != 1 || k.journal(k.s) != nil {
		t.Errorf("%d rotations are finished at the other replica, and %+v is under way; want 1 and none", k.finished(k.s), k.journal(k.s))
	}
	k.look(t, "after all")
	k.signs(t)
}

// isAt reports whether a step has begun, or is done.
func (k *killing) isAt(step int, done bool) bool {
	j := k.journal(k.s)
	return j != nil && (!done && !j.Steps[step].Begun.IsZero() || !j.Steps[step].Done.IsZero())
}

// versioned are files of metadata that never change.
var versioned = regexp.MustCompile(`^[0-9]+\.(root|targets|snapshot)\.json$`)

// look finds what is published whole, for a client that knows it from before and for a
// new one, and every version as it was.
func (k *killing) look(t *testing.T, where string) {
	t.Helper()
	fresh := k.tuf
	fresh.Cache = t.TempDir()
	for what, client := range map[string]signing.TUF{"a client of before": k.tuf, "a new client": fresh} {
		if _, err := client.Kit(t.Context()); err != nil {
			t.Errorf("killed at %s: %s: %v", where, what, err)
		}
	}
	dir := filepath.Join(k.s.Dir, "tuf")
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	now := map[string]string{}
	for _, f := range files {
		if versioned.MatchString(f.Name()) {
			now[f.Name()] = e2etest.ReadFile(t, filepath.Join(dir, f.Name()))
		}
	}
	for name, was := range k.seen {
		if is, ok := now[name]; ok && is != was {
			t.Errorf("killed at %s: %s was published twice:\n%s\n%s", where, name, was, is)
		}
	}
	for name, is := range now {
		k.seen[name] = is
	}
}

// signs: the stack signs with what was rotated.
func (k *killing) signs(t *testing.T) {
	t.Helper()
	w := &signers{s: k.s, token: k.s.Token(t), dir: t.TempDir()}
	w.sign(t, "sigstack", 0)
	if len(w.fail) > 0 {
		t.Fatal(w.fail)
	}
	kit, err := k.tuf.Kit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	id, err := signing.NewIdentity(e2etest.DemoUser, "", k.s.Issuer(), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := verifyHere(t, w.all[0], kit, id); err != nil {
		t.Errorf("after the rotation: %v", err)
	}
}
