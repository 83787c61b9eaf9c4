package config

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// document returns the one YAML document of data, nil with a problem if there is
// not exactly one.
func document(data []byte) (*yaml.Node, *Problem) {
	if at := unreadable(data); at >= 0 {
		return nil, &Problem{Line: lineAt(data, at), Message: "not text: want UTF-8 without control characters"}
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, more yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) || err == nil && isNull(doc.Content[0]) {
		return nil, &Problem{Line: 1, Message: "the file is empty: sigstack init writes one, deploy/config has samples"}
	}
	if err != nil {
		return nil, syntaxProblem(data, err)
	}
	switch err := dec.Decode(&more); {
	case errors.Is(err, io.EOF):
		return doc.Content[0], nil
	case err != nil:
		return nil, syntaxProblem(data, err)
	}
	return nil, &Problem{Line: more.Line, Column: more.Column, Message: "more than one YAML document: a configuration is one, without a line ---"}
}

// unreadable returns where data stops being text, -1 if nowhere. Line breaks that
// editors do not take for one are refused too: every line after them would be
// reported wrongly.
func unreadable(data []byte) int {
	for at := 0; at < len(data); {
		r, size := utf8.DecodeRune(data[at:])
		switch {
		case r == utf8.RuneError && size == 1, r == '\u0085', r == '\u2028', r == '\u2029', r == 0x7f,
			r < ' ' && r != '\n' && r != '\t' && r != '\r',
			r == '\r' && !bytes.HasPrefix(data[at:], []byte("\r\n")):
			return at
		}
		at += size
	}
	return -1
}

func lineAt(data []byte, at int) int { return 1 + bytes.Count(data[:at], []byte("\n")) }

// Bounds of the search for the line of a syntax error, which parses the file once
// for each of its lines.
const (
	maxSearchLines = 500
	maxSearchBytes = 32 << 10
)

var yamlLine = regexp.MustCompile(`^line (\d+): `)

// syntaxProblem finds the line from which on no beginning of the file is YAML. The
// parser itself names the line where the construct began, or none.
func syntaxProblem(data []byte, err error) *Problem {
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 1
	if m := yamlLine.FindStringSubmatch(message); m != nil {
		message = message[len(m[0]):]
		line, _ = strconv.Atoi(m[1]) // digits
	}
	lines := bytes.SplitAfter(data, []byte("\n"))
	if len(lines) <= maxSearchLines && len(data) <= maxSearchBytes {
		line = len(lines)
		for end := len(data); line > 1; line-- {
			if end -= len(lines[line-1]); parses(data[:end]) {
				break
			}
		}
	}
	if strings.Contains(message, "cannot start any token") {
		message += " (a tab? indent by spaces)"
	}
	return &Problem{Line: min(max(line, 1), len(lines)), Message: "not YAML: " + message}
}

func parses(data []byte) bool {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var n yaml.Node
		switch err := dec.Decode(&n); {
		case errors.Is(err, io.EOF):
			return true
		case err != nil:
			return false
		}
	}
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }
