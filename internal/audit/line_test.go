package audit_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"strings"
	"testing"

	"sigstack/internal/audit"
)

// TestLineOfTheManual: the example of docs/audit.md, whose hash anybody can compute.
func TestLineOfTheManual(t *testing.T) {
	const content = `{"seq":2,"time":"2026-01-02T03:04:05.678Z","prev":"` +
		`00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",` +
		`"action":"ca.certificate","outcome":"ok","service":"ca","subject":"ann@example.com","detail":{"serial":"2a"}`
	sum := sha256.Sum256([]byte(content))
	r, err := audit.ParseLine([]byte(content + `,"hash":"` + hex.EncodeToString(sum[:]) + `"}`))
	if err != nil {
		t.Fatal(err)
	}
	if r.Seq != 2 || r.Hash != sum || r.Subject != "ann@example.com" || r.Detail["serial"] != "2a" || r.Time.Nanosecond() != 678e6 {
		t.Errorf("got %+v", r)
	}
}

// TestLinesRefused: each is the good one but for one fact.
func TestLinesRefused(t *testing.T) {
	good := strings.TrimSuffix(readLines(t, files(t, sample(t, 6).Dir)[0])[1], "\n")
	if _, err := audit.ParseLine([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(string) string{
		"empty":               func(string) string { return "" },
		"no object":           func(string) string { return "[]" },
		"null":                func(string) string { return "null" },
		"two objects":         func(s string) string { return s + "{}" },
		"space behind":        func(s string) string { return s + " " },
		"other hash":          func(s string) string { return strings.Replace(s, `"hash":"`, `"hash":"0`, 1) },
		"no hash":             func(s string) string { s, _, _ = strings.Cut(s, `,"hash"`); return s + "}" },
		"hash in upper case":  func(s string) string { i := strings.Index(s, `"hash"`); return s[:i+8] + strings.ToUpper(s[i+8:]) },
		"seq as text":         replaced(`"seq":2`, `"seq":"2"`),
		"seq as 2.0":          replaced(`"seq":2`, `"seq":2.0`),
		"seq negative":        replaced(`"seq":2`, `"seq":-2`),
		"time in local time":  replaced(`Z","prev"`, `+00:00","prev"`),
		"prev too short":      replaced(`"prev":"`, `"prev":"","prev":"`),
		"member twice":        replaced(`"outcome":"ok"`, `"outcome":"ok","outcome":"ok"`),
		"name in upper case":  replaced(`"outcome"`, `"Outcome"`),
		"empty member":        replaced(`"outcome":"ok"`, `"outcome":"ok","service":""`),
		"another order":       replaced(`"outcome":"ok","service":"ca"`, `"service":"ca","outcome":"ok"`),
		"control character":   replaced(`"service":"ca"`, `"service":"c\u001ba"`),
		"needless escape":     replaced(`"service":"ca"`, `"service":"c\u0061"`),
		"detail is no object": replaced(`"detail":{`, `"detail":[],"x":{`),
	} {
		t.Run(name, func(t *testing.T) {
			bad := change(good)
			if bad == good {
				t.Fatal("nothing was changed")
			}
			if _, err := audit.ParseLine([]byte(bad)); err == nil {
				t.Errorf("accepted: %s", bad)
			}
			fitting := strings.TrimSuffix(resealed(bad), "\n")
			if _, err := audit.ParseLine([]byte(fitting)); err == nil && fitting != good {
				t.Errorf("accepted with a hash that fits: %s", fitting)
			}
		})
	}
}

func replaced(old, by string) func(string) string {
	return func(s string) string { return strings.Replace(s, old, by, 1) }
}

// FuzzParseLine: no input panics, and what is accepted is written again as the very
// same bytes, on one line, with nothing that acts on a terminal.
func FuzzParseLine(f *testing.F) {
	for _, line := range readLines(f, files(f, sample(f, 6).Dir)[0]) {
		f.Add([]byte(strings.TrimSuffix(line, "\n")))
	}
	f.Add([]byte(`{"seq":1,"time":"2026-01-02T03:04:05.678Z","prev":"","action":"","outcome":"","hash":""}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := audit.ParseLine(line)
		if err != nil {
			return
		}
		again, err := r.Line()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again, append(bytes.Clone(line), '\n')) {
			t.Errorf("read\n%q, wrote\n%q", line, again)
		}
		if bytes.ContainsFunc(line, func(c rune) bool { return c < ' ' || c == 0x7f }) {
			t.Errorf("accepted a control character: %q", line)
		}
	})
}

// FuzzHead: a slot of any content is refused, or holds the head that was signed.
func FuzzHead(f *testing.F) {
	o := sample(f, 6)
	key := verifyConfig(o).Key
	good := readFile(f, filepath.Join(o.Dir, "head"))[:4096]
	want, err := audit.ParseSlot(good, key)
	if err != nil || want.Seq != 8 {
		f.Fatalf("the written head: %+v, %v", want, err)
	}
	f.Add(good)
	f.Add(bytes.TrimRight(good, " \n"))
	f.Add(good[:100])
	f.Add([]byte("sigstack audit head 1\nchain \nseq 1\nhash \nsignature none\n"))
	f.Fuzz(func(t *testing.T, slot []byte) {
		got, err := audit.ParseSlot(slot, key)
		if err == nil && got != want {
			t.Errorf("got %+v from %q", got, slot)
		}
		if _, err := audit.ParseSlot(slot, nil); err == nil && !bytes.Contains(slot, []byte("signature none")) {
			t.Errorf("a signed head is accepted without a key: %q", slot)
		}
	})
}
