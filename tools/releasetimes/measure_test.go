package main

import (
	"bytes"
	"crypto/sha256"
	"os"
	"strings"
	"testing"
	"time"
)

func TestCommand(t *testing.T) {
	c, err := command(t.Context(), "sh", "-c", "sleep 0.02")
	if err != nil {
		t.Fatal(err)
	}
	if c.wall < 20*time.Millisecond || c.memory < 1<<18 || c.cpu >= c.wall {
		t.Errorf("got %+v, want at least 20 ms, mostly waited for, and the memory of a shell", c)
	}
	if _, err := command(t.Context(), "sh", "-c", "echo why; exit 3"); err == nil || !strings.Contains(err.Error(), "why") {
		t.Errorf("got %v, want what the command said", err)
	}
}

// TestServed has a stack that works while a command runs: this process itself.
func TestServed(t *testing.T) {
	m := &measurement{stackPID: os.Getpid()}
	c, err := m.served(func() (cost, error) {
		for start := time.Now(); time.Since(start) < 100*time.Millisecond; {
			sha256.Sum256(make([]byte, 1<<16))
		}
		return cost{wall: time.Second}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.wall != time.Second || c.stack <= 0 || c.registry != 0 {
		t.Errorf("got %+v, want the command's own wall time, CPU of the stack, and none of a registry that is not told", c)
	}
	m.stackPID = 1 << 30
	if _, err := m.served(func() (cost, error) { return cost{}, nil }); err == nil {
		t.Error("a process that is not there was measured")
	}
}

func TestTable(t *testing.T) {
	of := func(sign, verify, loop time.Duration) round {
		return round{sign: cost{wall: sign, memory: 5e6}, verify: cost{wall: verify, memory: 7e6}, loop: cost{wall: loop}}
	}
	rounds := []round{of(3*time.Second, time.Second, 40*time.Second), of(time.Second, time.Second, 60*time.Second), of(4*time.Second, time.Second, 20*time.Second)}
	var out bytes.Buffer
	if err := (&measurement{files: 500, images: 40, out: &out}).print(rounds); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"500 files, 40 images, 3 rounds",
		"3.00 s (1.00 to 4.00)", "40.00 s (20.00 to 60.00)", "10.00 times (4.00 to 30.00)", "7.00 MB (7.00 to 7.00)",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, out.String())
		}
	}
}
