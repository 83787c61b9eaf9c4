package faults

import (
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"sigstack/e2e/e2etest"
	"sigstack/services/tlog/tlogtest"
)

// cyclesVariable is the environment variable with how often the process is killed.
const (
	cyclesVariable = "FAULTS_CYCLES"
	fewCycles      = 8
	// Every so many cycles all entries so far are asked for. In the others it is
	// those of the last cycle and so many others; that the checkpoints of all are
	// extended is proved each time.
	wholeEvery = 20
	sample     = 150
	// In one cycle of so many the process is killed a second time, while it starts.
	startEvery = 4
	// In one cycle of so many a new shard is prepared, to be activated under load in
	// those after it.
	shardEvery = 16
)

func cycles(t *testing.T) int {
	t.Helper()
	text := os.Getenv(cyclesVariable)
	if text == "" {
		return fewCycles
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%s: want a number of cycles", cyclesVariable, text)
	}
	return n
}

// TestKilledUnderLoad kills the process at random moments, of its start, of
// activating a shard, and mostly of writing entries of several kinds and
// duplicates, and holds what starts again to every answer that it gave before.
func TestKilledUnderLoad(t *testing.T) {
	seed := uint64(time.Now().UnixNano()) // printed, to repeat the moments
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	ledger := tlogtest.NewLedger("localhost")
	s := e2etest.Start(t, t.TempDir())
	count, began, killed, refused := cycles(t), time.Now(), 0, int64(0)
	for cycle := range count {
		if cycle%shardEvery == shardEvery/2 {
			shard(t, s, "prepare") // refused, while another is prepared
		}
		load := newLoad(t, s.URL, ledger, true)
		activation := make(chan struct{})
		go func() { shard(t, s, "activate"); close(activation) }() // refused, unless one is prepared
		time.Sleep(time.Duration(20+random.IntN(600)) * time.Millisecond)
		s.Kill()
		killed++
		if err := load.wait(); err != nil {
			t.Fatalf("cycle %d: %v", cycle, err)
		}
		refused += load.refused.Load()
		<-activation
		if cycle%startEvery == startEvery-1 {
			killStart(t, s.Dir, time.Duration(random.IntN(800))*time.Millisecond)
			killed++
		}
		s = e2etest.Start(t, s.Dir)
		entries, _ := ledger.Size()
		pick := func(int) bool { return random.IntN(entries+1) < sample }
		if cycle%wholeEvery == wholeEvery-1 || cycle+1 == count {
			pick = nil
		}
		found, err := ledger.Check(t.Context(), asking(t, s.URL), pick)
		if err != nil {
			t.Fatalf("cycle %d: lost: %v, forked: %v: %v", cycle, errors.Is(err, tlogtest.ErrLost), errors.Is(err, tlogtest.ErrFork), err)
		}
		entries, heads := ledger.Size()
		t.Logf("%s: %d of %d cycles, %d acknowledged entries, %d checkpoints; asked for %d entries and %d consistency proofs",
			time.Since(began).Round(time.Second), cycle+1, count, entries, heads, found.Entries, found.Proofs)
	}
	entries, heads := ledger.Size()
	t.Logf("killed %d times in %d cycles: %d entries acknowledged in %d shards, %d requests refused, %d checkpoints seen; none lost, no fork",
		killed, count, entries, ledger.Trees(), refused, heads)
	if entries < 10*count {
		t.Errorf("only %d entries were acknowledged: the load did not load", entries)
	}
}

func shard(t *testing.T, s *e2etest.Stack, command string) e2etest.Result {
	t.Helper()
	return e2etest.Run(t, nil, e2etest.Sigstack(t), "log", "shard", command, "--dir", s.Dir)
}

// killStart kills a process so long after its start.
func killStart(t *testing.T, dir string, after time.Duration) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), e2etest.Sigstack(t), "up", "--dir", dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(after)
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // it was killed
}
