package negatives

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// report renders verdicts as Markdown: a sentence, and a table with one line a
// case, which has what each client says to it in the first words of its reason.
// TestNegatives writes it to the file that the environment variable
// COMPAT_REPORT_NEGATIVES names, and only if every verdict was as expected; the
// page of `make compat` takes it as it is.
func report(rows []row) string {
	rows = slices.SortedFunc(slices.Values(rows), func(a, b row) int { return a.order - b.order })
	differ, laxer := 0, 0
	for _, r := range rows {
		if r.differ() {
			differ++
		}
		if r.laxer() {
			laxer++
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Of %d cases the clients differ on %d. sigstack refuses whatever another client refuses", len(rows), differ)
	if laxer > 0 {
		fmt.Fprintf(&b, ", but for %d", laxer)
	}
	b.WriteString(".\n\n")
	b.WriteString("| case |")
	for _, by := range everybody {
		fmt.Fprintf(&b, " %s |", by)
	}
	b.WriteString("\n|---" + strings.Repeat("|---", len(everybody)) + "|\n")
	group := ""
	for _, r := range rows {
		if r.group != group {
			group = r.group
			fmt.Fprintf(&b, "| **%s** |%s\n", group, strings.Repeat(" |", len(everybody)))
		}
		fmt.Fprintf(&b, "| %s |", r.name)
		for _, by := range everybody {
			fmt.Fprintf(&b, " %s |", r.cell(by))
		}
		b.WriteString("\n")
	}
	return b.String()
}

func (r row) cell(by who) string {
	v, asked := r.verdicts[by]
	switch {
	case !asked:
		return "–"
	case v.accepted:
		return "**accepts**"
	default:
		return "refuses: " + brief(v.words)
	}
}

// noise is what stands before a reason, and what differs from run to run.
var noise = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`(?s)^.*?(sigstack: refused: |sigstack: |Error: |main\.go:\d+: )`), ""},
	{regexp.MustCompile(`(?s)^no \S+ of .* passed; found \d+: `), ""},
	{regexp.MustCompile(`^updating local metadata and targets: (error updating to TUF remote mirror: tuf: |downloading target: )`), ""},
	{regexp.MustCompile(`(?s)^.*There was an error processing the identity token: `), ""},
	{regexp.MustCompile(`(?s)^\{.*"message":"([^"]*)".*$`), "$1"},
	{regexp.MustCompile(`(?s)(\s*error during command execution| \(trust root |","details").*$`), ""},
	{regexp.MustCompile(`failed to verify certificate identity: no matching CertificateIdentity found, last error: `), ""},
	{regexp.MustCompile(`invalid identity token: \S+: `), ""},
	{regexp.MustCompile(`\S*/(tmp|client|negatives)/\S*|https?://\S*`), "…"},
	{regexp.MustCompile(`[0-9a-fA-F]{32,}|[A-Za-z0-9+/]{40,}={0,2}|[0-9]+(?: [0-9]+){9,}`), "…"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d[T ][\d:]+(Z| \+0000 UTC)`), "…"},
	{regexp.MustCompile(`[|\s]+`), " "},
}

// briefLength bounds a reason in the table, in bytes.
const briefLength = 90

// brief is the start of a client's reason, on one line.
func brief(words string) string {
	for _, n := range noise {
		words = n.pattern.ReplaceAllString(words, n.with)
	}
	words = strings.TrimSpace(words)
	if len(words) > briefLength {
		end := strings.LastIndexByte(words[:briefLength], ' ')
		words = words[:max(end, 1)] + " …"
	}
	return words
}

func TestReport(t *testing.T) {
	rows := []row{
		{"b", "second", 2, map[who]verdict{bySigstack: {false, "sigstack: refused: signature: it\nis bad"}, byJS: {true, ""}}},
		{"a", "first", 1, map[who]verdict{
			byCA:      {false, `{"code":3,"message":"no key | at all","details":[]}`},
			byCosign3: {false, "WARNING: old\nError: no matching " + strings.Repeat("long ", 30) + "\nmain.go:74: error"},
		}},
	}
	want := "Of 2 cases the clients differ on 1. sigstack refuses whatever another client refuses, but for 1.\n\n" +
		"| case | CA | cosign v3 | cosign v2 | sigstore-js | sigstack |\n" +
		"|---|---|---|---|---|---|\n" +
		"| **a** | | | | | |\n" +
		"| first | refuses: no key at all | refuses: no matching" + strings.Repeat(" long", 15) + " … | – | – | – |\n" +
		"| **b** | | | | | |\n" +
		"| second | – | – | – | **accepts** | refuses: signature: it is bad |\n"
	if got := report(rows); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
