package stack_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"sigstack/internal/stack"
	"sigstack/internal/trust"
	tufroot "sigstack/tuf-root"
)

// TestWithoutRenames: what only changes its name goes, and nothing else does.
func TestWithoutRenames(t *testing.T) {
	file := func(usage, data string) tufroot.ReviewedTarget {
		return tufroot.ReviewedTarget{Data: []byte(data), Custom: []byte(`{"sigstore":{"usage":"` + usage + `","status":"Active"}}`)}
	}
	type targets = map[string]tufroot.ReviewedTarget
	names := func(list targets) string { return strings.Join(slices.Sorted(maps.Keys(list)), " ") }
	for what, tt := range map[string]struct {
		before, after targets
		were, now     string
	}{
		"two swap":          {targets{"rekor.pub": file("Rekor", "a"), "rekor_2.pub": file("Rekor", "b")}, targets{"rekor.pub": file("Rekor", "b"), "rekor_2.pub": file("Rekor", "a")}, "", ""},
		"one more":          {targets{"rekor.pub": file("Rekor", "a")}, targets{"rekor.pub": file("Rekor", "b"), "rekor_2.pub": file("Rekor", "a")}, "", "rekor.pub"},
		"the same twice":    {targets{"rekor.pub": file("Rekor", "a")}, targets{"rekor.pub": file("Rekor", "a"), "rekor_2.pub": file("Rekor", "a")}, "", "rekor_2.pub"},
		"one less":          {targets{"a": file("Rekor", "a"), "b": file("Rekor", "b")}, targets{"a": file("Rekor", "b")}, "a", ""},
		"another use":       {targets{"a": file("Rekor", "a")}, targets{"b": file("CTFE", "a")}, "a", "b"},
		"no use":            {targets{"a": file("", "a")}, targets{"b": file("", "a")}, "a", "b"},
		"no metadata":       {targets{"a": {Data: []byte("a")}}, targets{"b": {Data: []byte("a")}}, "a", "b"},
		"a trusted root":    {targets{trust.TrustedRootName: file("Rekor", "a")}, targets{trust.TrustedRootName: file("Rekor", "a")}, trust.TrustedRootName, trust.TrustedRootName},
		"a root for a file": {targets{trust.TrustedRootName: file("Rekor", "a")}, targets{"a": file("Rekor", "a")}, trust.TrustedRootName, "a"},
	} {
		c := tufroot.Change{Before: tt.before, After: tt.after}
		got := stack.WithoutRenames(c)
		if names(got.Before) != tt.were || names(got.After) != tt.now {
			t.Errorf("%s: left %q and %q, want %q and %q", what, names(got.Before), names(got.After), tt.were, tt.now)
		}
		if len(c.Before) != len(tt.before) || len(c.After) != len(tt.after) {
			t.Errorf("%s: the change itself was changed", what)
		}
	}
}
