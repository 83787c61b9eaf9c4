package attempts_test

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sigstack/services/oidc/attempts"
)

var here = netip.MustParseAddr("192.0.2.1")

// TestWaitsForOthers: an attempt over the limit waits while one under way may still
// turn out to be right, and no longer.
func TestWaitsForOthers(t *testing.T) {
	for _, tt := range []struct {
		name  string
		first attempts.Outcome
		in    bool
	}{
		{"right", attempts.Succeeded, true},
		{"provider down", attempts.Unknown, true},
		{"wrong", attempts.Failed, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := attempts.NewLimiter(attempts.Rate{PerSecond: 1. / 30, Burst: 1}, nil, time.Now)
				first, _, _ := l.Login(t.Context(), here, "ann")
				if first == nil {
					t.Fatal("the first is refused")
				}
				var second *attempts.Attempt
				var wait time.Duration
				done := false
				go func() {
					second, wait, _ = l.Login(t.Context(), here, "ann")
					done = true
				}()
				synctest.Wait()
				if done {
					t.Error("the second did not wait")
				}
				first.End(tt.first)
				synctest.Wait()
				if (second != nil) != tt.in || !tt.in && wait != 30*time.Second {
					t.Errorf("second let in: %v, wait %v; want %v", second != nil, wait, tt.in)
				}
				if second != nil {
					second.End(attempts.Unknown)
				}
			})
		})
	}
}

func TestWaitEndsWithRequest(t *testing.T) {
	l := attempts.NewLimiter(attempts.Rate{PerSecond: 1, Burst: 1}, nil, time.Now)
	first, _, _ := l.Login(t.Context(), here, "ann")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if second, wait, _ := l.Login(ctx, here, "ann"); second != nil || wait <= 0 {
		t.Errorf("got %v, %v; want a refusal", second, wait)
	}
	first.End(attempts.Succeeded)
	if third, _, _ := l.Login(t.Context(), here, "ann"); third == nil {
		t.Error("refused after a success")
	}
}

// TestRefusalCostsNothing: what one limit refuses is not held against the others.
func TestRefusalCostsNothing(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	l := attempts.NewLimiter(attempts.Rate{PerSecond: 1. / 30, Burst: 1}, nil, func() time.Time { return now })
	fail := func(addr netip.Addr, account string) bool {
		a, _, _ := l.Login(t.Context(), addr, account)
		if a != nil {
			a.End(attempts.Failed)
		}
		return a != nil
	}
	fail(here, "ann")
	for range 100 {
		if fail(here, "ann") {
			t.Fatal("over the limit, yet let in")
		}
	}
	if !fail(here, "bob") {
		t.Error("the address is refused for what was not tried")
	}
	if !fail(netip.MustParseAddr("192.0.2.2"), "ann") {
		t.Error("the account is refused for what was not tried")
	}
	if fail(here, "bob") {
		t.Error("the second of bob is let in")
	}
}

// TestNeighbours: hosts of one IPv6 network are one, and codes are apart from logins.
func TestNeighbours(t *testing.T) {
	l := attempts.NewLimiter(attempts.Rate{PerSecond: 1. / 3600, Burst: 1}, nil, time.Now)
	a, _, _ := l.Login(t.Context(), netip.MustParseAddr("2001:db8::1"), "ann")
	a.End(attempts.Failed)
	if a, _, _ := l.Login(t.Context(), netip.MustParseAddr("2001:db8::2"), "ann"); a != nil {
		t.Error("the next address of the same network is let in")
	}
	for n := range 11 {
		a, _ := l.Code(t.Context(), here)
		if (a != nil) != (n < 10) {
			t.Fatalf("code %d: let in %v", n+1, a != nil)
		}
		if a != nil {
			a.End(attempts.Failed)
		}
	}
	if a, _, _ := l.Login(t.Context(), here, "ann"); a == nil {
		t.Error("a login is refused for wrong codes")
	}
}

// TestCrowd: of many wrong ones at once no more are let in than the limit has.
func TestCrowd(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	l := attempts.NewLimiter(attempts.Rate{}, nil, func() time.Time { return now })
	var mu sync.Mutex
	var wg sync.WaitGroup
	in := 0
	for range 300 {
		wg.Go(func() {
			a, wait, _ := l.Login(t.Context(), here, "ann")
			if a == nil {
				if wait <= 0 {
					t.Error("refused without a time to wait")
				}
				return
			}
			mu.Lock()
			in++
			mu.Unlock()
			a.End(attempts.Failed)
		})
	}
	wg.Wait()
	if in != 5 {
		t.Errorf("%d let in, want 5", in)
	}
}
