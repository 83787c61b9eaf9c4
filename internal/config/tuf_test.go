package config_test

import (
	"strings"
	"testing"
	"time"

	"sigstack/internal/config"
)

const (
	tufHead = "version: 1\nprofile: serve\nurl: http://localhost:8080\nlisten: 127.0.0.1:8080\ntuf:\n  snapshot_key: s\n  timestamp_key: t\n"
	day     = 24 * time.Hour
)

func TestTUFLives(t *testing.T) {
	connected := config.TUFLives{Root: 365 * day, Targets: 365 * day, Snapshot: 7 * day, Timestamp: day}
	airgap := config.TUFLives{Root: 1095 * day, Targets: 1095 * day, Snapshot: 180 * day, Timestamp: 90 * day}
	test := config.TUFLives{Root: 30 * day, Targets: 30 * day, Snapshot: time.Minute, Timestamp: 20 * time.Second}
	with := func(l config.TUFLives, change func(*config.TUFLives)) config.TUFLives {
		change(&l)
		return l
	}
	for _, tt := range []struct {
		name, settings, problem string
		want                    config.TUFLives
	}{
		{"nothing", "", "", connected},
		{"connected", "  profile: connected\n", "", connected},
		{"airgap", "  profile: airgap\n", "", airgap},
		{"test", "  profile: test\n", "", test},
		{"days", "  lifetimes: {root: 400d}\n", "", with(connected, func(l *config.TUFLives) { l.Root = 400 * day })},
		{
			"of each role", "  profile: test\n  lifetimes: {root: 1h, targets: 2h, snapshot: 4s, timestamp: 3s}\n", "",
			config.TUFLives{Root: time.Hour, Targets: 2 * time.Hour, Snapshot: 4 * time.Second, Timestamp: 3 * time.Second},
		},
		{"another profile", "  profile: test-like\n", "f:8: tuf.profile", config.TUFLives{}},
		{"no unit", "  lifetimes:\n    root: 400\n", "f:9: tuf.lifetimes.root", config.TUFLives{}},
		{"too short", "  lifetimes:\n    timestamp: 2s\n", "f:9: tuf.lifetimes.timestamp", config.TUFLives{}},
		{"too long", "  lifetimes:\n    targets: 7301d\n", "f:9: tuf.lifetimes.targets", config.TUFLives{}},
		{"days below zero", "  lifetimes:\n    snapshot: -1d\n", "f:9: tuf.lifetimes.snapshot", config.TUFLives{}},
		{"half a day", "  lifetimes:\n    snapshot: 1.5d\n", "f:9: tuf.lifetimes.snapshot", config.TUFLives{}},
		{"timestamp outlives snapshot", "  lifetimes: {timestamp: 8d}\n", "f:8: tuf.lifetimes: the timestamp", config.TUFLives{}},
		{"snapshot outlives targets", "  lifetimes: {targets: 6d}\n", "f:8: tuf.lifetimes: the snapshot", config.TUFLives{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := config.Read("f", []byte(tufHead+tt.settings))
			var got strings.Builder
			for _, p := range f.Problems {
				if !p.Warning {
					got.WriteString(p.In("f") + "\n")
				}
			}
			if tt.problem != "" {
				if !strings.HasPrefix(got.String(), tt.problem) || strings.Count(got.String(), "\n") != 1 {
					t.Errorf("got %q, want one line with %s", got.String(), tt.problem)
				}
				return
			}
			if got.Len() > 0 {
				t.Fatal(got.String())
			}
			if got := f.Config.TUF.Lives(); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
	if got := (*config.TUF)(nil).Lives(); got != connected {
		t.Errorf("without a section: got %+v, want %+v", got, connected)
	}
}

func TestTUFWarnings(t *testing.T) {
	for _, tt := range []struct{ name, settings, want string }{
		{"none", "  profile: connected\n", ""},
		{"none of airgap", "  profile: airgap\n", ""},
		{"test profile", "  profile: test\n", "only a test wants"},
		{"people every week", "  lifetimes: {root: 7d}\n", "every 168h0m0s"},
		{"timestamp of months", "  lifetimes: {snapshot: 60d, timestamp: 60d}\n", "tuf.lifetimes.timestamp"},
	} {
		got := ""
		for _, p := range config.Read("f", []byte(tufHead+tt.settings)).Problems {
			if p.Warning && strings.HasPrefix(p.Field, "tuf") && !strings.HasSuffix(p.Field, "_key") {
				got += p.In("f")
			}
		}
		if (tt.want == "") != (got == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}
