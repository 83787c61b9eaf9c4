package operations

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// execute carries a page out, until a step fails.
func execute(t *testing.T, page string, steps []step) {
	t.Helper()
	s := newShell(t, page)
	for _, x := range steps {
		switch x.kind {
		case "command":
			s.command(x)
		case "run":
			s.command(step{line: x.line, text: x.text})
		case "until":
			s.command(step{line: x.line, text: x.text, retry: true})
		case "start":
			s.launch(s.swapped(x.text))
		case "stop":
			s.stop()
		case "replace":
			s.swap(x.text)
		case "file":
			s.file(x)
		default:
			t.Fatalf("%s:%d: nothing carries out %q", page, x.line, x.kind)
		}
		if t.Failed() {
			return // what follows stands on it
		}
	}
}

// command executes one and holds it against the page.
func (s *shell) command(x step) {
	s.t.Helper()
	text := s.swapped(x.text)
	printed, code := s.run(text, x.input)
	for end := time.Now().Add(untilWithin); x.retry && code != x.code && time.Now().Before(end); time.Sleep(untilEach) {
		printed, code = s.run(text, x.input)
	}
	want := strings.Split(s.swapped(strings.Join(x.output, "\n")), "\n")
	if len(x.output) == 0 {
		want = nil
	}
	switch {
	case code != x.code:
		s.t.Errorf("%s:%d: exit %d, want %d: %s\n%s", s.page, x.line, code, x.code, text, printed)
	case !matches(printed, want):
		s.t.Errorf("%s:%d: %s\nprinted:\n%s\nwant:\n%s", s.page, x.line, text, printed, strings.Join(want, "\n"))
	}
}

// file writes one that a page shows.
func (s *shell) file(x step) {
	s.t.Helper()
	path := s.swapped(x.text)
	if !filepath.IsAbs(path) {
		path = filepath.Join(s.dir, path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		s.t.Fatal(err)
	}
	s.write(path, s.swapped(strings.Join(x.output, "\n"))+"\n")
}
