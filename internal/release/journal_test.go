package release_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"sigstack/internal/release"
	"sigstack/internal/signing/signingtest"
)

func journalOf(t *testing.T, tree string) []release.JournalLine {
	t.Helper()
	lines, err := release.ReadJournal(tree + release.JournalSuffix)
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// proposals are the bodies of all entries that the log was asked to take.
type proposals struct {
	mu   sync.Mutex
	seen map[string]int // by signature
}

func (p *proposals) note(t *testing.T, body []byte) {
	t.Helper()
	var entry struct {
		Spec struct {
			Signature struct {
				Content []byte `json:"content"`
			} `json:"signature"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(body, &entry); err != nil {
		t.Error(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen[string(entry.Spec.Signature.Content)]++
}

// TestJournalExplainsTheLog has a log that takes entries and whose answers are lost,
// until a second run: it submits what the first one made, and the log has nothing that
// the journal does not.
func TestJournalExplainsTheLog(t *testing.T) {
	s := signingtest.New(t, nowUTC)
	p := &proposals{seen: map[string]int{}}
	var mu sync.Mutex
	lost, left := true, 4
	s.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPost || r.URL.Path != "/api/v1/log/entries" {
			return false
		}
		body := new(bytes.Buffer)
		if _, err := body.ReadFrom(r.Body); err != nil {
			t.Error(err)
		}
		r.Body = http.NoBody
		p.note(t, body.Bytes())
		mu.Lock()
		defer mu.Unlock()
		left--
		answer := w
		if lost && left < 0 {
			answer = httptest.NewRecorder()
		}
		again := httptest.NewRequest(http.MethodPost, r.URL.Path, body)
		if err := s.AddEntry(answer, again); err != nil {
			t.Error(err)
		}
		if lost && left < 0 {
			w.WriteHeader(http.StatusBadRequest) // which is not tried again
		}
		return true
	}
	l := labOf(t, s)
	tree := newSample(t, 20)
	if _, err := l.sign(t, tree); err == nil {
		t.Fatal("a log whose answers are lost: no error")
	}
	first := journalOf(t, tree)
	mu.Lock()
	lost = false
	mu.Unlock()
	r, err := l.sign(t, tree)
	if err != nil || r.Signed+r.Skipped != 22 || r.Resumed == 0 || r.Resumed > r.Signed {
		t.Fatalf("got %+v, %v, want 22 files, some of them with earlier signatures", r, err)
	}
	wantProblems(t, l.verify(t, tree))
	lines := journalOf(t, tree)
	if len(lines) != 22 || !reflect.DeepEqual(lines[:len(first)], first) {
		t.Errorf("the journal has %d lines, the first run wrote %d; want one for each of 22 files, and none changed", len(lines), len(first))
	}
	known := map[string]bool{}
	for _, line := range lines {
		known[string(line.Signature)] = true
	}
	for signature := range p.seen {
		if !known[signature] {
			t.Errorf("the log was shown signature %x, which the journal does not have", signature)
		}
	}
	if len(p.seen) != 22 {
		t.Errorf("the log was shown %d signatures, want 22", len(p.seen))
	}
}

// TestJournalLineOfNoUse: a signature whose certificate has ended, or that is not one
// of this file, is not submitted; the file is signed anew.
func TestJournalLineOfNoUse(t *testing.T) {
	tests := []struct {
		name   string
		change func(line *release.JournalLine, other release.JournalLine)
		ahead  time.Duration // of the second run's clock
	}{
		{"another's signature", func(line *release.JournalLine, other release.JournalLine) { line.Signature = other.Signature }, 0},
		{"no certificate", func(line *release.JournalLine, _ release.JournalLine) { line.Certificate = "none" }, 0},
		{"other bytes", func(line *release.JournalLine, other release.JournalLine) { *line = other; line.Path = victim }, 0},
		{"a certificate that is about to end", func(*release.JournalLine, release.JournalLine) {}, 9*time.Minute + 30*time.Second},
	}
	l := newLab(t)
	tree := l.signed(t, 8)
	lines := journalOf(t, tree)
	at, other := 0, 0
	for i, line := range lines {
		if line.Path == victim {
			at = i
		} else {
			other = i
		}
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := copyTree(t, tree)
			for _, suffix := range []string{".sigstore.json", ".sig", ".cert"} {
				remove(t, dir, victim+suffix)
			}
			line := lines[at]
			tt.change(&line, lines[other])
			writeJournal(t, dir, line)
			r, err := release.Sign(t.Context(), release.SignConfig{
				Dir: dir, Session: l.sessionAt(t, signingtest.Email, func() time.Time { return time.Now().Add(tt.ahead) }), Now: time.Now,
			})
			if err != nil || r.Signed != 1 || r.Resumed != 0 {
				t.Fatalf("got %+v, %v, want one file signed anew", r, err)
			}
			wantProblems(t, l.verify(t, dir))
			if got := journalOf(t, dir); len(got) != 2 || bytes.Equal(got[1].Signature, line.Signature) {
				t.Errorf("the journal has %d lines, want the old one and that of a new signature", len(got))
			}
		})
	}
}

func writeJournal(t *testing.T, tree string, lines ...release.JournalLine) {
	t.Helper()
	var text []byte
	for _, line := range lines {
		data, err := json.Marshal(line)
		if err != nil {
			t.Fatal(err)
		}
		text = append(append(text, data...), '\n')
	}
	write(t, filepath.Dir(tree), filepath.Base(tree)+release.JournalSuffix, text)
}

func TestJournalRefuses(t *testing.T) {
	l := newLab(t)
	tree := l.signed(t, 8)
	whole, err := os.ReadFile(tree + release.JournalSuffix)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, text, want string
	}{
		{"garbage", "garbage\n", "line 1"},
		{"unknown member", strings.Replace(string(whole), `{"at"`, `{"more":1,"at"`, 1), "more"},
		{"two objects", strings.Replace(string(whole), "\n", "{}\n", 1), "more than one"},
		{"no digest", strings.Replace(string(whole), `"sha256":"`, `"sha256":"x`, 1), "not a SHA-256"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := copyTree(t, tree)
			write(t, filepath.Dir(dir), filepath.Base(dir)+release.JournalSuffix, []byte(tt.text))
			_, err := l.sign(t, dir)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "move it away") {
				t.Errorf("got %v, want %q and what to do", err, tt.want)
			}
			if got, err := os.ReadFile(dir + release.JournalSuffix); err != nil || string(got) != tt.text {
				t.Errorf("the journal was changed, or is gone: %v", err)
			}
		})
	}
	t.Run("a line cut short", func(t *testing.T) {
		dir := copyTree(t, tree)
		write(t, filepath.Dir(dir), filepath.Base(dir)+release.JournalSuffix, append(bytes.Clone(whole), whole[:100]...))
		if _, err := l.sign(t, dir); err != nil {
			t.Error(err)
		}
		if got, err := os.ReadFile(dir + release.JournalSuffix); err != nil || !bytes.Equal(got, whole) {
			t.Errorf("got %d bytes and %v, want the %d that were whole", len(got), err, len(whole))
		}
	})
}

// TestSignOneRunAtATime: the second one would make signatures that nobody needs.
func TestSignOneRunAtATime(t *testing.T) {
	l := newLab(t)
	tree := newSample(t, 8)
	ran := false
	_, err := release.Sign(t.Context(), release.SignConfig{
		Now: time.Now, Dir: tree, Session: l.session(t, signingtest.Email), Workers: 1,
		Progress: func(release.Progress) {
			if ran {
				return
			}
			ran = true
			if _, err := l.sign(t, tree); !errors.Is(err, release.ErrJournalInUse) {
				t.Errorf("a second run: %v, want %v", err, release.ErrJournalInUse)
			}
		},
	})
	if err != nil || !ran {
		t.Fatalf("%v, second run tried: %v", err, ran)
	}
}

func FuzzParseJournal(f *testing.F) {
	f.Add([]byte(`{"at":"2026-11-22T00:00:00Z","path":"a","sha256":"` + strings.Repeat("0", 64) + `","signature":"AA==","certificate":"c"}` + "\nhalf"))
	f.Add([]byte("{}\n"))
	f.Add([]byte(`{"at":"2026-11-22T00:00:00Z","image":"r/a@sha256:00","storage":"tag","payload":"YQ==",` +
		`"sha256":"ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb","signature":"AA==","certificate":"c"}` + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		lines, whole, err := release.ParseJournal(bytes.NewReader(data))
		if err != nil {
			return
		}
		if whole > int64(len(data)) || whole < int64(len(data)) && bytes.IndexByte(data[whole:], '\n') >= 0 {
			t.Fatalf("%d of %d bytes are whole", whole, len(data))
		}
		var again []byte
		for _, l := range lines {
			text, err := json.Marshal(l)
			if err != nil {
				t.Fatal(err)
			}
			again = append(append(again, text...), '\n')
		}
		if got, _, err := release.ParseJournal(bytes.NewReader(again)); err != nil || !reflect.DeepEqual(got, lines) {
			t.Fatalf("%v and %v, want what was read before: %v", got, err, lines)
		}
	})
}
