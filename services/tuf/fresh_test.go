package tuf_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"sigstack/internal/httpd"
	"sigstack/services/tuf"
	tufroot "sigstack/tuf-root"
)

// start runs the loop until the test ends. It must be called in a bubble, where
// time.Now is the bubble's.
func start(t *testing.T, s *stack) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run ended with %v, want nil", err)
		}
	})
}

func roleVersions(s *stack) (snapshot, timestamp int64) {
	roles := s.Status().Roles
	return roles[2].Version, roles[3].Version
}

func TestRunKeepsFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t, time.Now)
		start(t, s)
		for day := range 60 {
			time.Sleep(24 * time.Hour)
			synctest.Wait()
			for _, r := range s.Status().Roles[2:] {
				if left := time.Until(r.Expires); left < 15*time.Hour {
					t.Fatalf("day %d: %s expires in %s", day, r.Role, left)
				}
			}
		}
		snapshot, timestamp := roleVersions(s)
		if snapshot < 20 || snapshot > 30 || timestamp < 150 || timestamp > 200 {
			t.Errorf("after 60 days: got versions %d, %d; want about 25 and 180", snapshot, timestamp)
		}
		if status, detail := s.Health(); status != httpd.OK {
			t.Errorf("got health %s %q, want ok", status, detail)
		}
	})
}

// TestRunSurvivesFailures takes the directory away and gives it back.
func TestRunSurvivesFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reports []string
		s := newStack(t, time.Now, func(cfg *tuf.Config) {
			cfg.Report = func(status httpd.Status, detail string) { reports = append(reports, string(status)+" "+detail) }
		})
		away := filepath.Join(s.dir, "away")
		if err := os.Rename(s.repoDir(), away); err != nil {
			t.Fatal(err)
		}
		start(t, s)
		time.Sleep(10 * time.Hour)
		synctest.Wait()
		if status, detail := s.Health(); status != httpd.Warn || !strings.Contains(detail, "refreshing fails") {
			t.Errorf("got health %s %q, want a warning", status, detail)
		}
		time.Sleep(15 * time.Hour)
		synctest.Wait()
		if status, detail := s.Health(); status != httpd.Down || !strings.Contains(detail, "timestamp metadata expired") {
			t.Errorf("got health %s %q, want down", status, detail)
		}
		if n := counter(t, s, "failed"); n < 100 || n > 500 {
			t.Errorf("got %v failures in 17 hours, want one in about five minutes", n)
		}
		if err := os.Rename(away, s.repoDir()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if status, detail := s.Health(); status != httpd.OK || s.Status().Failing {
			t.Errorf("got health %s %q, want ok", status, detail)
		}
		if last := reports[len(reports)-1]; last != "ok " {
			t.Errorf("last report was %q, want ok", last)
		}
	})
}

func counter(t *testing.T, s *stack, result string) float64 {
	t.Helper()
	families, err := s.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "sigstack_tuf_refreshes_total" && m.GetLabel()[0].GetValue() == result {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

func TestHealthWarnsOfOfflineRoles(t *testing.T) {
	now := time.Now()
	s := newStack(t, func() time.Time { return now })
	now = now.Add(5*365*24*time.Hour - 29*24*time.Hour)
	if _, err := s.repo.Refresh(s.keys.Online); err != nil {
		t.Fatal(err)
	}
	if status, detail := s.Health(); status != httpd.Warn || !strings.Contains(detail, "offline key") {
		t.Errorf("got health %s %q, want a warning", status, detail)
	}
	if n, err := testutil.GatherAndCount(s.metrics, "sigstack_tuf_expiry_seconds"); err != nil || n != 4 {
		t.Errorf("got %d expiry gauges, %v; want 4", n, err)
	}
}

func TestNewRefuses(t *testing.T) {
	now := time.Now()
	s := newStack(t, time.Now)
	other := newKey(t, "other", now)
	if _, err := tuf.New(tuf.Config{}); err == nil {
		t.Error("an empty config was accepted")
	}
	cfg := tuf.Config{
		Repository: s.repo, KitDir: s.kitDir(), Now: time.Now, Log: discard(), Metrics: s.metrics,
		Online: tufroot.Online{Snapshot: other, Timestamp: other},
	}
	if _, err := tuf.New(cfg); err == nil || !strings.Contains(err.Error(), "snapshot key") {
		t.Errorf("foreign keys: got %v, want an error that names the role", err)
	}
}
