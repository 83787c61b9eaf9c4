package promote

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
	"sigstack/internal/release"
)

const (
	killedImages = 6
	kills        = 4
)

// TestPromoteKilled kills runs at random moments, and lets the registry fail in one. No
// tag is there before its image is signed, the last run completes what the others began,
// and every entry that they made in the log is explained by the journal.
func TestPromoteKilled(t *testing.T) {
	t.Parallel()
	registries(t, func(t *testing.T, registry string) {
		s := newSite(t) // whose log nobody else writes
		faulty := e2etest.FaultsInFrontOf(t, registry)
		registry = faulty.Address
		images := map[string]string{}
		var refs []string
		for i := range killedImages {
			ref := fmt.Sprintf("%s/staging/app%d:v1", registry, i)
			images[ref], _ = pushIndex(t, ref)
			refs = append(refs, ref)
		}
		s.sign(t, staging, refs...)
		list, to := s.list(t, images), registry+"/prod"
		before := s.entries(t)

		// Some runs end while images are copied, some while they are signed.
		killed := 0
		for i := range kills {
			faulty.Inject(e2etest.Faults{After: 1 << 30}) // none, but requests are counted
			requests, lines := 150+rand.IntN(300), journalLines(t, list)+1+rand.IntN(4)
			enough := func() bool { return faulty.Requests() > requests }
			if i%2 == 1 {
				enough = func() bool { return journalLines(t, list) >= lines }
			}
			if !s.killPromotion(t, list, to, enough) {
				break
			}
			killed++
			for ref := range images {
				if promoted := strings.Replace(ref, "/staging/", "/prod/", 1); tagged(t, promoted) {
					if r := s.verify(t, production, promoted); r.Code != 0 {
						t.Fatalf("%s has its tag and is not signed: %s", promoted, r.Stderr)
					}
				}
			}
		}
		if killed == 0 {
			t.Fatal("every run was over before it was killed")
		}
		faulty.Inject(e2etest.Faults{Fault: e2etest.CutsAfter, Chance: 0.02})
		failed := s.promote(t, list, to)
		faulty.Heal()

		report := s.mustPromote(t, list, to)
		resumed := 0
		for _, done := range report.Images {
			resumed += done.Resumed
			if r := s.verify(t, production, done.To.Ref); r.Code != 0 || !strings.Contains(r.Stdout, ": 2 of ") {
				t.Errorf("%s: exit %d\n%s%s", done.To.Ref, r.Code, r.Stdout, r.Stderr)
			}
		}
		lines, err := release.ReadJournal(report.Journal)
		if err != nil {
			t.Fatal(err)
		}
		explained := map[string]bool{}
		for _, l := range lines {
			explained[string(l.Signature)] = true
		}
		entries := s.entries(t)[len(before):]
		for _, signature := range entries {
			if !explained[signature] {
				t.Errorf("the log has signature %x, which the journal does not explain", signature)
			}
		}
		if len(entries) < 3*killedImages {
			t.Errorf("%d entries in the log, want three for each image at least", len(entries))
		}
		t.Logf("%d runs killed, one with a registry that cut connections (exit %d); %d lines in the journal, %d entries in the log; the last run resumed %d signatures",
			killed, failed.Code, len(lines), len(entries), resumed)
	})
}

// journalLines counts the signatures in a promotion's journal, where there is one.
func journalLines(t *testing.T, list string) int {
	t.Helper()
	data, err := os.ReadFile(strings.TrimSuffix(list, ".images") + ".promotion.jsonl")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return bytes.Count(data, []byte("\n"))
}

// killPromotion begins a run and kills it when enough says so. It reports false when the
// run was done before.
func (s *site) killPromotion(t *testing.T, list, to string, enough func() bool) bool {
	t.Helper()
	cmd := exec.Command(e2etest.Sigstack(t), s.promoteArgs(list, to)...) // ended below
	cmd.Env = e2etest.Environment(t, s.tokenEnv(t, production))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for !enough() {
		select {
		case err := <-done:
			if err != nil {
				t.Fatalf("release promote: %v", err)
			}
			return false
		case <-time.After(time.Millisecond):
		}
	}
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	return <-done != nil
}

// entries are the signatures of all entries in the log that are by a certificate.
func (s *site) entries(t *testing.T) (signatures []string) {
	t.Helper()
	for _, body := range e2etest.LogBodies(t, s.Stack) {
		signatures = append(signatures, entrySignatures(t, body)...)
	}
	return signatures
}

// entrySignatures reads those of a hashedrekord or a dsse entry.
func entrySignatures(t *testing.T, body []byte) (signatures []string) {
	t.Helper()
	var entry struct {
		Spec struct {
			Signature struct {
				Content   []byte `json:"content"`
				PublicKey struct {
					Content []byte `json:"content"`
				} `json:"publicKey"`
			} `json:"signature"`
			Signatures []struct {
				Signature []byte `json:"signature"`
				Verifier  []byte `json:"verifier"`
			} `json:"signatures"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(body, &entry); err != nil {
		t.Fatal(err)
	}
	add := func(signature, verifier []byte) {
		if block, _ := pem.Decode(verifier); block != nil && block.Type == "CERTIFICATE" {
			signatures = append(signatures, string(signature))
		}
	}
	add(entry.Spec.Signature.Content, entry.Spec.Signature.PublicKey.Content)
	for _, s := range entry.Spec.Signatures {
		add(s.Signature, s.Verifier)
	}
	return signatures
}
