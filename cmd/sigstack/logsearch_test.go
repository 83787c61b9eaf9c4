package main

import "testing"

func TestEntryKind(t *testing.T) {
	for body, want := range map[string]string{
		`{"apiVersion":"0.0.1","kind":"dsse","spec":{}}`: "dsse",
		`{"kind":"a\u001b[2J"}`:                          "a\uFFFD[2J",
		`{"kind":7}`:                                     "(of no known kind)",
		`{"kind":"dsse"`:                                 "(of no known kind)",
		`{}`:                                             "(of no known kind)",
		"":                                               "(of no known kind)",
	} {
		if got := entryKind([]byte(body)); got != want {
			t.Errorf("%q: got %q, want %q", body, got, want)
		}
	}
}
