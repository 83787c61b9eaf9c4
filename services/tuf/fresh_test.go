package tuf_test

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
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
		s := newStack(t, time.Now, everyMinute)
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
		s := newStack(t, time.Now, everyMinute, func(cfg *tuf.Config) {
			cfg.Report = func(status httpd.Status, detail string) { reports = append(reports, string(status)+" "+detail) }
		})
		away := filepath.Join(s.dir, "away")
		if err := os.Rename(s.repoDir(), away); err != nil {
			t.Fatal(err)
		}
		start(t, s)
		time.Sleep(10 * time.Hour)
		synctest.Wait()
		if status, detail := s.Health(); status != httpd.Warn || !strings.Contains(detail, "timestamp metadata expires at") || !strings.Contains(detail, "could not be signed again since") {
			t.Errorf("got health %s %q, want a warning", status, detail)
		}
		time.Sleep(15 * time.Hour)
		synctest.Wait()
		if status, detail := s.Health(); status != httpd.Warn || !strings.Contains(detail, "timestamp metadata EXPIRED at") {
			t.Errorf("got health %s %q, want a warning that says expired", status, detail)
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
		if last := reports[len(reports)-1]; !strings.HasPrefix(last, "ok root until ") {
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

// everyMinute keeps days in a bubble short.
func everyMinute(cfg *tuf.Config) { cfg.CheckEvery = time.Minute }

// TestCountdown goes through the life of a root that nobody signs again.
func TestCountdown(t *testing.T) {
	const day = 24 * time.Hour
	made := time.Now().Truncate(time.Second)
	now := made
	s := newStack(t, func() time.Time { return now })
	life := 5 * 365 * day
	for _, tt := range []struct {
		age  time.Duration
		want []string // of root and targets each, nothing else
	}{
		{0, nil},
		{life - life/3 - day, nil},
		{life - life/3 + day, []string{"metadata expires at ", "607 days", "have it signed again with its offline keys"}},
		{life - life/10 + day, []string{"metadata expires at ", "181 days", "NOW, clients refuse it afterwards"}},
		{life - day, []string{"in 24h0m0s", "NOW"}},
		{life, []string{"metadata EXPIRED at ", "clients refuse the repository until it is signed again with its offline keys"}},
	} {
		now = made.Add(tt.age)
		if _, err := s.repo.Refresh(s.keys.Online); err != nil {
			t.Fatal(err)
		}
		status, detail := s.Health()
		if wanted := map[bool]httpd.Status{true: httpd.OK, false: httpd.Warn}[tt.want == nil]; status != wanted {
			t.Errorf("after %v: got %s %q, want %s", tt.age, status, detail, wanted)
		}
		for _, want := range tt.want {
			if strings.Count(detail, want) != 2 {
				t.Errorf("after %v: got %q, want %q of root and of targets", tt.age, detail, want)
			}
		}
	}
	if n, err := testutil.GatherAndCount(s.metrics, "sigstack_tuf_expiry_seconds"); err != nil || n != 4 {
		t.Errorf("got %d expiry gauges, %v; want 4", n, err)
	}
}

// TestMovedClock: a clock that is set is noticed within CheckEvery, also one that is
// set back to before what was signed.
func TestMovedClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var off atomic.Int64
		now := func() time.Time { return time.Now().Add(time.Duration(off.Load())) }
		s := newStack(t, now)
		start(t, s)
		for _, move := range []time.Duration{9 * time.Hour, 30 * 24 * time.Hour, -40 * 24 * time.Hour, 400 * 24 * time.Hour} {
			synctest.Wait()
			_, before := roleVersions(s)
			off.Add(int64(move))
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if _, after := roleVersions(s); after != before+1 {
				t.Errorf("moved by %v: timestamp %d after %d, want one more", move, after, before)
			}
			if left := s.Status().Roles[3].Expires.Sub(now()); left < 23*time.Hour || left > 24*time.Hour {
				t.Errorf("moved by %v: timestamp is good for %v, want a day", move, left)
			}
		}
	})
}

// TestLivesOfSeconds: what lives for three seconds neither expires nor spins.
func TestLivesOfSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, life := range []time.Duration{3 * time.Second, 20 * time.Second} {
			s := newStackOf(t, time.Now, tufroot.Lifetimes{Snapshot: 2 * life, Timestamp: life})
			_, before := roleVersions(s)
			start(t, s)
			const seconds = 120
			for range 10 * seconds {
				time.Sleep(time.Second / 10)
				synctest.Wait()
				for _, r := range s.Status().Roles[2:] {
					if !time.Now().Before(r.Expires) {
						t.Fatalf("%s of %v has expired", r.Role, life)
					}
				}
			}
			_, after := roleVersions(s)
			if n, most := after-before, int64(seconds*time.Second/life*6); n > most {
				t.Errorf("%d timestamps of %v in %d seconds, want at most %d", n, life, seconds, most)
			}
		}
	})
}

// failingKey is a key in a token that can be away.
type failingKey struct {
	crypto.Signer
	away atomic.Bool
}

func (k *failingKey) Sign(r io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if k.away.Load() {
		return nil, errors.New("token is away")
	}
	return k.Signer.Sign(r, digest, opts)
}

// TestKeyAway: the key of the timestamp fails for hours. The pauses between the tries
// grow, the warning comes in time, and versions are used once each.
func TestKeyAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var key *failingKey
		s := newStack(t, time.Now, everyMinute, func(cfg *tuf.Config) {
			key = &failingKey{Signer: cfg.Online.Timestamp}
			cfg.Online.Timestamp = key
		})
		start(t, s)
		key.away.Store(true)
		time.Sleep(8*time.Hour + 30*time.Minute)
		synctest.Wait()
		if status, detail := s.Health(); status != httpd.OK || !s.Status().Failing {
			t.Errorf("after half an hour: got %s %q, want ok for now", status, detail)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if status, detail := s.Health(); status != httpd.Warn || !strings.Contains(detail, "could not be signed again since") {
			t.Errorf("after an hour and a half: got %s %q, want a warning", status, detail)
		}
		if err := s.RefreshNow(t.Context()); err == nil || !strings.Contains(err.Error(), "sign timestamp: token is away") {
			t.Errorf("got %v, want which role and why", err)
		}
		if n := counter(t, s, "failed"); n < 15 || n > 60 {
			t.Errorf("got %v failures in an hour and a half, want one in about five minutes at the end", n)
		}
		_, before := roleVersions(s)
		key.away.Store(false)
		time.Sleep(6 * time.Minute)
		synctest.Wait()
		if _, after := roleVersions(s); after != before+1 || s.Status().Failing {
			t.Errorf("timestamp %d after %d, failing %v; want the next version", after, before, s.Status().Failing)
		}
		snapshot, timestamp := roleVersions(s)
		if err := s.RefreshNow(t.Context()); err != nil {
			t.Error(err)
		}
		// The attempt that failed has used a version of the snapshot up.
		if a, b := roleVersions(s); a != snapshot+2 || b != timestamp+1 {
			t.Errorf("asked for: got versions %d, %d, want %d, %d", a, b, snapshot+2, timestamp+1)
		}
	})
}

// TestStoppedForTooLong: what expired while nothing ran is named, and signed again
// where the process can.
func TestStoppedForTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := newStack(t, time.Now, everyMinute, func(cfg *tuf.Config) { cfg.Log = slog.New(slog.NewTextHandler(&log, nil)) })
		time.Sleep(6 * 365 * 24 * time.Hour)
		start(t, s)
		synctest.Wait()
		for _, role := range []string{"root", "targets", "snapshot", "timestamp"} {
			if want := `msg="tuf metadata expired while the stack was stopped" role=` + role; strings.Count(log.String(), want) != 1 {
				t.Errorf("%s is not named once: %s", role, &log)
			}
		}
		if strings.Count(log.String(), "docs/operations/expiry.md") != 2 || strings.Contains(log.String(), "nears its end") {
			t.Errorf("got %s, want what to do for root and targets, and nothing twice", &log)
		}
		for _, r := range s.Status().Roles[2:] {
			if !time.Now().Before(r.Expires) {
				t.Errorf("%s is still expired", r.Role)
			}
		}
		if status, detail := s.Health(); status != httpd.Warn || strings.Count(detail, "EXPIRED") != 2 {
			t.Errorf("got %s %q, want warnings of root and targets", status, detail)
		}
	})
}

func TestSetOnline(t *testing.T) {
	s := newStack(t, time.Now)
	if err := s.SetOnline(tufroot.Online{Snapshot: newKey(t, "other", time.Now()), Timestamp: s.keys.Timestamp}); err == nil || !strings.Contains(err.Error(), "snapshot key") {
		t.Errorf("a stranger's key: got %v, want the role", err)
	}
	if err := s.SetOnline(s.keys.Online); err != nil {
		t.Error(err)
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
