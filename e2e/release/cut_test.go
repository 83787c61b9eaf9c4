package release

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
	"sigstack/internal/oci"
	"sigstack/internal/release"
)

// What the release holds. Below the indexes among the images are five more manifests.
const (
	files     = 60
	images    = 7
	manifests = 12
	// All signatures: of files, of both checksum files, of each manifest by tag, and of each
	// image as a referrer, which serves below its index, too.
	signatures = files + 2 + manifests + images
	// Few at once, so that runs do not get far while they are cut off.
	workers = 3
	// How many are under way when a run is cut off, at most.
	atOnce = 2 * workers
)

// cuts are the ways to interrupt a run, in turn.
var cuts = []struct {
	name string
	cut  func(*site, *attempt)
}{
	{"kill -9", func(_ *site, a *attempt) { a.signal(syscall.SIGKILL) }},
	{"network cut", func(s *site, _ *attempt) { s.network.cut() }},
	{"SIGINT", func(_ *site, a *attempt) { a.signal(syscall.SIGINT) }},
	{"registry answers 500", func(s *site, _ *attempt) {
		s.registry.Inject(e2etest.Faults{Fault: e2etest.Answers500, Chance: 0.7})
	}},
	{"registry loses answers", func(s *site, _ *attempt) {
		s.registry.Inject(e2etest.Faults{Fault: e2etest.CutsAfter, Chance: 0.7})
	}},
}

// TestReleaseCut interrupts runs at random moments. The last one completes what they
// began; no half-signed release verifies before; every entry that they made in the log is
// explained by the journal; and in the end strangers' clients verify everything.
func TestReleaseCut(t *testing.T) {
	s := newSite(t)
	before := len(entriesOf(t, s.stack)) // of what a test stack signs to try itself
	cut := 0
	for i := range 2 * len(cuts) {
		if !s.cutRun(t, cuts[i%len(cuts)].name, cuts[i%len(cuts)].cut) {
			break
		}
		cut++
		s.refused(t)
	}
	if cut < len(cuts) {
		t.Fatalf("only %d runs were cut off, want each of %d ways", cut, len(cuts))
	}
	report := s.signed(t)
	s.accepted(t)
	lines := s.journal(t)
	entries := entriesOf(t, s.stack)[before:]
	wantExplained(t, entries, lines)
	if len(entries) < signatures || len(report.Images) != manifests {
		t.Errorf("%d entries in the log and %d images, want %d or more and %d", len(entries), len(report.Images), signatures, manifests)
	}
	t.Logf("%d runs cut off; %d lines in the journal, %d entries in the log for %d signatures; the last run signed %d files", cut, len(lines), len(entries), signatures, report.Signed)

	again := s.signed(t)
	for _, image := range again.Images {
		for _, signature := range image.Signatures {
			if signature.How != release.Skipped {
				t.Errorf("%s is %s again, though all is signed", image.Image, signature.How)
			}
		}
	}
	if n := len(entriesOf(t, s.stack)) - before; n != len(entries) || again.Signed > 0 {
		t.Errorf("%d entries and %d files after a run with nothing to do, want %d and none", n, again.Signed, len(entries))
	}
	s.judgedByCosign(t, again)
}

// site is a stack, a registry behind a network, and a release.
type site struct {
	stack    *e2etest.Stack
	registry *e2etest.FaultyRegistry
	network  *network
	work     string
	tree     string
	env      []string
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{stack: e2etest.Start(t, t.TempDir()), work: t.TempDir()}
	s.registry = e2etest.FaultsInFrontOf(t, e2etest.PlainRegistry(t))
	s.network = networkTo(t, s.registry.Address)
	s.env = []string{s.stack.TokenEnv(t)}
	e2etest.MustRun(t, nil, e2etest.Sigstack(t), "release", "sample", s.work, "--version", "v0.1.0", "--files", fmt.Sprint(files),
		"--images", fmt.Sprint(images), "--registry", s.network.address+"/k8s")
	var err error
	if s.tree, err = release.Locate(s.work); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *site) journal(t *testing.T) []release.JournalLine {
	t.Helper()
	lines, err := release.ReadJournal(s.tree + release.JournalSuffix)
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// contentDigest is the digest by which a log names what a line's signature is of.
func contentDigest(l release.JournalLine) string {
	if l.Storage == oci.Referrer {
		return fmt.Sprintf("%x", sha256.Sum256(l.Payload))
	}
	return l.SHA256
}

// attempt is a run of release sign under way.
type attempt struct {
	t      *testing.T
	cmd    *exec.Cmd
	stderr bytes.Buffer
	done   chan error
}

func (a *attempt) signal(signal syscall.Signal) {
	a.t.Helper()
	if err := a.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		a.t.Fatal(err)
	}
}

// cutRun begins a run and cuts it off after a random number of signatures. It reports
// false when the run was done before.
func (s *site) cutRun(t *testing.T, name string, cut func(*site, *attempt)) bool {
	t.Helper()
	a := &attempt{t: t, done: make(chan error, 1)}
	a.cmd = exec.Command(e2etest.Sigstack(t), append(s.signArgs(), "--workers", fmt.Sprint(workers))...) // waited for below
	a.cmd.Env, a.cmd.Stderr = e2etest.Environment(t, s.env...), &a.stderr
	until := len(s.journal(t)) + 1 + rand.IntN(4)
	if until > signatures-atOnce {
		return false // it might complete before it is cut off
	}
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { a.done <- a.cmd.Wait() }()
	ticks := time.NewTicker(time.Millisecond)
	defer ticks.Stop()
	for len(s.journal(t)) < until {
		select {
		case err := <-a.done:
			if err != nil {
				t.Fatalf("release sign: %v\n%s", err, &a.stderr)
			}
			return false
		case <-ticks.C:
		}
	}
	cut(s, a)
	err := <-a.done
	s.network.mend()
	s.registry.Heal()
	if err == nil {
		return false
	}
	t.Logf("%s after %d signatures: %v: %s", name, len(s.journal(t)), err, lastLine(a.stderr.String()))
	if ended := strings.Contains(name, "9") || strings.Contains(name, "SIG"); !ended {
		s.wantAdvice(t, name, a.stderr.String())
	}
	return true
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// wantAdvice demands an error that names registry and image, and says what to do.
func (s *site) wantAdvice(t *testing.T, name, stderr string) {
	t.Helper()
	for _, want := range []string{"registry " + s.network.address, s.network.address + "/k8s/", "run the same command again"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("%s: got %q, want %q in it", name, stderr, want)
		}
	}
}

func (s *site) signArgs() []string {
	return []string{"release", "sign", s.work, "--client", s.stack.Kit("")}
}

// signed completes the signing.
func (s *site) signed(t *testing.T) (report release.SignReport) {
	t.Helper()
	out := e2etest.MustRun(t, s.env, e2etest.Sigstack(t), append(s.signArgs(), "--output", "json")...)
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatal(err)
	}
	return report
}

func (s *site) verify(t *testing.T) e2etest.Result {
	t.Helper()
	args := append([]string{"release", "verify", s.work, "--client", s.stack.Kit("")}, s.stack.IdentityArgs()...)
	return e2etest.Run(t, nil, e2etest.Sigstack(t), args...)
}

func (s *site) refused(t *testing.T) {
	t.Helper()
	if r := s.verify(t); r.Code != 1 || !strings.Contains(r.Stdout, "unsigned") {
		t.Fatalf("a half-signed release: verify exits with %d, want 1 and what is unsigned\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
}

func (s *site) accepted(t *testing.T) {
	t.Helper()
	e2etest.WantAccepted(t, "release verify", s.verify(t))
}
