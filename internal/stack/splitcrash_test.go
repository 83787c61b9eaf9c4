package stack_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/stack"
)

// splitVariable makes this test binary split the directory of that name, for
// processes at the addresses (JSON) of the other variable.
const (
	splitVariable     = "STACK_TEST_SPLIT"
	addressesVariable = "STACK_TEST_SPLIT_ADDRESSES"
)

// splitFromEnvironment is what the test binary does in place of tests.
func splitFromEnvironment(dir string) {
	cfg := stack.SplitConfig{
		Dir: dir, Into: filepath.Join(filepath.Dir(dir), "processes"), Now: time.Now, Log: slog.New(slog.DiscardHandler),
	}
	err := json.Unmarshal([]byte(os.Getenv(addressesVariable)), &cfg.Addresses)
	if err == nil {
		_, err = stack.Split(context.Background(), cfg)
	}
	if err != nil {
		panic(err)
	}
}

// TestSplitSurvivesKill kills a split as soon as it has made each of the things on
// its way. At no moment can both the directory and one of its processes be served:
// that would fork the logs. The next split makes what is missing.
func TestSplitSurvivesKill(t *testing.T) {
	for _, made := range []string{
		"processes/logs/split-unfinished", "processes/logs/db/log", "processes/oidc/keys/peer.key", "processes/ca/audit",
		"processes/front/tuf", "processes/logs/config.yaml.prepared", "processes/front/config.yaml.prepared",
		"data/split", "processes/logs/config.yaml", "processes/ca/config.yaml", "processes/front/config.yaml",
	} {
		t.Run(strings.ReplaceAll(made, "/", "-"), func(t *testing.T) {
			t.Parallel()
			dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
			killSplit(t, dir, made)
			whole := opens(t, dir)
			for _, name := range processNames {
				process := filepath.Join(filepath.Dir(dir), "processes", name)
				if done, err := (stack.Layout{Dir: process}).Initialized(); err != nil || done && whole {
					t.Fatalf("both the directory and its process %s can be served (%v)", name, err)
				}
			}
			for name, process := range split(t, splitConfig(t, dir)) {
				if !opens(t, process) {
					t.Errorf("process %s cannot be served after the split was repeated", name)
				}
			}
			if opens(t, dir) {
				t.Error("the directory can be served after the split")
			}
		})
	}
}

// opens reports whether a directory can be served.
func opens(t *testing.T, dir string) bool {
	t.Helper()
	s, err := stack.Open(t.Context(), options(dir, config.ProfileUp))
	if err != nil {
		t.Log(err)
		return false
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	return true
}

// killSplit runs a split in a process of its own and kills it when made appears.
func killSplit(t *testing.T, dir, made string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	addresses, err := json.Marshal(freeAddresses(t))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(os.Environ(), splitVariable+"="+dir, addressesVariable+"="+string(addresses))
	killWhenMade(t, cmd, filepath.Join(filepath.Dir(dir), made))
}

// TestASplitThatWasFinishedByHalf: what one process has written since is kept.
func TestASplitThatWasFinishedByHalf(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	dirs := split(t, splitConfig(t, dir))
	mark := filepath.Join(dirs["logs"], "since")
	if err := errors.Join(
		os.WriteFile(mark, nil, 0o600),
		os.Rename(filepath.Join(dirs["ca"], "config.yaml"), filepath.Join(dirs["ca"], "config.yaml.prepared")),
	); err != nil {
		t.Fatal(err)
	}
	if again := split(t, splitConfig(t, dir)); !maps.Equal(again, dirs) {
		t.Errorf("finished as %v, want %v", again, dirs)
	}
	if _, err := os.Stat(mark); err != nil {
		t.Errorf("a process that could be served was made anew: %v", err)
	}
}
