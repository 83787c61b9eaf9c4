package fleet_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sigstack/internal/fleet"
	"sigstack/internal/pgtest"
)

// slow is a bucket in which nothing grows during a test.
func slow(name string, burst int) *fleet.Bucket {
	return &fleet.Bucket{Name: name, Interval: time.Hour, Burst: burst}
}

func ignore(string, time.Duration) {}

// issuances are those of two replicas on one database.
func issuances(t *testing.T) (a, b *fleet.Issuances) {
	t.Helper()
	_, db := pgtest.Start(t)
	url := migrated(t, db)
	a = start(t, url, "a", founded(t, url), 0).Issuances(ignore)
	b = start(t, url, "b", joined(t, url, "b"), 0).Issuances(ignore)
	t.Cleanup(func() {
		if err := errors.Join(a.Close(), b.Close()); err != nil {
			t.Error(err)
		}
	})
	return a, b
}

// mustTake returns which bucket has no token, 0 if both had.
func mustTake(t *testing.T, of *fleet.Issuances, first, second *fleet.Bucket) int {
	t.Helper()
	short, wait, err := of.Take(t.Context(), first, second)
	if err != nil {
		t.Fatal(err)
	}
	if (short == 0) != (wait == 0) {
		t.Errorf("short of %d, wait %v", short, wait)
	}
	return short
}

// TestIssuancesAreCountedTogether: replicas that take at once take one limit's worth,
// and ask the database less often than they take.
func TestIssuancesAreCountedTogether(t *testing.T) {
	a, b := issuances(t)
	const takes, burst = 400, 30
	in := map[string]*atomic.Int64{"ann": {}, "bob": {}}
	var refused atomic.Int64
	var wait sync.WaitGroup
	for i := range takes {
		wait.Go(func() {
			who := []string{"ann", "bob"}[i/2%2]
			short, after, err := []*fleet.Issuances{a, b}[i%2].Take(t.Context(), slow("identity "+who, burst), nil)
			switch {
			case err != nil:
				t.Error(err)
			case short == 0:
				in[who].Add(1)
			case short != 1 || after > time.Hour || after < 59*time.Minute:
				t.Errorf("short of %d for %v, want 1 for an hour", short, after)
			default:
				refused.Add(1)
			}
		})
	}
	wait.Wait()
	for who, n := range in {
		if n.Load() != burst {
			t.Errorf("%d of %s were let in, want %d", n.Load(), who, burst)
		}
	}
	if got := refused.Load(); got != takes-2*burst {
		t.Errorf("%d were refused, want %d", got, takes-2*burst)
	}
	t.Logf("%d takes in %d questions", takes, a.Asked()+b.Asked())
	if got := a.Asked() + b.Asked(); got > takes/2 {
		t.Errorf("%d questions for %d takes at once", got, takes)
	}
}

// TestIssuancesTakeBothOrNone, within one question and from one to the next.
func TestIssuancesTakeBothOrNone(t *testing.T) {
	a, b := issuances(t)
	ann, bob, issuer := slow("identity ann", 2), slow("identity bob", 10), slow("issuer", 5)
	for i, want := range []int{0, 0, 1, 1, 1} {
		if got := mustTake(t, []*fleet.Issuances{a, b}[i%2], ann, issuer); got != want {
			t.Errorf("ann %d: short of %d, want %d", i+1, got, want)
		}
	}
	// Ann's refusals took none of the issuer's: three are left.
	for i, want := range []int{0, 0, 0, 2, 2} {
		if got := mustTake(t, []*fleet.Issuances{a, b}[i%2], bob, issuer); got != want {
			t.Errorf("bob %d: short of %d, want %d", i+1, got, want)
		}
	}
	// The issuer's refusals took none of Bob's: seven are left.
	var in, out atomic.Int64
	var wait sync.WaitGroup
	for i := range 40 {
		wait.Go(func() {
			short, _, err := []*fleet.Issuances{a, b}[i%2].Take(t.Context(), bob, nil)
			if err != nil {
				t.Error(err)
			}
			if short == 0 {
				in.Add(1)
			} else {
				out.Add(1)
			}
		})
	}
	wait.Wait()
	if in.Load() != 7 || out.Load() != 33 {
		t.Errorf("%d let in and %d refused, want 7 and 33", in.Load(), out.Load())
	}
	if got := mustTake(t, a, nil, nil); got != 0 {
		t.Errorf("no bucket at all: short of %d", got)
	}
}

// TestIssuancesGrowBack: over time as many pass as grow, and not earlier than a refusal
// said.
func TestIssuancesGrowBack(t *testing.T) {
	a, b := issuances(t)
	quick := &fleet.Bucket{Name: "quick", Interval: 100 * time.Millisecond, Burst: 3}
	began, in := time.Now(), 0
	for i := 0; time.Since(began) < 2*time.Second; i++ {
		short, wait, err := []*fleet.Issuances{a, b}[i%2].Take(t.Context(), nil, quick)
		switch {
		case err != nil:
			t.Fatal(err)
		case short == 0:
			in++
		case short != 2 || wait > quick.Interval:
			t.Fatalf("short of %d for %v, want 2 for at most %v", short, wait, quick.Interval)
		default:
			time.Sleep(wait / 2)
		}
	}
	most := quick.Burst + int(time.Since(began)/quick.Interval) + 1
	if in > most || in < most/2 {
		t.Errorf("%d were let in within %v, want %d at most, and not few", in, time.Since(began), most)
	}
}

// TestSpentAhead: what a replica spends before it tells is bounded, is told soon, counts
// for all, and may leave a bucket in debt by that much.
func TestSpentAhead(t *testing.T) {
	_, db := pgtest.Start(t)
	url := migrated(t, db)
	told := make(chan time.Duration, 100)
	a := start(t, url, "a", founded(t, url), 0).Issuances(func(name string, fullIn time.Duration) {
		if name != "issuer" {
			told <- fullIn
		}
	})
	b := start(t, url, "b", joined(t, url, "b"), 0).Issuances(ignore)
	a.RestFor(700 * time.Millisecond) // however busy the machine is
	ann, issuer := slow("ann", 60), slow("issuer", 1000)
	if got := ann.Ahead(); got != 3 {
		t.Fatalf("%d may be spent ahead of 60, want 3", got)
	}
	for i, want := range []bool{true, true, true, false} {
		if got := a.Spend(t.Context(), ann, issuer); got != want {
			t.Errorf("spent %d ahead: %v, want %v", i+1, got, want)
		}
	}
	if a.Spend(t.Context(), slow("small", 19), nil) {
		t.Error("spent ahead of a bucket that has too few tokens for that")
	}
	if !a.Spend(t.Context(), nil, nil) {
		t.Error("no limit refuses")
	}
	if fullIn := <-told; fullIn < 2*time.Hour+59*time.Minute || fullIn > 3*time.Hour {
		t.Errorf("told that it is full in %v, want 3h", fullIn)
	}
	if asked := a.Asked(); asked != 1 {
		t.Errorf("%d questions for three that were spent at once", asked)
	}
	for i := range 57 {
		if short := mustTake(t, b, ann, issuer); short != 0 {
			t.Fatalf("of 60 less 3 only %d are there", i)
		}
	}
	if short := mustTake(t, b, ann, issuer); short != 1 {
		t.Errorf("short of %d when all are taken", short)
	}
	if !a.Spend(t.Context(), ann, issuer) { // which does not know yet
		t.Error("not spent ahead")
	}
	if err := errors.Join(a.Close(), b.Close()); err != nil {
		t.Error(err)
	}
	if fullIn := <-told; fullIn < 60*time.Hour+59*time.Minute || fullIn > 61*time.Hour {
		t.Errorf("told that it is full in %v, want the debt of one, 61h", fullIn)
	}
	if a.Spend(t.Context(), slow("carl", 60), nil) {
		t.Error("spent after the end")
	}
	if _, _, err := a.Take(t.Context(), slow("carl", 60), nil); err == nil {
		t.Error("taken after the end")
	}
}

// TestBoundOfAll: whatever replicas do at once that spend ahead while half of a bucket is
// left by what they know, no more is let in than it holds and what each may spend ahead.
func TestBoundOfAll(t *testing.T) {
	_, db := pgtest.Start(t)
	url := migrated(t, db)
	const burst, tries = 100, 400
	ann := slow("ann", burst)
	var in, ahead atomic.Int64
	var wait sync.WaitGroup
	for i, dir := range []string{founded(t, url), joined(t, url, "b")} {
		var taken atomic.Int64 // as far as this replica knows
		name := string(rune('a' + i))
		of := start(t, url, name, dir, 0).Issuances(func(_ string, fullIn time.Duration) { taken.Store(int64(fullIn.Hours() + 0.5)) })
		for range 8 {
			wait.Go(func() {
				for range tries / 16 {
					if taken.Load() < burst/2 && of.Spend(t.Context(), ann, nil) {
						ahead.Add(1)
						in.Add(1)
						continue
					}
					short, _, err := of.Take(t.Context(), ann, nil)
					if err != nil {
						t.Error(err)
					}
					if short == 0 {
						in.Add(1)
					}
				}
			})
		}
		defer func() {
			if err := of.Close(); err != nil {
				t.Error(err)
			}
		}()
	}
	wait.Wait()
	t.Logf("%d were let in, %d of them ahead", in.Load(), ahead.Load())
	if most := int64(burst + 2*ann.Ahead()); in.Load() < burst || in.Load() > most {
		t.Errorf("%d were let in, want %d to %d", in.Load(), burst, most)
	}
}

// TestFullIssuancesAreRemoved, and others stay.
func TestFullIssuancesAreRemoved(t *testing.T) {
	_, db := pgtest.Start(t)
	url := migrated(t, db)
	f := start(t, url, "a", founded(t, url), 0)
	all := f.Issuances(ignore)
	mustTake(t, all, &fleet.Bucket{Name: "quick", Interval: time.Millisecond, Burst: 3}, slow("slow", 3))
	if err := all.Close(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond)
	anew := f.Issuances(ignore) // it sweeps
	mustTake(t, anew, slow("slow", 3), nil)
	if err := anew.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := f.CountIssuances(t.Context()); got != 1 || err != nil {
		t.Errorf("%d rows are left, %v; want the 1 of a bucket that is not full", got, err)
	}
}

// TestIssuancesWithoutADatabase: nobody is let in, nobody waits for long, and all goes on
// when it is back.
func TestIssuancesWithoutADatabase(t *testing.T) {
	t.Parallel() // it waits, for connections that are cut off
	_, db := pgtest.Start(t)
	url := migrated(t, db)
	way := newLink(t, url)
	f, err := fleet.Open(t.Context(), config(t, way.url, "a", founded(t, url), 0))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := f.Issuances(ignore)
	if got := mustTake(t, s, slow("ann", 100), nil); got != 0 {
		t.Fatalf("short of %d", got)
	}
	other := f.Issuances(ignore)
	way.set(true)
	if !s.Spend(t.Context(), slow("bob", 100), nil) {
		t.Error("nobody knows yet that the database is away")
	}
	time.Sleep(1200 * time.Millisecond)
	if s.Spend(t.Context(), slow("carl", 100), nil) {
		t.Error("spent though the one before is not told after a second")
	}
	began := time.Now()
	var wait sync.WaitGroup
	for range 20 {
		wait.Go(func() {
			if _, _, err := s.Take(t.Context(), slow("ann", 100), nil); err == nil {
				t.Error("counted without a database")
			}
		})
	}
	wait.Wait()
	if took := time.Since(began); took > 9*time.Second {
		t.Errorf("refused after %v", took)
	}
	if _, _, err := other.Take(t.Context(), slow("dora", 100), nil); err == nil {
		t.Error("counted without a database")
	}
	if other.Spend(t.Context(), slow("dora", 100), nil) {
		t.Error("spent though the last question failed")
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := s.Take(gone, slow("ann", 100), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("of a client that went away: %v", err)
	}
	way.set(false)
	for end := time.Now().Add(patient); ; time.Sleep(100 * time.Millisecond) {
		if _, _, err = s.Take(t.Context(), slow("ann", 100), nil); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the database is back: %v", err)
		}
	}
	if !s.Spend(t.Context(), slow("carl", 100), nil) {
		t.Error("not spent though the database is back")
	}
	if err := errors.Join(s.Close(), other.Close()); err != nil {
		t.Error(err)
	}
	if got, err := f.CountIssuances(t.Context()); got != 3 || err != nil {
		t.Errorf("%d rows, %v; want those of Ann, of Bob who was counted late, and of Carl", got, err)
	}
}

// FuzzQuestion: whatever is asked for at once, each bucket is in the question once, in
// the order of keys, and each request finds its own there.
func FuzzQuestion(f *testing.F) {
	f.Add([]byte{1, 2, 1, 3, 0, 2, 1, 0, 0x81, 0x82, 0x81, 0x80})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, asked []byte) {
		bucket := func(kind string, n byte) *fleet.Bucket {
			if n == 0 {
				return nil
			}
			return &fleet.Bucket{Name: fmt.Sprint(kind, n), Interval: time.Duration(n) * time.Second, Burst: int(n)}
		}
		var spent, firsts, seconds []*fleet.Bucket
		for len(asked) >= 2 {
			pair := binary.BigEndian.Uint16(asked)
			asked = asked[2:]
			if pair&0x8080 == 0x8080 {
				spent = append(spent, bucket("a", byte(pair>>8)), bucket("b", byte(pair)))
				continue
			}
			firsts, seconds = append(firsts, bucket("a", byte(pair>>8))), append(seconds, bucket("b", byte(pair)))
		}
		if err := fleet.CheckQuestion(spent, firsts, seconds); err != nil {
			t.Error(err)
		}
	})
}
