package e2e

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
	"sigstack/internal/release"
)

const (
	releaseFiles = 150
	releaseKills = 6
)

// TestReleaseSignKilled kills and interrupts runs at random moments. The last one
// completes what they began; no half-signed tree verifies before; and every entry that
// they made in the log is explained by the journal.
func TestReleaseSignKilled(t *testing.T) {
	s := e2etest.Start(t, t.TempDir())
	before := len(signedEntries(t, s)) // of what a test stack signs to try itself
	work := t.TempDir()
	e2etest.MustRun(t, nil, e2etest.Sigstack(t), "release", "sample", work, "--version", "v0.1.0", "--files", fmt.Sprint(releaseFiles))
	tree, err := release.Locate(work)
	if err != nil {
		t.Fatal(err)
	}
	env := e2etest.Environment(t, s.TokenEnv(t))
	verify := append([]string{"release", "verify", work, "--client", s.Kit("")}, s.IdentityArgs()...)
	cut := 0
	for i := range releaseKills {
		signal := syscall.SIGKILL
		if i%2 == 1 {
			signal = syscall.SIGINT
		}
		if !cutSigning(t, s, env, work, signal) {
			break
		}
		cut++
		if r := e2etest.Run(t, nil, e2etest.Sigstack(t), verify...); r.Code != 1 {
			t.Fatalf("a half-signed release: verify exits with %d, want 1\n%s%s", r.Code, r.Stdout, r.Stderr)
		}
	}
	if cut == 0 {
		t.Fatal("every run was over before it was cut off")
	}
	var report release.SignReport
	out := e2etest.MustRun(t, []string{s.TokenEnv(t)}, e2etest.Sigstack(t), "release", "sign", work, "--client", s.Kit(""), "--output", "json")
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatal(err)
	}
	e2etest.MustRun(t, nil, e2etest.Sigstack(t), verify...)

	lines, err := release.ReadJournal(tree + release.JournalSuffix)
	if err != nil {
		t.Fatal(err)
	}
	entries := signedEntries(t, s)[before:]
	for _, signature := range entries {
		if !slices.ContainsFunc(lines, func(l release.JournalLine) bool { return string(l.Signature) == signature }) {
			t.Errorf("the log has signature %x, which the journal does not explain", signature)
		}
	}
	if len(entries) < releaseFiles || report.Resumed > report.Signed {
		t.Errorf("%d entries in the log and %+v, want one for each file at least", len(entries), report)
	}
	t.Logf("%d runs cut off; %d lines in the journal, %d entries in the log; the last run signed %d, %d of them with signatures made before",
		cut, len(lines), len(entries), report.Signed, report.Resumed)
}

// cutSigning begins a run and ends it by a signal in the middle. It reports false when
// the run was done before.
func cutSigning(t *testing.T, s *e2etest.Stack, env []string, work string, signal syscall.Signal) bool {
	t.Helper()
	cmd := exec.Command(e2etest.Sigstack(t), "release", "sign", work, "--client", s.Kit("")) // ended below
	cmd.Env = env
	bundles := func() int {
		n := 0
		_ = filepath.WalkDir(work, func(path string, _ os.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(path, ".sigstore.json") {
				n++
			}
			return nil // a file may go while it is looked at
		})
		return n
	}
	until := bundles() + 1 + rand.IntN(releaseFiles/releaseKills)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for bundles() < until {
		select {
		case err := <-done:
			if err != nil {
				t.Fatalf("release sign: %v", err)
			}
			return false
		case <-time.After(time.Millisecond):
		}
	}
	if err := cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	return <-done != nil
}

// signedEntries are the signatures of all entries in the log that are by a certificate.
func signedEntries(t *testing.T, s *e2etest.Stack) (signatures []string) {
	t.Helper()
	for index := 0; ; index++ {
		status, answer := e2etest.Get(t, fmt.Sprintf("%s/api/v1/log/entries?logIndex=%d", s.URL, index))
		if status == http.StatusNotFound {
			return signatures
		}
		var found map[string]struct {
			Body []byte `json:"body"`
		}
		if err := json.Unmarshal(answer, &found); err != nil || status != http.StatusOK {
			t.Fatalf("entry %d: %d %s", index, status, answer)
		}
		for _, e := range found {
			var entry struct {
				Spec struct {
					Signature struct {
						Content   []byte `json:"content"`
						PublicKey struct {
							Content []byte `json:"content"`
						} `json:"publicKey"`
					} `json:"signature"`
				} `json:"spec"`
			}
			if err := json.Unmarshal(e.Body, &entry); err != nil {
				t.Fatal(err)
			}
			if block, _ := pem.Decode(entry.Spec.Signature.PublicKey.Content); block != nil && block.Type == "CERTIFICATE" {
				signatures = append(signatures, string(entry.Spec.Signature.Content))
			}
		}
	}
}
