package compat

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"sigstack/e2e/clients"
)

// report renders the cells as Markdown: a line for each client and case, and a
// list of what cannot work, which the lines refer to by number.
func report(cells []cell, versions map[string]string) string {
	var b strings.Builder
	reasons := numberReasons(cells)
	fmt.Fprintf(&b, "%d cells under %d settings: %s.\n\n", len(cells), len(allSettings), tally(cells))
	b.WriteString("| client | version | case | verdict | seconds |\n|---|---|---|---|---|\n")
	for _, kind := range clients.Kinds() {
		fmt.Fprintf(&b, "| | | **%s** | | |\n", kind)
		for _, c := range clients.All() {
			group := of(cells, func(x cell) bool { return x.kind == kind && x.signer == c.Name() && x.verifier == "" })
			line(&b, c.Name(), versions, "signs", group, reasons)
		}
		for _, verifier := range clients.All() {
			for _, signer := range clients.All() {
				group := of(cells, func(x cell) bool {
					return x.kind == kind && x.signer == signer.Name() && x.verifier == verifier.Name()
				})
				line(&b, verifier.Name(), versions, "verifies what "+signer.Name()+" signed", group, reasons)
			}
		}
	}
	b.WriteString("\n## What cannot work\n\nEach is a test that runs the client, demands that it refuses in these words, and fails once it works.\n\n")
	for i, reason := range slices.SortedFunc(maps.Keys(reasons), func(x, y string) int { return reasons[x] - reasons[y] }) {
		fmt.Fprintf(&b, "%d. %s\n", i+1, reason)
	}
	return b.String()
}

func of(cells []cell, want func(cell) bool) []cell {
	return slices.DeleteFunc(slices.Clone(cells), func(c cell) bool { return !want(c) })
}

func tally(cells []cell) string {
	works := len(of(cells, func(c cell) bool { return c.limit == nil }))
	unmade := len(of(cells, func(c cell) bool { return c.unmade }))
	return fmt.Sprintf("%d work, %d cannot, %d have nothing to verify because the signer cannot", works, len(cells)-works-unmade, unmade)
}

// numberReasons counts reasons from 1, those of frequent cells first.
func numberReasons(cells []cell) map[string]int {
	count := map[string]int{}
	for _, c := range cells {
		if c.limit != nil {
			count[reason(c.limit)]++
		}
	}
	order := slices.SortedFunc(maps.Keys(count), func(x, y string) int {
		if count[x] != count[y] {
			return count[y] - count[x]
		}
		return strings.Compare(x, y)
	})
	numbers := map[string]int{}
	for i, r := range order {
		numbers[r] = i + 1
	}
	return numbers
}

// reason is a limit as the page says it, with upstream's words.
func reason(l *clients.Limit) string {
	return fmt.Sprintf("%s. It says: `%s`", l.Why, l.Says)
}

// line sums up one case over all settings.
func line(b *strings.Builder, client string, versions map[string]string, what string, group []cell, reasons map[string]int) {
	var took []time.Duration
	cannot, unmade := map[int]int{}, map[int]int{}
	for _, c := range group {
		switch {
		case c.unmade:
			unmade[reasons[reason(c.limit)]]++
		case c.limit != nil:
			cannot[reasons[reason(c.limit)]]++
		default:
			took = append(took, c.took)
		}
	}
	var verdict []string
	if len(took) > 0 {
		verdict = append(verdict, fmt.Sprintf("works in %d", len(took)))
	}
	for _, n := range slices.Sorted(maps.Keys(cannot)) {
		verdict = append(verdict, fmt.Sprintf("cannot in %d (%d)", cannot[n], n))
	}
	for _, n := range slices.Sorted(maps.Keys(unmade)) {
		verdict = append(verdict, fmt.Sprintf("unsigned in %d (%d)", unmade[n], n))
	}
	fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", client, versions[client], what, strings.Join(verdict, ", "), median(took))
}

func median(took []time.Duration) string {
	if len(took) == 0 {
		return "–"
	}
	slices.Sort(took)
	return fmt.Sprintf("%.1f", took[len(took)/2].Seconds())
}

func TestReport(t *testing.T) {
	versions := map[string]string{"cosign-v3": "v3.1.3", "cosign-v2": "v2.6.5"}
	limit := &clients.Limit{Why: "it has no eyes", Says: "cannot see"}
	cells := []cell{
		{kind: clients.Blob, signer: "cosign-v3", took: 1200 * time.Millisecond},
		{kind: clients.Blob, signer: "cosign-v3", verifier: "cosign-v2", took: 2 * time.Second},
		{kind: clients.Blob, signer: "cosign-v3", verifier: "cosign-v2", took: time.Second},
		{kind: clients.Blob, signer: "cosign-v3", verifier: "cosign-v2", took: 4 * time.Second},
		{kind: clients.Blob, signer: "cosign-v3", verifier: "cosign-v2", limit: limit},
		{kind: clients.Blob, signer: "cosign-v3", verifier: "cosign-v2", limit: limit, unmade: true},
	}
	got := report(cells, versions)
	for _, want := range []string{
		"6 cells under 9 settings: 4 work, 1 cannot, 1 have nothing to verify because the signer cannot.\n",
		"| cosign-v3 | v3.1.3 | signs | works in 1 | 1.2 |\n",
		"| cosign-v2 | v2.6.5 | verifies what cosign-v3 signed | works in 3, cannot in 1 (1), unsigned in 1 (1) | 2.0 |\n",
		"\n1. it has no eyes. It says: `cannot see`\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("got\n%s\nwant a line %q", got, want)
		}
	}
}
