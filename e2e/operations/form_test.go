package operations

import (
	"slices"
	"strings"
	"testing"
)

func TestParseRefuses(t *testing.T) {
	for name, c := range map[string]struct{ page, want string }{
		"no command":         {"text\n", "no command"},
		"another kind":       {"```sh\nls\n```\n", `kind "sh"`},
		"no kind":            {"```\nls\n```\n", `kind ""`},
		"skip of no reason":  {"<!-- test: skip -->\n```console\n$ ls\n```\n", "says nothing"},
		"only skipped":       {"<!-- test: skip it needs a card -->\n```console\n$ ls\n```\n", "no command"},
		"unknown directive":  {"<!-- test: skips it -->\n```console\n$ ls\n```\n", "unknown"},
		"directive left":     {"```console\n$ ls\n```\n<!-- test: exit 1 -->\n", "line 4: no block follows"},
		"open comment":       {"<!-- test:\nrun ls\n", "does not end"},
		"open block":         {"```console\n$ ls\n", "does not end"},
		"output first":       {"```console\nls\n```\n", "want a command"},
		"open command":       {"```console\n$ ls \\\n```\n", "no whole command"},
		"indented command":   {"```console\n$ ls\n```\n\n    sigstack up\n", "line 5: a command"},
		"start of nothing":   {"<!-- test: start -->\n```console\n$ ls\n```\n", "not a whole directive"},
		"replace by nothing": {"<!-- test: replace a b -->\n```console\n$ ls\n```\n", "not a whole directive"},
	} {
		if _, err := parse(c.page); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, c.want)
		}
	}
}

func TestParse(t *testing.T) {
	page := "# x\n<!-- test:\nrun a b\nexit 2\ninput yes\n-->\n\n1. y\n   ```console\n   $ one \\\n       two\n   $ cat <<E\n   > 1\n   >\n   > E\n   1\n\n   ```\n"
	got, err := parse(page)
	if err != nil {
		t.Fatal(err)
	}
	want := []step{
		{line: 3, kind: "run", text: "a b"},
		{line: 10, kind: "command", text: "one \\\n    two", input: "yes\n"},
		{line: 12, kind: "command", text: "cat <<E\n1\n\nE", output: []string{"1", ""}, code: 2, input: "yes\n"},
	}
	if !slices.EqualFunc(got, want, func(a, b step) bool {
		same := slices.Equal(a.output, b.output)
		a.output, b.output = nil, nil
		return same && a.line == b.line && a.kind == b.kind && a.text == b.text && a.code == b.code && a.input == b.input
	}) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		printed string
		want    []string
		ok      bool
	}{
		{"anything\n", nil, true},
		{"a\nb\n", []string{"a", "b"}, true},
		{"a\nb\n", []string{"a"}, false},
		{"a\nb\n", []string{"b"}, false},
		{"a\nb\n", []string{"a", "..."}, true},
		{"a\nb\nc\n", []string{"...", "c"}, true},
		{"a\nb\nc\n", []string{"a", "...", "c"}, true},
		{"a\nb\nc\n", []string{"a", "...", "d"}, false},
		{"key ca-2 made\n", []string{"key ... made"}, true},
		{"key ca-2\nmade\n", []string{"key ... made"}, false},
		{"a.b\n", []string{"axb"}, false},
		{"no newline", []string{"no newline"}, true},
		{"", []string{"a"}, false},
	} {
		if got := matches(c.printed, c.want); got != c.ok {
			t.Errorf("%q against %q: got %v, want %v", c.printed, c.want, got, c.ok)
		}
	}
}
