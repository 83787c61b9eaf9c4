package logcopy_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/trillian/storage/tree"

	"sigstack/internal/merkle"
	"sigstack/internal/merkle/logcopy"
)

type node = tree.Node

// copierVariable makes the test's program a process that copies a log.
const copierVariable = "SIGSTACK_TEST_COPIER"

// order is what such a process copies.
type order struct {
	From, To place
	Tree     int64
}

// beCopier copies, and tells each of its steps.
func beCopier(text string) int {
	var o order
	err := json.Unmarshal([]byte(text), &o)
	if err == nil {
		err = o.carryOut(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func (o order) carryOut(ctx context.Context) error {
	from, err := o.From.open(ctx)
	if err != nil {
		return err
	}
	to, err := o.To.open(ctx)
	if err != nil {
		return err
	}
	_, err = logcopy.Copy(ctx, logcopy.Config{From: from, To: to, Tree: o.Tree, Progress: func(step string, done, _ uint64) { fmt.Println(step, done) }})
	return err
}

// TestKilledCopiesAreGoneOnWith kills processes that copy, later each time.
func TestKilledCopiesAreGoneOnWith(t *testing.T) {
	const size = 9000
	for _, way := range [][2]string{{"directory", "PostgreSQL"}, {"PostgreSQL", "directory"}} {
		t.Run("to "+way[1], func(t *testing.T) {
			places := newPlaces(t)
			o := order{From: places[way[0]](), To: places[way[1]]()}
			from := open(t, o.From)
			o.Tree = newLog(t, from, size)
			want := look(t, from, o.Tree)
			if err := from.Close(); err != nil {
				t.Fatal(err)
			}
			killed := 0
			for steps := 1; o.runKilled(t, steps); steps += 2 {
				killed++
				to := open(t, o.To)
				if tree, err := merkle.Open(t.Context(), merkle.Config{Storage: to, TreeID: o.Tree, Now: time.Now}); err == nil && tree.Head() != want.Head {
					t.Fatalf("killed at step %d: half a copy was opened, with head %+v", steps, tree.Head())
				}
				if err := to.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if killed < 4 {
				t.Errorf("%d copies were killed, want some at every stage", killed)
			}
			same(t, look(t, open(t, o.To), o.Tree), want)
		})
	}
}

// runKilled runs a copy, which it kills when it has told so many steps; false: it came
// to its end before.
func (o order) runKilled(t *testing.T, steps int) bool {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	var said strings.Builder
	cmd.Env, cmd.Stderr = append(os.Environ(), copierVariable+"="+string(text)), &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	killed := false
	lines := bufio.NewScanner(out)
	for n := 1; lines.Scan(); n++ {
		if n == steps {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			killed = true
		}
	}
	if err := cmd.Wait(); err != nil && !killed {
		t.Fatalf("%v: %s", err, said.String())
	}
	return killed
}
