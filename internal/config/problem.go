package config

import (
	"cmp"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Problem is one thing that is wrong with a configuration, or, as a warning, that
// can hardly be meant.
type Problem struct {
	// Line and Column where the field is, from 1; those of the section for a field
	// that is missing. 0: not known, for a configuration that came from no file.
	Line, Column int
	// Field is the path of the setting, such as ca.issuers[2].url. Empty: the
	// configuration as a whole.
	Field string
	// Message for people, without line and field.
	Message string
	// Warning: a start is not refused for it.
	Warning bool
}

// String returns "field: message".
func (p Problem) String() string {
	if p.Field == "" {
		return p.Message
	}
	return p.Field + ": " + p.Message
}

// In is String with the place in file before it: "FILE:LINE: field: message".
func (p Problem) In(file string) string {
	text := p.String()
	if p.Warning {
		text = "warning: " + text
	}
	switch {
	case p.Line == 0:
		return text
	case file == "":
		return fmt.Sprintf("line %d: %s", p.Line, text)
	}
	return fmt.Sprintf("%s:%d: %s", file, p.Line, text)
}

// Invalid is the error of a configuration that cannot be used: every problem, none
// of them a warning.
type Invalid struct {
	File     string // empty: from no file
	Problems []Problem
}

// Error returns one line for each problem.
func (e *Invalid) Error() string {
	lines := make([]string, 0, len(e.Problems)+1)
	if e.File != "" {
		lines = append(lines, "configuration "+e.File+" cannot be used:")
	}
	for _, p := range e.Problems {
		lines = append(lines, p.In(e.File))
	}
	return strings.Join(lines, "\n")
}

// invalid returns the error for what list holds besides warnings, nil if nothing.
func invalid(file string, list []Problem) error {
	list = slices.DeleteFunc(slices.Clone(list), func(p Problem) bool { return p.Warning })
	if len(list) == 0 {
		return nil
	}
	return &Invalid{File: file, Problems: list}
}

// problems gathers what is wrong. Each message begins with the path of its field
// and a colon, or names no field at all.
type problems struct{ list []Problem }

func (p *problems) add(format string, args ...any) {
	p.list = append(p.list, NewProblem(fmt.Errorf(format, args...).Error()))
}

func (p *problems) check(ok bool, format string, args ...any) {
	if !ok {
		p.add(format, args...)
	}
}

func (p *problems) err(field string, err error) {
	if err != nil {
		p.add("%s: %w", field, err)
	}
}

func (p *problems) key(field, name string) {
	p.check(validName.MatchString(name), "%s: %q is not a key name", field, name)
}

// path refuses a relative one that leaves the data directory.
func (p *problems) path(field, path string) {
	p.check(path == "" || filepath.IsAbs(path) || filepath.IsLocal(path), "%s: %q leads out of the data directory, name an absolute path", field, path)
}

func (p *problems) join() error { return invalid("", p.list) }

// fieldPath is what the path of a field looks like. The names of a connector's
// settings are its own.
var fieldPath = regexp.MustCompile(`^[a-z][a-z0-9_]*(\[\d+\]|\.[A-Za-z0-9_-]+)*$`)

// NewProblem takes the field off the front of "field: message".
func NewProblem(text string) Problem {
	field, message, ok := strings.Cut(text, ": ")
	if !ok || !fieldPath.MatchString(field) {
		return Problem{Message: text}
	}
	return Problem{Field: field, Message: message}
}

// parent returns the path that field is below, "" for a field of the top.
func parent(field string) string {
	return field[:max(strings.LastIndexAny(field, ".["), 0)]
}

// below reports whether field is path or part of it; everything is part of "".
func below(field, path string) bool {
	rest, ok := strings.CutPrefix(field, path)
	return ok && (path == "" || rest == "" || rest[0] == '.' || rest[0] == '[')
}

// sorted orders problems as a reader meets them in the file, each once: what an
// alias stands for is looked at more than once.
func sorted(list []Problem) []Problem {
	slices.SortStableFunc(list, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return slices.Compact(list)
}
