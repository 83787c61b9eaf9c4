package usage

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// line is a stat of a process that used 12.34 s and 0.66 s.
func line(command, start string) string {
	return "42 (" + command + ") S 1 42 42 0 -1 4194560 9 9 9 9 1234 66 7777 8888 20 0 5 0 " + start + " 1 2 3"
}

func TestWatch(t *testing.T) {
	proc := t.TempDir()
	write := func(text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(proc, "42"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(proc, "42", "stat"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(line("an (odd) name", "100"))
	p, err := watch(proc, 42, false)
	if err != nil || p.Command != "an (odd) name" {
		t.Fatalf("got %+v, %v", p, err)
	}
	write(strings.Replace(line("x", "100"), "1234 66", "1300 100", 1))
	if used, err := p.Used(); err != nil || used != time.Second {
		t.Errorf("got %v, %v, want 1s", used, err)
	}
	if err := p.Mark(); err != nil {
		t.Fatal(err)
	}
	if used, err := p.Used(); err != nil || used != 0 {
		t.Errorf("after Mark: got %v, %v, want 0", used, err)
	}
	write(line("x", "101"))
	if _, err := p.Used(); err == nil || !strings.Contains(err.Error(), "another one") {
		t.Errorf("another process: got %v", err)
	}
	for _, bad := range []string{"", "42 x S 1", "42 (x) S 1 2", strings.Replace(line("x", "100"), "1234", "-1", 1)} {
		write(bad)
		if _, err := p.Used(); err == nil {
			t.Errorf("%q: got no error", bad)
		}
	}
	if err := os.RemoveAll(proc); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Used(); err == nil {
		t.Error("ended: got no error")
	}
}

// TestWatchFamily counts children that run and those that ended, and nobody else's.
func TestWatchFamily(t *testing.T) {
	proc := t.TempDir()
	write := func(pid, ppid string, used, ended int) {
		t.Helper()
		text := fmt.Sprintf("%s (x) S %s 42 42 0 -1 4194560 9 9 9 9 %d 0 %d 0 20 0 5 0 100 1 2 3", pid, ppid, used, ended)
		if err := os.MkdirAll(filepath.Join(proc, pid), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(proc, pid, "stat"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("42", "1", 100, 0)
	p, err := watch(proc, 42, true)
	if err != nil {
		t.Fatal(err)
	}
	write("43", "42", 200, 50)
	write("44", "43", 4000, 0)
	write("45", "1", 8000, 0)
	if used, err := p.Used(); err != nil || used != 2500*time.Millisecond {
		t.Errorf("with a child: got %v, %v, want 2.5s", used, err)
	}
	if err := os.RemoveAll(filepath.Join(proc, "43")); err != nil {
		t.Fatal(err)
	}
	write("42", "1", 100, 260)
	if used, err := p.Used(); err != nil || used != 2600*time.Millisecond {
		t.Errorf("after the child's end: got %v, %v, want 2.6s", used, err)
	}
}

// TestAgree holds /proc against what the system says of ourselves.
func TestAgree(t *testing.T) {
	p, err := Watch(os.Getpid())
	if err != nil {
		t.Skipf("no /proc here: %v", err)
	}
	before, err := Self()
	if err != nil {
		t.Fatal(err)
	}
	used := time.Duration(0)
	for block := make([]byte, 1<<20); used < 300*time.Millisecond; {
		sha256.Sum256(block)
		now, err := Self()
		if err != nil {
			t.Fatal(err)
		}
		used = now - before
	}
	got, err := p.Used()
	if err != nil || got < used-5*tick || got > used+30*tick {
		t.Errorf("got %v, %v, want about %v", got, err, used)
	}
}

func TestThisMachine(t *testing.T) {
	if m := ThisMachine(); m.Cores < 1 || m.GOMAXPROCS < 1 || !strings.HasPrefix(m.Go, "go") && !strings.HasPrefix(m.Go, "devel") {
		t.Errorf("got %+v", m)
	}
	if got := cpuModel("processor\t: 0\nmodel name\t: Fast: 3 GHz\n"); got != "Fast: 3 GHz" {
		t.Errorf("got %q", got)
	}
}

// FuzzParseStat: what is read stands in the text, and no time is negative.
func FuzzParseStat(f *testing.F) {
	f.Add(line("a) b", "100"))
	f.Add("1 () ) S")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseStat([]byte(text))
		if err != nil {
			return
		}
		if s.cpu < 0 || s.cpu%tick != 0 || !strings.Contains(text, "("+s.command+")") || !strings.Contains(text, fmt.Sprint(s.start)) {
			t.Errorf("%q: got %+v", text, s)
		}
	})
}
