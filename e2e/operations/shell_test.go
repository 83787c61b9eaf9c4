package operations

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
)

// Bounds of a command, and of one that is repeated.
const (
	commandWithin = 2 * time.Minute
	untilWithin   = time.Minute
	untilEach     = 200 * time.Millisecond
)

// shell is the bash of one page.
type shell struct {
	t     *testing.T
	page  string
	dir   string // where it works
	notes string // where its files are that no page sees
	in    io.WriteCloser
	codes chan int       // of the commands, in their order; closed when bash ends
	n     int            // commands so far
	url   string         // of what was started last
	pid   string         // likewise; "": nothing runs
	stack *e2etest.Stack // likewise, of two replicas; nil: there are none
	swaps []string       // for a strings.Replacer
}

// newShell starts bash in an empty directory, and ends it with the test.
func newShell(t *testing.T, page string) *shell {
	t.Helper()
	base, err := os.MkdirTemp("", "ops-") // t.TempDir is too long for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	s := &shell{t: t, page: page, dir: filepath.Join(base, "w"), notes: filepath.Join(base, "n"), codes: make(chan int)}
	bin := filepath.Join(base, "bin")
	for _, dir := range []string{s.dir, s.notes, bin} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(e2etest.Sigstack(t), filepath.Join(bin, "sigstack")); err != nil {
		t.Fatal(err)
	}
	if e2etest.OnReplicas() {
		for _, rule := range otherwise {
			s.swap(rule)
		}
	}
	path := strings.Join([]string{bin, filepath.Dir(e2etest.Client(t, "cosign-v3")), os.Getenv("PATH")}, ":")
	s.start(exec.Command("bash", "--noprofile", "--norc"), e2etest.Environment(t, "PATH="+path, "LC_ALL=C.UTF-8"))
	return s
}

// otherwise is what two replicas print in place of what one process does, with the
// reason: all else is the same.
var otherwise = []string{
	// Each replica tries a publication by signing, which is another entry or two.
	"trust ends for 2 entries => trust ends for ... entries",
	"no certificate\nread and verified => no certificate\n...\nread and verified",
}

func (s *shell) start(bash *exec.Cmd, env []string) {
	bash.Dir, bash.Env = s.dir, env
	bash.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // it ends with all that it started
	var stderr bytes.Buffer
	bash.Stderr = &stderr
	in, err1 := bash.StdinPipe()
	out, err2 := bash.StdoutPipe()
	if err := errors.Join(err1, err2, bash.Start()); err != nil {
		s.t.Fatal(err)
	}
	s.in = in
	go func() {
		defer close(s.codes)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			code, err := strconv.Atoi(lines.Text())
			if err != nil {
				return
			}
			s.codes <- code
		}
	}()
	s.t.Cleanup(func() {
		s.stop()
		_ = s.in.Close()
		_ = syscall.Kill(-bash.Process.Pid, syscall.SIGKILL)
		for range s.codes { // until bash's end
		}
		_ = bash.Wait()
		if stderr.Len() > 0 {
			s.t.Errorf("%s: bash says: %s", s.page, stderr.String())
		}
	})
}

// run executes a command and returns what it printed, and how it exited.
func (s *shell) run(command, input string) (printed string, code int) {
	s.t.Helper()
	s.n++
	name := filepath.Join(s.notes, strconv.Itoa(s.n))
	s.write(name+".sh", command+"\n")
	s.write(name+".in", input)
	// A command's own jobs keep its output, so that they cannot write into the codes.
	if _, err := fmt.Fprintf(s.in, ". %[1]s.sh <%[1]s.in >%[1]s.out 2>&1; echo $?\n", name); err != nil {
		s.t.Fatalf("%s: bash has ended: %v", s.page, err)
	}
	select {
	case code, ok := <-s.codes:
		if !ok {
			s.t.Fatalf("%s: bash ended in: %s", s.page, command)
		}
		return e2etest.ReadFile(s.t, name+".out"), code
	case <-time.After(commandWithin):
		s.t.Fatalf("%s: not done within %v: %s\n%s", s.page, commandWithin, command, e2etest.ReadFile(s.t, name+".out"))
	}
	return "", 0
}

func (s *shell) write(path, content string) {
	s.t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// launch starts sigstack in the background and waits until it is ready.
func (s *shell) launch(args string) {
	s.t.Helper()
	if e2etest.OnReplicas() {
		s.replicas(strings.Fields(args))
		return
	}
	name := filepath.Join(s.notes, "launched-"+strconv.Itoa(s.n))
	s.write(name+".ready", "") // the shell may take its time to open them
	s.write(name+".log", "")
	if printed, code := s.run("sigstack "+args+" >"+name+".ready 2>"+name+".log & LAUNCHED=$!", ""); code != 0 {
		s.t.Fatalf("%s: start %s: exit %d\n%s", s.page, args, code, printed)
	}
	s.pid = s.value("LAUNCHED")
	for deadline := time.Now().Add(e2etest.ReadyWithin); ; time.Sleep(untilEach) {
		line, _, whole := strings.Cut(e2etest.ReadFile(s.t, name+".ready"), "\n")
		if url, ok := strings.CutPrefix(line, "ready "); ok && whole {
			s.url = url
			s.run("export URL="+url, "")
			return
		}
		_, ended := s.run("kill -0 "+s.pid, "")
		if ended != 0 || time.Now().After(deadline) {
			s.pid = ""
			s.t.Fatalf("%s: start %s: it did not get ready:\n%s", s.page, args, e2etest.ReadFile(s.t, name+".log"))
		}
	}
}

// replicas starts two replicas on a database in place of one process: the one in the
// directory that is named leads.
func (s *shell) replicas(args []string) {
	s.t.Helper()
	verb, dir := args[0], ""
	var rest []string
	for i := 1; i < len(args); i++ {
		switch args[i] {
		case "--dir":
			i++
			dir = filepath.Join(s.dir, args[i])
		case "--passphrase-file":
			i++
			rest = append(rest, "--passphrase-file", filepath.Join(s.dir, args[i]))
		default:
			rest = append(rest, args[i])
		}
	}
	if verb == "up" {
		s.stack = e2etest.Start(s.t, dir, rest...)
	} else { // what init has made
		database := e2etest.DatabaseURL(s.t)
		e2etest.MustRun(s.t, nil, e2etest.Sigstack(s.t), "db", "copy", "--dir", dir, "--to-database", database)
		s.stack = e2etest.ServeReplicas(s.t, dir, database, rest...)
	}
	s.url = s.stack.URL
	s.run("export URL="+s.url, "")
}

// stop ends what launch started.
func (s *shell) stop() {
	s.t.Helper()
	if s.stack != nil {
		s.stack.Stop()
		s.stack = nil
	}
	if s.pid != "" {
		s.run("kill "+s.pid+"; wait "+s.pid, "")
		s.pid = ""
	}
}

// value is that of a variable.
func (s *shell) value(name string) string {
	s.t.Helper()
	switch name {
	case "DIR":
		return s.dir
	case "URL":
		return s.url
	}
	printed, _ := s.run(`printf %s "$`+name+`"`, "")
	return printed
}

// swap makes one text stand for another from here on.
func (s *shell) swap(rule string) {
	from, to, _ := strings.Cut(rule, " => ")
	s.swaps = append([]string{strings.TrimSpace(from), os.Expand(strings.TrimSpace(to), s.value)}, s.swaps...)
}

func (s *shell) swapped(text string) string { return strings.NewReplacer(s.swaps...).Replace(text) }
