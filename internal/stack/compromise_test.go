package stack

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"sigstack/internal/trust"
)

var compromisedAt = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestDecodeCompromised(t *testing.T) {
	id := strings.Repeat("ab", 32)
	good := `{"version":1,"ended":[{"kind":"log","key":"` + id + `","at":"2026-03-01T12:00:00Z","published":"2026-03-02T12:00:00Z","distributed":"2026-03-03T12:00:00Z"}],"draft":{"kind":"ca","key":"` + id + `","at":"2026-03-01T12:00:00Z"}}`
	if f, err := decodeCompromised([]byte(good)); err != nil || len(f.Ended) != 1 || f.Draft == nil {
		t.Fatalf("got %+v, %v; want one end and a draft", f, err)
	}
	for name, c := range map[string]struct{ from, to, want string }{
		"version":       {`"version":1`, `"version":2`, "version 2"},
		"kind":          {`"log"`, `"tuf"`, "none of"},
		"key":           {`"` + id + `","at":"2026-03-01T12:00:00Z","published"`, `"abc","at":"2026-03-01T12:00:00Z","published"`, "not a SHA-256"},
		"fraction":      {`12:00:00Z","published"`, `12:00:00.5Z","published"`, "whole seconds"},
		"not published": {`"published":"2026-03-02T12:00:00Z",`, "", "never published"},
		"too early":     {`"distributed":"2026-03-03T12:00:00Z"`, `"distributed":"2026-03-01T12:00:00Z"`, "before it was published"},
		"unknown":       {`"version":1`, `"version":1,"more":1`, "unknown field"},
	} {
		text := strings.Replace(good, c.from, c.to, 1)
		if _, err := decodeCompromised([]byte(text)); text == good || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, c.want)
		}
	}
	if _, err := decodeCompromised([]byte(good + "{}")); err == nil {
		t.Error("two documents: got no error")
	}
}

// FuzzDecodeCompromised: what is accepted is written again as it was read.
func FuzzDecodeCompromised(f *testing.F) {
	f.Add([]byte(`{"version":1,"ended":[]}`))
	f.Add([]byte(`{"version":1,"ended":[],"draft":{"kind":"ca","key":"` + strings.Repeat("ab", 32) + `","at":"2026-03-01T12:00:00Z"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := decodeCompromised(data)
		if err != nil {
			return
		}
		first, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		again, err := decodeCompromised(first)
		if err != nil {
			t.Fatalf("%s is not taken again: %v", first, err)
		}
		if second, err := json.Marshal(again); err != nil || !bytes.Equal(first, second) {
			t.Errorf("got %s, %v; want %s", second, err, first)
		}
	})
}

// TestCompromiseNeverMovesAhead: an end that is there stays if it is earlier, and no
// window ends before it begins.
func TestCompromiseNeverMovesAhead(t *testing.T) {
	start := compromisedAt.Add(-time.Hour)
	for _, c := range []struct{ end, at, want time.Time }{
		{time.Time{}, compromisedAt, compromisedAt},
		{compromisedAt.Add(time.Hour), compromisedAt, compromisedAt},
		{compromisedAt.Add(-time.Minute), compromisedAt, compromisedAt.Add(-time.Minute)},
		{time.Time{}, start.Add(-time.Hour), start},
	} {
		w := trust.Window{Start: start, End: c.end}
		Compromise{At: c.at}.end(&w)
		if !w.End.Equal(c.want) {
			t.Errorf("end %v, compromised at %v: got %v, want %v", c.end, c.at, w.End, c.want)
		}
	}
}

// TestCertificatesIn finds certificates in bodies of any kind.
func TestCertificatesIn(t *testing.T) {
	if got := certificatesIn([]byte(`{"a":["eA==",{"b":"bm90IHBlbQ=="}]}`)); len(got) != 0 {
		t.Errorf("got %d certificates in a body without, want none", len(got))
	}
	if got := certificatesIn([]byte("not JSON")); got != nil {
		t.Errorf("got %d certificates in what is no JSON, want none", len(got))
	}
}

// TestSplitTakesCompromised: every process lays the same ends over its part, and what
// a split stack could not publish any more is refused.
func TestSplitTakesCompromised(t *testing.T) {
	id := strings.Repeat("ab", 32)
	for name, c := range map[string]struct {
		content string
		files   int
		want    string // of the error; "": none
	}{
		"none":    {"", 0, ""},
		"ended":   {`{"version":1,"ended":[{"kind":"log","key":"` + id + `","at":"2026-03-01T12:00:00Z","published":"2026-03-02T12:00:00Z","distributed":"2026-03-03T12:00:00Z"}]}`, 1, ""},
		"drafted": {`{"version":1,"ended":[],"draft":{"kind":"log","key":"` + id + `","at":"2026-03-01T12:00:00Z"}}`, 0, "is drafted"},
		"damaged": {`{`, 0, "read compromised keys"},
	} {
		l := Layout{t.TempDir()}
		if c.content != "" {
			if err := os.WriteFile(l.Compromised(), []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		sh := &share{}
		err := sh.takeCompromised(l)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) || len(sh.files) != c.files {
			t.Errorf("%s: got %d files, %v; want %d and an error with %q", name, len(sh.files), err, c.files, c.want)
		}
	}
}
