package fault_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"sigstack/internal/fault"
)

func TestDetailOf(t *testing.T) {
	inner := fault.Because(fault.New(fault.Invalid, "too old"), fault.Detail{Reason: "TOKEN_EXPIRED"})
	outer := fault.Because(fault.Wrap(fault.Invalid, inner, "no token"), fault.Detail{Reason: "NO_TOKEN"})
	tests := []struct {
		name string
		err  error
		want string // "" for none
	}{
		{"none", fault.New(fault.Invalid, "wrong"), ""},
		{"unclassified", errors.New("disk"), ""},
		{"nil", nil, ""},
		{"its own", inner, "TOKEN_EXPIRED"},
		{"of the same kind inside", fault.Wrap(fault.Invalid, fmt.Errorf("verify: %w", inner), "bad token"), "TOKEN_EXPIRED"},
		{"joined", errors.Join(nil, inner), "TOKEN_EXPIRED"},
		{"outermost wins", outer, "NO_TOKEN"},
		{"classified anew", fault.Wrap(fault.Internal, inner, "our fault"), ""},
		{"of no class", fault.Because(errors.New("disk"), fault.Detail{Reason: "DISK"}), "DISK"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := fault.DetailOf(tt.err)
			if got.Reason != tt.want || ok != (tt.want != "") {
				t.Errorf("got %q, %t, want %q", got.Reason, ok, tt.want)
			}
		})
	}
}

func TestBecauseKeepsTheRest(t *testing.T) {
	cause := errors.New("dial tcp")
	err := fault.Because(fmt.Errorf("ask: %w", &fault.Error{
		Kind: fault.Unavailable, Public: "log is down", Code: 7, Err: cause, RetryAfter: time.Second,
	}), fault.Detail{Reason: "LOG_DOWN"})
	if got := fault.KindOf(err); got != fault.Unavailable {
		t.Errorf("kind %v, want unavailable", got)
	}
	if got := fault.Public(err); got != "log is down" {
		t.Errorf("sentence %q, want that of the cause", got)
	}
	if got := fault.CodeOf(err); got != 7 {
		t.Errorf("code %d, want 7", got)
	}
	if got := fault.RetryAfterOf(err); got != time.Second {
		t.Errorf("retry after %v, want 1s", got)
	}
	if !errors.Is(err, cause) {
		t.Error("the cause is lost")
	}
	plain := fault.New(fault.Invalid, "x")
	if explained := fault.Because(plain, fault.Detail{Reason: "X"}); explained.Error() != "x" {
		t.Errorf("text %q, want %q", explained, "x")
	}
	if _, ok := fault.DetailOf(plain); ok {
		t.Error("the error that was explained has changed")
	}
}
