// Package deploy loads each sample below deploy, so that none goes stale.
package deploy

import (
	"path/filepath"
	"testing"

	"sigstack/internal/config"
)

func TestSampleConfigs(t *testing.T) {
	samples, err := filepath.Glob("config/*.yaml")
	if err != nil || len(samples) == 0 {
		t.Fatalf("found %d samples, error %v; want some", len(samples), err)
	}
	for _, path := range samples {
		if _, err := config.Load(path); err != nil {
			t.Error(err)
		}
	}
}
