package fleet_test

import (
	"errors"
	"testing"
	"time"

	"sigstack/internal/fleet"
	"sigstack/internal/pgtest"
)

// TestRemoveTheLeader: it is refused while it is alive; forced, it stops at once, is
// known to nobody, and another one leads for good.
func TestRemoveTheLeader(t *testing.T) {
	url := migrated(t, pgtest.New(t))
	a := start(t, url, "a", founded(t, url), 0)
	a.within(t, patient, "a leads", leads)
	dirB := joined(t, url, "b")
	b := start(t, url, "b", dirB, 0)
	b.within(t, patient, "b follows", func(s fleet.State) bool { return s.Leader == "a" && !s.Fenced })
	cfg := config(t, url, "b", dirB, 0)
	if err := fleet.Remove(t.Context(), cfg, "a", false); !errors.Is(err, fleet.ErrAlive) {
		t.Fatalf("alive: got %v, want ErrAlive", err)
	}
	if err := fleet.Remove(t.Context(), cfg, "nobody", true); !errors.Is(err, fleet.ErrNoReplica) {
		t.Errorf("of no name: got %v, want ErrNoReplica", err)
	}
	if !b.Member(fleet.Pin{'a'}) {
		t.Error("b does not know a, which leads")
	}
	began := time.Now()
	if err := fleet.Remove(t.Context(), cfg, "a", true); err != nil {
		t.Fatal(err)
	}
	a.within(t, 2*time.Second, "a has stopped", func(s fleet.State) bool { return s.Removed && s.Fenced && !s.Leading })
	for b.Member(fleet.Pin{'a'}) {
		if time.Since(began) > 2*time.Second {
			t.Fatal("b still knows a")
		}
		time.Sleep(10 * time.Millisecond)
	}
	b.within(t, patient, "b leads", leads)
	term := b.State().Term
	time.Sleep(time.Second) // a stands for election all the while
	if s := b.State(); !s.Leading || s.Term != term {
		t.Errorf("a second later b is %+v, and led in term %d", s, term)
	}
	if _, err := a.Push(t.Context(), nil, nil); !errors.Is(err, fleet.ErrDeposed) {
		t.Errorf("push of the removed leader: got %v, want ErrDeposed", err)
	}
	if err := fleet.Remove(t.Context(), cfg, "b", true); !errors.Is(err, fleet.ErrOnly) {
		t.Errorf("the last: got %v, want ErrOnly", err)
	}
	a.stop()
	if _, err := fleet.Open(t.Context(), config(t, url, "a", a.dir, 0)); !errors.Is(err, fleet.ErrUnknown) {
		t.Errorf("started again: got %v, want ErrUnknown", err)
	}
}

func TestOthers(t *testing.T) {
	url := migrated(t, pgtest.New(t))
	founded(t, url)
	for process, want := range map[string]bool{"": false, "front": true} {
		if got, err := fleet.Others(t.Context(), url, schema, process); err != nil || got != want {
			t.Errorf("others than %q: got %v, %v, want %v", process, got, err, want)
		}
	}
}
