package stack_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"sigstack/internal/config"
	"sigstack/internal/stack"
)

// TestSplitStopsWhenTold: at each step before the mark the directory stays one that
// can be served and split again; after it the split is finished.
func TestSplitStopsWhenTold(t *testing.T) {
	dir := initDir(t, stack.InitConfig{Profile: config.ProfileUp})
	cfg := splitConfig(t, dir)
	var steps []string
	for _, at := range []string{"checking keys and databases", "copying what logs gets", "copying what front gets", "setting the mark"} {
		ctx, cancel := context.WithCancel(t.Context())
		cfg.Progress = func(step string, _ int64) {
			if !slices.Contains(steps, step) {
				steps = append(steps, step)
			}
			if step == at {
				cancel()
			}
		}
		_, err := stack.Split(ctx, cfg)
		cancel()
		if at == "setting the mark" {
			if err != nil {
				t.Errorf("told to stop at the mark: %v, want it finished", err)
			}
			continue
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("told to stop at %q: got %v, want %v", at, err, context.Canceled)
		}
		if !opens(t, dir) {
			t.Errorf("told to stop at %q: the directory cannot be served", at)
		}
		for _, name := range processNames {
			if _, err := os.Stat(filepath.Join(cfg.Into, name, "config.yaml")); err == nil {
				t.Errorf("told to stop at %q: process %s can be served", at, name)
			}
		}
	}
	if opens(t, dir) {
		t.Error("the directory can be served after the split")
	}
	want := []string{"checking keys and databases", "copying what logs gets", "copying what oidc gets", "copying what ca gets", "copying what front gets", "setting the mark"}
	slices.Sort(steps)
	if slices.Sort(want); !slices.Equal(steps, want) {
		t.Errorf("steps %q, want %q", steps, want)
	}
}
