package negatives

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"sigstack/e2e/e2etest"
)

// nodeJudge asks sigstore-js, whose start takes longer than a hundred verdicts:
// one process judges all cases.
type nodeJudge struct {
	mu      sync.Mutex // held for a question and its answer
	answers *bufio.Scanner
	ask     *json.Encoder
}

// question is a case as testdata/judge.mjs takes it.
type question struct {
	// Of a signature: paths of files, whom it must be by, and how many timestamps
	// it must have, of the log and of timestamp authorities.
	Bundle      string `json:"bundle,omitempty"`
	Artifact    string `json:"artifact,omitempty"`
	TrustedRoot string `json:"trustedRoot,omitempty"`
	Key         string `json:"key,omitempty"`
	Subject     string `json:"subject,omitempty"`
	Issuer      string `json:"issuer,omitempty"`
	Timestamps  int    `json:"timestamps,omitempty"`

	// Of a token: a CA's URL, and the token.
	CA    string `json:"ca,omitempty"`
	Token string `json:"token,omitempty"`

	// Of a TUF repository: its URL, the root to start from and a folder.
	Mirror string `json:"mirror,omitempty"`
	Root   string `json:"root,omitempty"`
	Cache  string `json:"cache,omitempty"`
}

func startNode(t *testing.T) *nodeJudge {
	t.Helper()
	script, err := filepath.Abs(filepath.Join("testdata", "judge.mjs"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(e2etest.Client(t, "node"), script, e2etest.Client(t, "js")) // ends with its input
	cmd.Env = e2etest.Environment(t)
	cmd.Stderr = os.Stderr
	in, inErr := cmd.StdinPipe()
	out, outErr := cmd.StdoutPipe()
	if err := errors.Join(inErr, outErr, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(in.Close(), cmd.Wait()); err != nil {
			t.Errorf("node: %v", err)
		}
	})
	answers := bufio.NewScanner(out)
	answers.Buffer(nil, 1<<20)
	return &nodeJudge{answers: answers, ask: json.NewEncoder(in)}
}

func (j *nodeJudge) judge(t *testing.T, q question) verdict {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.ask.Encode(q); err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Accepted bool   `json:"accepted"`
		Words    string `json:"words"`
	}
	if !j.answers.Scan() {
		t.Fatalf("node gives no answer: %v", j.answers.Err())
	}
	if err := json.Unmarshal(j.answers.Bytes(), &answer); err != nil {
		t.Fatalf("node answered %q: %v", j.answers.Text(), err)
	}
	return verdict{answer.Accepted, answer.Words}
}
