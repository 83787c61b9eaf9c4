package cause_test

import (
	"context"
	"maps"
	"regexp"
	"slices"
	"testing"

	"sigstack/internal/fault"
	"sigstack/services/ca/cause"
)

// TestReasons: each check has one, of the form that google.rpc.ErrorInfo demands,
// and no two have the same.
func TestReasons(t *testing.T) {
	form := regexp.MustCompile(`^[A-Z][A-Z0-9_]{0,61}[A-Z0-9]$`)
	seen := map[string]bool{}
	for _, c := range cause.Checks() {
		err := cause.Conclude(t.Context(), c, fault.New(fault.Invalid, "no"), func() cause.Facts {
			return cause.Facts{Expected: "this", Found: "that", Said: "hunter2"}
		})
		got, ok := fault.DetailOf(err)
		if !ok || !form.MatchString(got.Reason) || seen[got.Reason] {
			t.Errorf("%s: reason %q, want one of its own", c, got.Reason)
		}
		seen[got.Reason] = true
		if want := map[string]string{"check": string(c), "expected": "this", "found": "that"}; !maps.Equal(got.Metadata, want) {
			t.Errorf("%s: metadata %v, want %v", c, got.Metadata, want)
		}
		if fault.Public(err) != "no" || fault.KindOf(err) != fault.Invalid {
			t.Errorf("%s: %v, want the refusal itself", c, err)
		}
	}
}

func TestExacterCauseStays(t *testing.T) {
	conclude := func(d fault.Detail) fault.Detail {
		err := cause.Conclude(t.Context(), cause.Form, fault.Because(fault.New(fault.Invalid, "no"), d), func() cause.Facts {
			return cause.Facts{Expected: "this"}
		})
		got, _ := fault.DetailOf(err)
		return got
	}
	if got := conclude(fault.Detail{Reason: "TOKEN_MISSING"}); got.Reason != "TOKEN_MISSING" || got.Metadata["expected"] != "this" {
		t.Errorf("got %+v, want the error's reason with the check's facts", got)
	}
	told := conclude(fault.Detail{Reason: "CLAIM_MISSING", Metadata: map[string]string{"claim": "exp", "expected": "that"}})
	if want := map[string]string{"check": "form", "claim": "exp", "expected": "that"}; !maps.Equal(told.Metadata, want) {
		t.Errorf("told %v, want what the error tells with what it lacks, %v", told.Metadata, want)
	}
}

func TestTrace(t *testing.T) {
	var steps []cause.Step
	ctx := cause.Trace(t.Context(), func(s cause.Step) { steps = append(steps, s) })
	facts := func() cause.Facts { return cause.Facts{Expected: "this"} }
	if err := cause.Conclude(ctx, cause.Form, nil, facts); err != nil {
		t.Errorf("passed: got %v", err)
	}
	refusal := fault.New(fault.Invalid, "no")
	err := cause.Conclude(ctx, cause.Issuer, refusal, facts)
	if len(steps) != 2 || steps[0].Err != nil || steps[1].Err != err || steps[1].Expected != "this" { //nolint:errorlint // the same one
		t.Errorf("traced %+v, want a pass and the refusal", steps)
	}
	if got := slices.Collect(func(yield func(cause.Check) bool) {
		for _, s := range steps {
			yield(s.Check)
		}
	}); !slices.Equal(got, []cause.Check{cause.Form, cause.Issuer}) {
		t.Errorf("traced %v, want form and issuer", got)
	}
}

// TestNobodyIsTold: what passes unwatched costs nothing.
func TestNobodyIsTold(t *testing.T) {
	err := cause.Conclude(context.Background(), cause.Form, nil, func() cause.Facts {
		t.Error("the facts were asked for")
		return cause.Facts{}
	})
	if err != nil {
		t.Errorf("got %v, want nil", err)
	}
}
