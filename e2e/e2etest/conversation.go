package e2etest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
)

// Conversation is a program under way that waits for somebody: for a login in
// a browser, or for an answer on its terminal.
type Conversation struct {
	t        *testing.T
	cmd      *exec.Cmd
	terminal *os.File      // the test's end; nil without a terminal
	done     chan struct{} // closed when the program has ended

	mu      sync.Mutex
	output  bytes.Buffer
	changed chan struct{} // closed and replaced at each output
}

// Converse starts a program as a script does: nothing on its standard input,
// and its outputs read together.
func Converse(t *testing.T, env []string, name string, args ...string) *Conversation {
	t.Helper()
	c := newConversation(t, env, name, args)
	c.cmd.Stdout, c.cmd.Stderr = c, c
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.done)
		_ = c.cmd.Wait()
	}()
	return c
}

// ConverseOnTerminal is Converse for a person: input and outputs are a terminal.
func ConverseOnTerminal(t *testing.T, env []string, name string, args ...string) *Conversation {
	t.Helper()
	c := newConversation(t, env, name, args)
	var err error
	if c.terminal, err = pty.Start(c.cmd); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.done)
		// Linux answers EIO, not the end of file, once the program has ended.
		_, _ = io.Copy(c, c.terminal)
		_ = c.cmd.Wait()
		_ = c.terminal.Close()
	}()
	return c
}

func newConversation(t *testing.T, env []string, name string, args []string) *Conversation {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), runWithin)
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = Environment(t, env...)
	cmd.WaitDelay = time.Second // for children that hold on to its outputs
	c := &Conversation{t: t, cmd: cmd, done: make(chan struct{}), changed: make(chan struct{})}
	t.Cleanup(func() {
		cancel()
		if cmd.Process != nil {
			<-c.done
		}
		if name == program {
			WantNoLeak(t, "what sigstack "+strings.Join(args, " ")+" said", []byte(c.Output()))
		}
		if t.Failed() {
			t.Logf("%s said:\n%s", filepath.Base(name), c.Output())
		}
	})
	return c
}

// Write takes the program's output.
func (c *Conversation) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.changed)
	c.changed = make(chan struct{})
	return c.output.Write(p)
}

// Output is all that the program said until now.
func (c *Conversation) Output() string {
	said, _ := c.read()
	return said
}

func (c *Conversation) read() (said string, changed <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.output.String(), c.changed
}

// Hear waits until the program says what pattern describes, and returns the
// match and its groups.
func (c *Conversation) Hear(pattern string) []string {
	c.t.Helper()
	re := regexp.MustCompile(pattern)
	deadline := time.After(ReadyWithin)
	for {
		said, changed := c.read()
		if match := re.FindStringSubmatch(said); match != nil {
			return match
		}
		select {
		case <-changed:
		case <-c.done:
			if match := re.FindStringSubmatch(c.Output()); match != nil {
				return match
			}
			c.t.Fatalf("%s ended without saying %s", filepath.Base(c.cmd.Path), pattern)
		case <-deadline:
			c.t.Fatalf("%s does not say %s", filepath.Base(c.cmd.Path), pattern)
		}
	}
}

// Say types text on the program's terminal.
func (c *Conversation) Say(text string) {
	c.t.Helper()
	if _, err := c.terminal.WriteString(text); err != nil {
		c.t.Fatalf("type on the terminal: %v", err)
	}
}

// Interrupt is the user's Ctrl-C.
func (c *Conversation) Interrupt() {
	c.t.Helper()
	if err := c.cmd.Process.Signal(syscall.SIGINT); err != nil && !errors.Is(err, os.ErrProcessDone) {
		c.t.Fatalf("interrupt: %v", err)
	}
}

// End waits until the program has ended and returns its exit code; -1 is a
// signal.
func (c *Conversation) End() int {
	c.t.Helper()
	select {
	case <-c.done:
		return c.cmd.ProcessState.ExitCode()
	case <-time.After(ReadyWithin):
		c.t.Fatalf("%s has not ended after %v", filepath.Base(c.cmd.Path), ReadyWithin)
		return 0
	}
}

// MustEnd is End for what has to succeed.
func (c *Conversation) MustEnd() {
	c.t.Helper()
	if code := c.End(); code != 0 {
		c.t.Fatalf("%s: exit %d", filepath.Base(c.cmd.Path), code)
	}
}
