package fleet_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sigstack/internal/fleet"
	"sigstack/internal/pgtest"
)

func buckets(account string) []fleet.Bucket {
	return []fleet.Bucket{
		{Name: "p" + account, Interval: time.Hour, Burst: 3},
		{Name: "u" + account, Interval: time.Hour, Burst: 1000},
	}
}

// TestAttemptsAreCountedTogether: what one replica takes another one has no more, also
// when both take at once.
func TestAttemptsAreCountedTogether(t *testing.T) {
	_, db := pgtest.Start(t)
	url := migrated(t, db)
	a := start(t, url, "a", founded(t, url), 0).Attempts()
	b := start(t, url, "b", joined(t, url, "b"), 0).Attempts()
	var in atomic.Int64
	var wait sync.WaitGroup
	for i := range 40 {
		wait.Go(func() {
			_, after, err := []*fleet.Attempts{a, b}[i%2].Take(t.Context(), buckets("ann"), "home")
			if err != nil {
				t.Error(err)
			}
			if after <= 0 {
				in.Add(1)
			} else if after > time.Hour || after < 59*time.Minute {
				t.Errorf("refused for %v, want an hour", after)
			}
		})
	}
	wait.Wait()
	if got := in.Load(); got != 3 {
		t.Errorf("%d were let in, want 3", got)
	}
	if _, after, err := b.Take(t.Context(), buckets("bob"), "home"); after > 0 || err != nil {
		t.Errorf("another account: %v, %v", after, err)
	}
	if err := a.Give(t.Context(), buckets("ann")); err != nil {
		t.Fatal(err)
	}
	if _, after, err := b.Take(t.Context(), buckets("ann"), "home"); after > 0 || err != nil {
		t.Errorf("after one was given back: %v, %v", after, err)
	}
	if _, after, err := a.Take(t.Context(), buckets("ann"), "home"); after <= 0 || err != nil {
		t.Errorf("after that: %v, %v; want a refusal", after, err)
	}
}

// TestHome: the last bucket is left out where the account is at home, for as long as it
// is, at every replica. What a refusal looked at is not taken.
func TestHome(t *testing.T) {
	_, db := pgtest.Start(t)
	url := migrated(t, db)
	a := start(t, url, "a", founded(t, url), 0).Attempts()
	b := start(t, url, "b", joined(t, url, "b"), 0).Attempts()
	last := []fleet.Bucket{{Name: "a", Interval: time.Hour, Burst: 3}, {Name: "u", Interval: time.Hour, Burst: 1}}
	take := func(of *fleet.Attempts, home string) (bool, bool) {
		t.Helper()
		at, after, err := of.Take(t.Context(), last, home)
		if err != nil {
			t.Fatal(err)
		}
		return at, after <= 0
	}
	if at, in := take(a, "office"); at || !in {
		t.Errorf("first: at home %v, in %v", at, in)
	}
	for range 10 {
		if _, in := take(b, "office"); in {
			t.Fatal("the account's bucket has another token")
		}
	}
	if err := a.NoteHome(t.Context(), "office", 2*time.Second); err != nil {
		t.Fatal(err)
	}
	if at, in := take(b, "office"); !at || !in {
		t.Errorf("at home: %v, in %v", at, in)
	}
	if at, in := take(b, "elsewhere"); at || in {
		t.Errorf("elsewhere: at home %v, in %v", at, in)
	}
	time.Sleep(2100 * time.Millisecond)
	if at, in := take(b, "office"); at || in {
		t.Errorf("when that is over: at home %v, in %v", at, in)
	}
}

// TestFullBucketsAreRemoved, and others stay.
func TestFullBucketsAreRemoved(t *testing.T) {
	_, db := pgtest.Start(t)
	url := migrated(t, db)
	f := start(t, url, "a", founded(t, url), 0)
	quick := []fleet.Bucket{{Name: "quick", Interval: time.Millisecond, Burst: 3}}
	for _, b := range [][]fleet.Bucket{quick, buckets("slow")} {
		if _, _, err := f.Attempts().Take(t.Context(), b, ""); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(20 * time.Millisecond)
	if _, _, err := f.Attempts().Take(t.Context(), buckets("slow"), ""); err != nil { // anew: it sweeps
		t.Fatal(err)
	}
	if got, err := f.CountAttempts(t.Context()); got != 2 || err != nil {
		t.Errorf("%d rows are left, %v; want the 2 of buckets that are not full", got, err)
	}
}

// TestAttemptsWithoutADatabase are an error, not a way in.
func TestAttemptsWithoutADatabase(t *testing.T) {
	t.Parallel() // it waits, for connections that are cut off
	_, db := pgtest.Start(t)
	url := migrated(t, db)
	way := newLink(t, url)
	f, err := fleet.Open(t.Context(), config(t, way.url, "a", founded(t, url), 0))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	way.set(true)
	if _, _, err := f.Attempts().Take(t.Context(), buckets("ann"), ""); err == nil {
		t.Error("counted without a database")
	}
}
