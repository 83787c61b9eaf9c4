package e2etest

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is one `sigstack up`.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	logs *bytes.Buffer // its stderr; read after it ended
	done chan struct{} // closed when it was waited for

	ended sync.Once
}

// variant is a build of sigstack, and what its environment has besides.
type variant struct {
	path string
	env  []string
	verb string // "up", if empty

	database string // URL; empty: of a fresh one
}

// launch starts `sigstack up`, or serve, on dir and waits until it is ready.
func (g variant) launch(t *testing.T, dir string, args ...string) (_ *process, url string, err error) {
	cmd := exec.Command(g.path, append([]string{cmp.Or(g.verb, "up"), "--dir", dir}, args...)...) // ended by end
	if len(g.env) > 0 {
		cmd.Env = append(os.Environ(), g.env...)
	}
	p := &process{t: t, cmd: cmd, logs: new(bytes.Buffer), done: make(chan struct{})}
	cmd.Stderr = p.logs
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, "", err
	}
	if err := cmd.Start(); err != nil {
		return nil, "", err
	}
	t.Cleanup(func() { p.end(syscall.SIGTERM) })
	first := make(chan string, 1)
	go func() {
		defer close(p.done)
		r := bufio.NewReader(stdout)
		line, _ := r.ReadString('\n')
		first <- line
		_, _ = io.Copy(io.Discard, r)
		_ = cmd.Wait()
	}()
	select {
	case line := <-first:
		url, ok := strings.CutPrefix(strings.TrimSpace(line), "ready ")
		if !ok {
			<-p.done
			return nil, "", fmt.Errorf("sigstack up did not get ready: %q, stderr:\n%s", line, p.logs)
		}
		return p, url, nil
	case <-time.After(ReadyWithin):
		p.end(syscall.SIGKILL)
		return nil, "", fmt.Errorf("sigstack up is not ready after %v", ReadyWithin)
	}
}

// end sends a signal to the process if it still runs, waits for its end, and looks for
// secrets in what it said.
func (p *process) end(sig syscall.Signal) {
	p.t.Helper()
	p.ended.Do(func() {
		p.signal(sig)
		if p.t.Failed() {
			p.t.Logf("stderr of sigstack up:\n%s", p.logs)
		}
		WantNoLeak(p.t, "stderr of sigstack up", p.logs.Bytes())
	})
}

func (p *process) signal(sig syscall.Signal) {
	select {
	case <-p.done:
		return
	default:
	}
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Errorf("signal: %v", err)
	}
	select {
	case <-p.done:
	case <-time.After(ReadyWithin):
		p.t.Errorf("sigstack up did not end within %v of signal %v", ReadyWithin, sig)
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}
