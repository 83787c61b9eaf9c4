package merkle_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"sigstack/internal/fault"
	"sigstack/internal/merkle"
	"sigstack/internal/merkle/pebblelog"
)

// A disk that fails may end the process: Pebble does not go on with bookkeeping that
// was not written. So each life of a tree on such a disk is one of a process.
const (
	lifeVariable = "MERKLE_TEST_LIFE" // a life, in JSON
	everyFault   = "FAULTS_EVERY_CUT" // if set, a disk breaks at every change, and not at one in faultShare
	faultShare   = 8
)

func TestMain(m *testing.M) {
	if text := os.Getenv(lifeVariable); text != "" {
		var l life
		err := json.Unmarshal([]byte(text), &l)
		if err == nil {
			err = l.live(json.NewEncoder(os.Stdout))
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// life is what a process does with a tree until its disk breaks: it adds with four
// writers, ends, starts again and adds more.
type life struct {
	Dir    string // where it leaves what a power cut would keep of the disk, by percent
	N      int    // the change of the disk that fails; below 0: none
	Torn   bool
	NoSync bool
}

// event is what such a process says.
type event struct {
	Tree    int64
	Added   *merkle.Added `json:",omitempty"`
	Failed  string        `json:",omitempty"` // an add, otherwise than for the moment
	Changes int           `json:",omitempty"` // of the disk, when nothing broke
}

const perLife = 8 // entries between two starts

// kept are the shares of what was not synced that survive by luck.
var kept = []int{0, 100}

func (l life) live(out *json.Encoder) error {
	mem := vfs.NewCrashableMem()
	store, err := pebblelog.Open("db", pebblelog.Options{FS: mem, Now: time.Now})
	if err != nil {
		return err
	}
	tree, err := merkle.CreateTree(context.Background(), store, "test")
	if err := errors.Join(err, store.Close(), out.Encode(event{Tree: tree})); err != nil {
		return err
	}
	disk := &brokenDisk{FS: mem, n: l.N, torn: l.Torn, broke: func() {
		if err := l.leave(mem); err != nil {
			panic(err)
		}
	}}
	for round := range 2 {
		if err := l.add(disk, tree, round*perLife, out); err != nil {
			return err
		}
	}
	if l.N < 0 || l.N >= disk.count { // some lives make do with fewer changes
		return errors.Join(l.leave(mem), out.Encode(event{Changes: disk.count}))
	}
	return nil
}

// leave writes what a power cut would leave where the test finds it.
func (l life) leave(mem *vfs.MemFS) error {
	for _, percent := range kept {
		clone := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: newRNG()})
		to := filepath.Join(l.Dir, fmt.Sprint(percent))
		if _, err := vfs.Clone(clone, vfs.Default, "db", to); err != nil {
			return err
		}
	}
	return nil
}

// add opens the tree, adds to it and closes it.
func (l life) add(disk vfs.FS, tree int64, first int, out *json.Encoder) error {
	store, err := pebblelog.Open("db", pebblelog.Options{FS: disk, Now: time.Now, NoSync: l.NoSync})
	if err != nil {
		return err
	}
	open, err := merkle.Open(context.Background(), merkle.Config{Storage: store, TreeID: tree, Now: time.Now})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- open.Run(ctx) }()
	var mu sync.Mutex // held to write
	say := func(a merkle.Added, err error) bool {
		mu.Lock()
		defer mu.Unlock()
		e := event{Tree: tree, Added: &a}
		switch {
		case fault.KindOf(err) == fault.Unavailable:
			return false
		case err != nil:
			e.Added, e.Failed = nil, err.Error()
		}
		return out.Encode(e) == nil && err == nil
	}
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := w; i < perLife && say(open.Add(ctx, leaf(first+i))); i += 4 {
			}
		})
	}
	wg.Wait()
	cancel()
	if err := <-done; err != nil {
		return err
	}
	closed := make(chan error, 1)
	go func() { closed <- store.Close() }()
	select {
	case err := <-closed:
		return err
	case <-time.After(10 * time.Second):
		return errors.New("the store does not close") // the operator kills the process
	}
}

// told is what came of a life.
type told struct {
	tree    int64
	acks    []merkle.Added
	changes int
	ended   error // how the process ended, if not well
}

// run lives a life in a process of its own.
func (l life) run(t *testing.T) (told, error) {
	t.Helper()
	text, err := json.Marshal(l)
	if err != nil {
		return told{}, err
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), lifeVariable+"="+string(text))
	said, err := cmd.Output()
	r := told{ended: err}
	lines := bufio.NewScanner(bytes.NewReader(said))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return r, fmt.Errorf("%s: %w", lines.Bytes(), err)
		}
		if e.Failed != "" {
			return r, fmt.Errorf("an add failed otherwise than for the moment: %s", e.Failed)
		}
		if e.Added != nil {
			r.acks = append(r.acks, *e.Added)
		}
		r.tree, r.changes = max(r.tree, e.Tree), e.Changes
	}
	return r, lines.Err()
}

// breakAt lives a life and returns the first promise that does not hold on what was
// left of its disk.
func (l life) breakAt(t *testing.T) (told, error) {
	t.Helper()
	l.Dir = t.TempDir()
	r, err := l.run(t)
	if err != nil {
		return r, err
	}
	for _, percent := range kept {
		if err := r.holds(t, filepath.Join(l.Dir, fmt.Sprint(percent))); err != nil {
			return r, fmt.Errorf("with %d%% of what was not synced: %w", percent, err)
		}
	}
	return r, nil
}

// holds opens what was left and demands every acknowledged entry.
func (r told) holds(t *testing.T, dir string) error {
	t.Helper()
	disk := vfs.NewMem()
	if _, err := vfs.Clone(vfs.Default, disk, dir, "db"); err != nil {
		return fmt.Errorf("the disk did not break: %w; the process: %w", err, r.ended)
	}
	tree := startOn(t, disk, pebblelog.Options{NoSync: true}, merkle.Config{TreeID: r.tree})
	if err := keepsPromises(t.Context(), tree.Tree, r.acks); err != nil {
		return err
	}
	checkWhole(t, tree)
	mustAdd(t, tree.Tree, leaf(1<<20))
	return keepsPromises(t.Context(), tree.Tree, r.acks)
}

// TestDiskThatBreaksAtAnyWrite breaks the disk at each of the driver's operations
// that change it, with an error and with a torn write. What was acknowledged is
// there afterwards, and every other add has failed, for the moment.
func TestDiskThatBreaksAtAnyWrite(t *testing.T) {
	whole, err := life{N: -1}.breakAt(t)
	if err != nil || whole.ended != nil || len(whole.acks) != 2*perLife || whole.changes == 0 {
		t.Fatalf("without a fault: %d acknowledged, %d changes, %v, %v", len(whole.acks), whole.changes, whole.ended, err)
	}
	step := faultShare
	if os.Getenv(everyFault) != "" {
		step = 1
	}
	tried, acks, ended := 0, 0, 0
	for n := 0; n < whole.changes; n += step {
		for _, torn := range []bool{false, true} {
			r, err := life{N: n, Torn: torn}.breakAt(t)
			if err != nil {
				t.Errorf("change %d of %d, torn %v: %v", n, whole.changes, torn, err)
			}
			tried, acks = tried+1, acks+len(r.acks)
			if r.ended != nil {
				ended++
			}
		}
	}
	t.Logf("%d faults at %d changes of the disk: %d processes ended, %d entries acknowledged, all there", tried, whole.changes, ended, acks)
}

// TestDiskThatBreaksWithoutSync: the test above would notice a driver that answers
// before what it wrote is on the disk.
func TestDiskThatBreaksWithoutSync(t *testing.T) {
	for n := 0; n < 60; n += 6 {
		_, err := life{N: n, NoSync: true}.breakAt(t)
		if err != nil && strings.Contains(err.Error(), "is missing") {
			return
		}
	}
	t.Error("nothing was lost, though nothing was synced")
}
