package limit_test

import (
	"fmt"
	"testing"

	"sigstack/internal/limit"
)

func TestShares(t *testing.T) {
	s := limit.NewShares(100)
	for _, step := range []struct {
		user string
		take int64
		want bool
	}{
		{"a", 51, false},
		{"a", 50, true},
		{"a", 1, false},
		{"b", 26, false},
		{"b", 25, true},
		{"b", 1, false},
		{"c", 12, true},
		{"a", 1, false},
		{"c", 0, true},
	} {
		if got := s.Take(step.user, step.take); got != step.want {
			t.Errorf("%s takes %d with %d used: %v, want %v", step.user, step.take, s.Used(), got, step.want)
		}
	}
	s.Give("a", 50)
	if s.Used() != 37 || !s.Take("c", 19) {
		t.Errorf("%d used, and c cannot take of what a gave back", s.Used())
	}
	s.Give("b", 25)
	s.Give("c", 31)
	if s.Used() != 0 || s.Users() != 0 {
		t.Errorf("%d used by %d users after all was given back", s.Used(), s.Users())
	}
	var none *limit.Shares
	if !none.Take("a", 1<<60) || none.Used() != 0 {
		t.Error("no budget refuses")
	}
	none.Give("a", 1)
}

// FuzzShares plays any history: the total holds, and nobody ever has more than is
// left free.
func FuzzShares(f *testing.F) {
	f.Add([]byte{0x10, 0x21, 0x90, 0x33})
	f.Fuzz(func(t *testing.T, history []byte) {
		const total = 50
		s := limit.NewShares(total)
		held, sum := map[string]int64{}, int64(0)
		for _, op := range history {
			user, n := fmt.Sprint(op&7), int64(op>>3&15)
			if op >= 128 {
				n = min(n, held[user])
				s.Give(user, n)
				held[user] -= n
				sum -= n
				continue
			}
			got := s.Take(user, n)
			if want := n == 0 || held[user]+n <= total-sum-n; got != want {
				t.Fatalf("%s has %d of %d and takes %d: %v", user, held[user], sum, n, got)
			}
			if got {
				held[user] += n
				sum += n
			}
			if s.Used() != sum || sum > total {
				t.Fatalf("%d used, want %d", s.Used(), sum)
			}
		}
	})
}
