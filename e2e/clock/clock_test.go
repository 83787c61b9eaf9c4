package clock

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
	"sigstack/internal/httpd"
)

// TestTwoYears: while the process runs, no client ever meets an expired snapshot or
// timestamp, and people are told in time to sign root and targets again, which they do
// when it is urgent.
func TestTwoYears(t *testing.T) {
	const (
		step = 15 * time.Hour // a timestamp has 16 left when it is due
		life = 365 * day
	)
	m := newMachine(t, 0)
	m.start(t, "--tuf-profile", "connected")
	c := m.client(t)
	last := m.served(t, "timestamp.json").Signed.Version
	var signed time.Duration // when root and targets were
	said := map[string]int{}
	for at := step; at <= 730*day; at += step {
		m.set(t, at)
		stamp := m.served(t, "timestamp.json")
		snapshot := m.served(t, fmt.Sprintf("%d.snapshot.json", stamp.Signed.Meta["snapshot.json"].Version))
		for role, x := range map[string]metadata{"timestamp": stamp, "snapshot": snapshot} {
			if !m.now().Before(x.Signed.Expires) {
				t.Fatalf("after %v: %s %d expired at %v", at, role, x.Signed.Version, x.Signed.Expires)
			}
		}
		if err := c.update(t.Context()); err != nil {
			t.Fatalf("after %v: a client is refused: %v", at, err)
		}
		last = m.next(t, last)
		want := stageAfter(at-signed, life)
		eventually(t, fmt.Sprintf("%s after %v", want, at), func() bool { return stageOf(m.tuf(t)) == want })
		said[want]++
		if left := signed + life - at; left < 20*day {
			m.renew(t)
			signed = at
			last = m.next(t, last)
		}
	}
	logs := m.stop(t)
	for stage, steps := range map[string]int{"ageing": said["notice"], "ending": said["urgent"]} {
		if got := strings.Count(logs, "stage="+stage); got != 4 || steps == 0 {
			t.Errorf("%s was logged %d times and shown for %d steps, want 4 times, root and targets twice\n%s", stage, got, steps, logs)
		}
	}
	if strings.Contains(logs, "expired") || strings.Contains(logs, "level=ERROR") {
		t.Errorf("something expired, or failed:\n%s", logs)
	}
	t.Logf("%d timestamps, steps by stage: %v", last, said)
}

// stageAfter is what operators are to be told of something of that age.
func stageAfter(age, life time.Duration) string {
	switch left := life - age; {
	case left <= life/10:
		return "urgent"
	case left <= life/3:
		return "notice"
	default:
		return "ok"
	}
}

// stageOf reads it from the words.
func stageOf(s httpd.ServiceStatus) string {
	urgent := strings.Count(s.Detail, "sign it again with its offline keys NOW")
	notice := strings.Count(s.Detail, "have it signed again with its offline keys")
	switch {
	case s.Status == httpd.OK && urgent+notice == 0:
		return "ok"
	case s.Status == httpd.Warn && urgent == 2 && notice == 0:
		return "urgent"
	case s.Status == httpd.Warn && notice == 2 && urgent == 0:
		return "notice"
	}
	return string(s.Status) + " " + s.Detail
}

// TestCourier: of what a courier takes from a stack of profile airgap, at whatever
// moment, clients can live for two months.
func TestCourier(t *testing.T) {
	m := newMachine(t, 0)
	m.start(t, "--tuf-profile", "airgap")
	last := m.served(t, "timestamp.json").Signed.Version
	for at := 10 * day; at <= 730*day; at += 10 * day {
		m.set(t, at)
		if at%(30*day) == 0 {
			last = m.next(t, last)
		}
		left := m.served(t, "timestamp.json").Signed.Expires.Sub(m.now())
		if left < 60*day {
			t.Errorf("after %v: what is carried away is good for %v, want two months", at, left)
		}
	}
	if last < 20 || last > 30 {
		t.Errorf("%d timestamps in two years, want one a month", last)
	}
}

// TestOrdinaryProgram: nothing moves the clock of a program without the tag.
func TestOrdinaryProgram(t *testing.T) {
	program, err := tagged()
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{e2etest.Sigstack(t): false, program: true} {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(string(data), testClock); got != want {
			t.Errorf("%s names %s: %v, want %v", path, testClock, got, want)
		}
	}
	dir := t.TempDir()
	ahead := e2etest.WriteFile(t, dir, "clock", "17520h")
	pass := e2etest.WriteFile(t, dir, "passphrase", "correct horse battery staple of tests")
	for path, want := range map[string]time.Duration{e2etest.Sigstack(t): 365 * day, program: 3 * 365 * day} {
		stack := filepath.Join(dir, filepath.Base(filepath.Dir(path)))
		e2etest.MustRun(t, []string{testClock + "=" + ahead}, path, "init", "--dir", stack, "--url", "http://localhost:8080",
			"--listen", "127.0.0.1:8080", "--passphrase-file", pass)
		var root metadata
		decode(t, filepath.Join(stack, "tuf", "1.root.json"), &root)
		if left := time.Until(root.Signed.Expires); (left - want).Abs() > time.Hour {
			t.Errorf("%s: root is good for %v, want %v", path, left, want)
		}
	}
	if r := e2etest.Run(t, []string{testClock + "=" + filepath.Join(dir, "none")}, program, "config", "check", "--dir", filepath.Join(dir, "x")); r.Code == 0 {
		t.Errorf("a clock that is not there: got %+v, want a failure", r)
	}
}
