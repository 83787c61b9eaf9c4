package limit_test

import (
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sigstack/internal/limit"
)

// clock is a time that tests move.
type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time          { return time.Unix(1_800_000_000, c.at.Load()) }
func (c *clock) advance(d time.Duration) { c.at.Add(int64(d)) }

func TestAllow(t *testing.T) {
	var c clock
	k := limit.NewKeyed(2, 3, 10, c.now)
	for i := range 3 {
		if ok, _ := k.Allow("a"); !ok {
			t.Fatalf("request %d of a burst of 3 is refused", i+1)
		}
	}
	ok, wait := k.Allow("a")
	if ok || wait != 500*time.Millisecond {
		t.Errorf("after the burst: %v, wait %v, want false, 500ms", ok, wait)
	}
	if ok, _ := k.Allow("b"); !ok {
		t.Error("another key is refused")
	}
	c.advance(wait - 1)
	if ok, wait := k.Allow("a"); ok || wait != 1 {
		t.Errorf("1 ns too early: %v, wait %v, want false, 1ns", ok, wait)
	}
	c.advance(1)
	if ok, _ := k.Allow("a"); !ok {
		t.Error("refused when the wait is over")
	}
	if ok, _ := k.Allow("a"); ok {
		t.Error("one token let two in")
	}
}

func TestUnlimited(t *testing.T) {
	k := limit.NewKeyed(0, 0, 10, time.Now)
	for range 1000 {
		if ok, _ := k.Allow("a"); !ok {
			t.Fatal("no limit refuses")
		}
	}
	k.Spend("a")
	k.Refund("a")
	if ok, _ := k.Peek("a"); !ok {
		t.Error("no limit refuses")
	}
}

// TestFailuresOnly: both ways to count failures only.
func TestFailuresOnly(t *testing.T) {
	var c clock
	k := limit.NewKeyed(1, 2, 10, c.now)
	for range 10 { // successes cost nothing
		if ok, _ := k.Peek("a"); !ok {
			t.Fatal("peeking costs")
		}
		if ok, _ := k.Allow("a"); !ok {
			t.Fatal("a refunded token is gone")
		}
		k.Refund("a")
	}
	for range 5 { // five peeked at once and failed
		k.Spend("a")
	}
	ok, wait := k.Peek("a")
	if ok || wait != 3*time.Second { // debt of 2, and one token
		t.Errorf("after five failures: %v, wait %v, want false, 3s", ok, wait)
	}
	if ok, w := k.Allow("a"); ok || w != wait {
		t.Errorf("Allow says %v, %v, Peek said %v", ok, w, wait)
	}
	k.Refund("nobody")
	if ok, _ := k.Peek("nobody"); !ok {
		t.Error("a key that was never used is refused")
	}
}

// TestRaise: what another counter says holds here, and gives nobody more than this one
// has.
func TestRaise(t *testing.T) {
	var c clock
	k := limit.NewKeyed(1, 3, 10, c.now) // without a token from 2s on
	wantLeft := func(key string, want int) {
		t.Helper()
		if got := k.Left(key); got != want {
			t.Errorf("%s has %d tokens left, want %d", key, got, want)
		}
	}
	wantLeft("a", 3)
	k.Raise("a", 2400*time.Millisecond)
	if ok, wait := k.Allow("a"); ok || wait != 400*time.Millisecond {
		t.Errorf("raised: %v, wait %v, want false, 400ms", ok, wait)
	}
	wantLeft("a", 0)
	k.Raise("a", time.Second)
	if ok, wait := k.Peek("a"); ok || wait != 400*time.Millisecond {
		t.Errorf("raised to less: %v, wait %v, want false, 400ms", ok, wait)
	}
	c.advance(400 * time.Millisecond)
	wantLeft("a", 1)
	if ok, _ := k.Allow("a"); !ok {
		t.Error("refused when the wait is over")
	}
	if ok, _ := k.Allow("a"); ok {
		t.Error("the end of a wait gave more than a token")
	}
	k.Raise("a", 24*time.Hour)
	if ok, wait := k.Peek("a"); ok || wait != 4*time.Second {
		t.Errorf("raised to a day: %v, wait %v, want that of the deepest debt, 4s", ok, wait)
	}
	wantLeft("a", 0)
	for range 3 {
		k.Allow("b")
	}
	k.Raise("b", 0)
	wantLeft("b", 0)
	none := limit.NewKeyed(0, 0, 10, time.Now)
	none.Raise("a", time.Hour)
	if ok, _ := none.Allow("a"); !ok || none.Left("a") < 1<<30 {
		t.Error("no limit refuses")
	}
}

// TestClockSetBack: nobody waits for longer than the deepest debt.
func TestClockSetBack(t *testing.T) {
	var c clock
	k := limit.NewKeyed(1, 2, 10, c.now)
	k.Allow("a")
	k.Allow("a")
	c.advance(-24 * time.Hour)
	if ok, wait := k.Allow("a"); ok || wait > 3*time.Second {
		t.Errorf("clock set back: %v, wait %v, want false, at most 3s", ok, wait)
	}
	c.advance(3 * time.Second)
	if ok, wait := k.Allow("a"); !ok {
		t.Errorf("still refused after 3s, wait %v", wait)
	}
}

// TestEvictionKeepsDebt: who spent a burst does not get another one by filling
// the table.
func TestEvictionKeepsDebt(t *testing.T) {
	var c clock
	const keys = 8
	k := limit.NewKeyed(1, 5, keys, c.now)
	for range 5 {
		k.Allow("victim")
	}
	for i := range 100 * keys {
		k.Allow(fmt.Sprint("other", i))
	}
	if k.Has("victim") {
		t.Fatal("the table is no smaller than this test takes it for")
	}
	if ok, _ := k.Peek("victim"); ok {
		t.Error("Peek: eviction gave a new burst")
	}
	if ok, _ := k.Allow("victim"); ok {
		t.Error("Allow: eviction gave a new burst")
	}
	c.advance(5 * time.Second)
	if ok, _ := k.Allow("victim"); !ok {
		t.Error("the debt outlives the time it takes to grow back")
	}
}

// TestLongKeys: a key is not kept at any length, and long ones are kept apart.
func TestLongKeys(t *testing.T) {
	var c clock
	k := limit.NewKeyed(1, 1, 10, c.now)
	long := strings.Repeat("x", 1<<16)
	if ok, _ := k.Allow(long + "a"); !ok {
		t.Error("first use of a long key is refused")
	}
	if ok, _ := k.Allow(long + "b"); !ok {
		t.Error("long keys share a bucket")
	}
	if ok, _ := k.Allow(long + "a"); ok {
		t.Error("a long key has no limit")
	}
	if n := k.LongestKey(); n > 64 {
		t.Errorf("a key of %d bytes is kept", n)
	}
}

func TestOddNumbers(t *testing.T) {
	for _, rate := range []float64{1e-300, 1e-9, 1e300} {
		var c clock
		k := limit.NewKeyed(rate, 1<<30, 1, c.now)
		if ok, _ := k.Allow("a"); !ok {
			t.Errorf("rate %v: first request refused", rate)
		}
	}
	k := limit.NewKeyed(1e-300, 1, 1, (&clock{}).now)
	k.Allow("a")
	if ok, wait := k.Allow("a"); ok || wait <= 0 {
		t.Errorf("tiny rate: %v, wait %v, want false and a wait", ok, wait)
	}
	defer func() {
		if recover() == nil {
			t.Error("a rate below zero is taken")
		}
	}()
	limit.NewKeyed(-1, 1, 1, time.Now)
}

// FuzzKeyed plays any history and checks that no key gets more than burst +
// rate*t within any time that begins at one of its requests, and that no more
// than maxKeys buckets are kept.
func FuzzKeyed(f *testing.F) {
	f.Add(uint8(3), uint8(2), []byte{0, 1, 0, 2, 0, 3, 0, 0, 9, 1, 9, 0})
	f.Add(uint8(1), uint8(1), []byte{0, 0, 0, 0, 255, 0, 0, 0})
	f.Add(uint8(5), uint8(4), []byte("a history of more keys than there is room for, in any order"))
	f.Fuzz(func(t *testing.T, burst, keys uint8, history []byte) {
		if burst == 0 || keys == 0 || len(history) > 1000 {
			return
		}
		const rate = 10
		var c clock
		k := limit.NewKeyed(rate, int(burst), int(keys), c.now)
		allowed := map[string][]time.Time{}
		for len(history) >= 2 {
			step := binary.BigEndian.Uint16(history)
			history = history[2:]
			key := fmt.Sprint(step & 31)
			c.advance(time.Duration(step>>7) * time.Millisecond)
			switch step >> 5 & 3 {
			case 0, 1:
				peeked, _ := k.Peek(key)
				if left := k.Left(key); (left > 0) != peeked || left > int(burst) {
					t.Fatalf("%d left, Peek %v", left, peeked)
				}
				ok, wait := k.Allow(key)
				if ok != peeked || ok != (wait == 0) {
					t.Fatalf("Peek %v, Allow %v, wait %v", peeked, ok, wait)
				}
				if ok {
					allowed[key] = append(allowed[key], c.now())
				}
			case 2:
				k.Spend(key)
			case 3:
				k.Raise(key, time.Duration(step>>7)*time.Millisecond)
			}
			if n := k.Len(); n > int(keys) {
				t.Fatalf("%d buckets, want at most %d", n, keys)
			}
		}
		for key, times := range allowed {
			checkRate(t, key, times, rate, int(burst))
		}
	})
}

func checkRate(t *testing.T, key string, times []time.Time, rate float64, burst int) {
	t.Helper()
	for i := range times {
		for j := i; j < len(times); j++ {
			most := float64(burst) + rate*times[j].Sub(times[i]).Seconds()
			if got := float64(j - i + 1); got > most+1e-6 {
				t.Fatalf("key %s: %v allowed within %v, want at most %v", key, got, times[j].Sub(times[i]), most)
			}
		}
	}
}

func TestConcurrent(t *testing.T) {
	var c clock
	k := limit.NewKeyed(1, 100, 4, c.now)
	var allowed atomic.Int64
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 1000 {
				if ok, _ := k.Allow("shared"); ok {
					allowed.Add(1)
				}
				k.Allow(fmt.Sprint(i, j%10))
			}
		})
	}
	wg.Wait()
	if n := allowed.Load(); n > 100 {
		t.Errorf("%d allowed of a burst of 100", n)
	}
}

func TestBudget(t *testing.T) {
	b := limit.NewBudget(10)
	for _, step := range []struct {
		take int64
		want bool
	}{{6, true}, {5, false}, {4, true}, {1, false}} {
		if got := b.Take(step.take); got != step.want {
			t.Errorf("take %d with %d used: %v, want %v", step.take, b.Used(), got, step.want)
		}
	}
	b.Give(10)
	if b.Used() != 0 || !b.Take(10) {
		t.Errorf("%d used after all was given back", b.Used())
	}
	var none *limit.Budget
	if !none.Take(1<<60) || none.Used() != 0 {
		t.Error("no budget refuses")
	}
	none.Give(1)
}

func BenchmarkAllow(b *testing.B) {
	b.Run("one key", func(b *testing.B) {
		k := limit.NewKeyed(1e6, 1000, 1<<16, time.Now)
		b.ReportAllocs()
		for b.Loop() {
			k.Allow("192.0.2.1")
		}
	})
	b.Run("flood of keys", func(b *testing.B) {
		k := limit.NewKeyed(1, 10, 1<<12, time.Now)
		keys := make([]string, 1<<14)
		for i := range keys {
			keys[i] = fmt.Sprint("2001:db8::", i)
		}
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			k.Allow(keys[i%len(keys)])
		}
	})
}
