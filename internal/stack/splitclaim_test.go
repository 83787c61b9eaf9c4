package stack_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigstack/internal/config"
	"sigstack/internal/durable"
	"sigstack/internal/stack"
)

// TestTwoSplitsIntoOneDirectory: at whatever point the first was interrupted, another
// directory's split clears nothing of it, and the first can be finished.
func TestTwoSplitsIntoOneDirectory(t *testing.T) {
	for _, made := range []string{
		"processes/logs/split-unfinished", "processes/front/config.yaml.prepared", "data/split", "processes/logs/config.yaml", "",
	} {
		t.Run(strings.ReplaceAll(made, "/", "-"), func(t *testing.T) {
			t.Parallel()
			first, second := initDir(t, stack.InitConfig{Profile: config.ProfileUp}), initDir(t, stack.InitConfig{Profile: config.ProfileUp})
			cfg := splitConfig(t, first)
			if made == "" {
				split(t, cfg)
			} else {
				killSplit(t, first, made)
			}
			other := splitConfig(t, second)
			other.Into = cfg.Into
			before := tree(t, cfg.Into)
			_, err := stack.Split(t.Context(), other)
			if err == nil || !strings.Contains(err.Error(), "name another directory to split into") {
				t.Fatalf("split into another one's: %v, want a refusal", err)
			}
			if after := tree(t, cfg.Into); after != before {
				t.Errorf("the refused split left\n%s\nof\n%s", after, before)
			}
			if !opens(t, second) {
				t.Error("the directory whose split was refused cannot be served")
			}
			for name, process := range split(t, cfg) {
				if !opens(t, process) {
					t.Errorf("process %s of the first cannot be served", name)
				}
			}
		})
	}
}

// TestSplitIntoWhatIsBeingSplitInto: nor do two splits meet there.
func TestSplitIntoWhatIsBeingSplitInto(t *testing.T) {
	cfg := splitConfig(t, initDir(t, stack.InitConfig{Profile: config.ProfileUp}))
	if err := os.Mkdir(cfg.Into, 0o700); err != nil {
		t.Fatal(err)
	}
	lock, err := durable.LockDir(cfg.Into)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stack.Split(t.Context(), cfg); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("another split is under way there: %v, want ErrLocked", err)
	}
	if err := lock.Unlock(); err != nil {
		t.Fatal(err)
	}
	split(t, cfg)
}

// TestUnfinishedSplitOfNobodyKnowsWhat: as an earlier version left it.
func TestUnfinishedSplitOfNobodyKnowsWhat(t *testing.T) {
	cfg := splitConfig(t, initDir(t, stack.InitConfig{Profile: config.ProfileUp}))
	if err := os.MkdirAll(filepath.Join(cfg.Into, "ca"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(cfg.Into, "ca", "split-unfinished"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := stack.Split(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "does not say of what") {
		t.Errorf("got %v, want a refusal", err)
	}
}

// tree lists what is below dir, with sizes, but for locks.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var out strings.Builder
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() && info.Name() != "lock" {
			_, err = out.WriteString(path + " " + info.ModTime().String() + "\n")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}
