package fault_test

import (
	"errors"
	"fmt"
	"testing"

	"sigstack/internal/fault"
)

func TestClassification(t *testing.T) {
	cause := errors.New("dial tcp 10.0.0.1: secret detail")
	tests := []struct {
		name   string
		err    error
		kind   fault.Kind
		public string
	}{
		{"unclassified hides its text", cause, fault.Internal, "internal error"},
		{"new", fault.New(fault.Invalid, "bad hash"), fault.Invalid, "bad hash"},
		{"newf", fault.Newf(fault.NotFound, "no entry %d", 7), fault.NotFound, "no entry 7"},
		{"wrap hides the cause", fault.Wrap(fault.Unavailable, cause, "log is down"), fault.Unavailable, "log is down"},
		{"found through wrapping", fmt.Errorf("add: %w", fault.New(fault.Conflict, "exists")), fault.Conflict, "exists"},
		{"outermost wins", fault.Wrap(fault.Internal, fault.New(fault.Invalid, "inner"), "outer"), fault.Internal, "outer"},
		{"empty sentence", fault.Wrap(fault.Internal, cause, ""), fault.Internal, "internal error"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := fault.KindOf(tt.err); got != tt.kind {
				t.Errorf("KindOf = %v, want %v", got, tt.kind)
			}
			if got := fault.Public(tt.err); got != tt.public {
				t.Errorf("Public = %q, want %q", got, tt.public)
			}
		})
	}
	if !errors.Is(fault.Wrap(fault.Internal, cause, "x"), cause) {
		t.Error("the cause is not reachable with errors.Is")
	}
}
