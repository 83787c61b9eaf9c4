package attempts_test

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sigstack/services/oidc/attempts"
)

// database stands in for that of replicas: buckets that never grow.
type database struct {
	mu    sync.Mutex
	taken map[string]int
	homes map[string]bool
	away  error
}

func newDatabase() *database { return &database{taken: map[string]int{}, homes: map[string]bool{}} }

func (d *database) Take(_ context.Context, buckets []attempts.Bucket, home string) (bool, time.Duration, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	at := d.homes[home]
	if at {
		buckets = buckets[:len(buckets)-1]
	}
	for _, b := range buckets {
		if d.taken[b.Name] >= b.Burst {
			return at, b.Interval, d.away
		}
	}
	for _, b := range buckets {
		d.taken[b.Name]++
	}
	return at, 0, d.away
}

func (d *database) Give(_ context.Context, buckets []attempts.Bucket) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, b := range buckets {
		d.taken[b.Name]--
	}
}

func (d *database) NoteHome(_ context.Context, home string, _ time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.homes[home] = true
}

// replicas share a database.
func replicas(d *database, burst int) (a, b *attempts.Limiter) {
	rate := attempts.Rate{PerSecond: 1. / 30, Burst: burst}
	return attempts.NewLimiter(rate, d, time.Now), attempts.NewLimiter(rate, d, time.Now)
}

func try(t *testing.T, l *attempts.Limiter, addr netip.Addr, o attempts.Outcome) bool {
	t.Helper()
	a, _, err := l.Login(t.Context(), addr, "ann")
	if err != nil {
		t.Fatal(err)
	}
	if a != nil {
		a.End(o)
	}
	return a != nil
}

// TestReplicasCountTogether: what failed here counts there, and what did not fail
// counts nowhere.
func TestReplicasCountTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := replicas(newDatabase(), 2)
		for range 10 {
			if !try(t, a, here, attempts.Succeeded) || !try(t, b, here, attempts.Unknown) {
				t.Fatal("what did not fail counts")
			}
		}
		if !try(t, a, here, attempts.Failed) || !try(t, b, here, attempts.Failed) {
			t.Error("less than two failures are let in")
		}
		if try(t, a, here, attempts.Failed) || try(t, b, here, attempts.Failed) {
			t.Error("a third failure is let in")
		}
	})
}

// TestHomeOfAllReplicas: strangers who lock an account do not lock out who has logged
// in at another replica from there.
func TestHomeOfAllReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := replicas(newDatabase(), 1)
		office := netip.MustParseAddr("198.51.100.1")
		if !try(t, a, office, attempts.Succeeded) {
			t.Fatal("the first login is refused")
		}
		for i := range 40 { // 20 times the rate of a pair
			try(t, []*attempts.Limiter{a, b}[i%2], netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}), attempts.Failed)
		}
		if try(t, b, here, attempts.Failed) {
			t.Error("the account is open to another address")
		}
		if !try(t, b, office, attempts.Succeeded) {
			t.Error("the account's owner is kept out")
		}
	})
}

// TestWaitsForOtherReplicas: an attempt waits for a moment for one at another replica.
func TestWaitsForOtherReplicas(t *testing.T) {
	for _, tt := range []struct {
		name  string
		takes time.Duration
		in    bool
	}{
		{"right, soon", 600 * time.Millisecond, true},
		{"right, late", 5 * time.Second, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := replicas(newDatabase(), 1)
				first, _, err := a.Login(t.Context(), here, "ann")
				if err != nil {
					t.Fatal(err)
				}
				go func() {
					time.Sleep(tt.takes)
					first.End(attempts.Succeeded)
				}()
				if got := try(t, b, here, attempts.Succeeded); got != tt.in {
					t.Errorf("let in: %v, want %v", got, tt.in)
				}
				time.Sleep(6 * time.Second)
				if !try(t, b, here, attempts.Succeeded) {
					t.Error("refused once that is over")
				}
			})
		})
	}
}

// TestNobodyIsLetInUncounted: with the database away there is no login, and nothing is
// taken here.
func TestNobodyIsLetInUncounted(t *testing.T) {
	d := newDatabase()
	a, _ := replicas(d, 1)
	d.away = errors.New("away")
	for range 5 {
		if got, _, err := a.Login(t.Context(), here, "ann"); got != nil || !errors.Is(err, d.away) {
			t.Fatalf("let in: %v, %v", got != nil, err)
		}
	}
	clear(d.taken)
	d.away = nil
	if !try(t, a, here, attempts.Succeeded) {
		t.Error("refused when the database is back")
	}
}
