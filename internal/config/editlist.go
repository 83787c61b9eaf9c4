package config

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// value is what a field is to have, as YAML decodes it.
func (f Field) value() any {
	switch {
	case f.Item != nil:
		item := map[string]any{}
		for _, s := range f.Item {
			item[s.Path] = s.value()
		}
		return item
	case f.Number != 0:
		return int(f.Number)
	}
	return f.Value
}

// text is how YAML says the value of a field that is no item.
func (f Field) text() (string, error) {
	if f.Number != 0 {
		return strconv.FormatInt(f.Number, 10), nil
	}
	return scalar(f.Value)
}

// lines are the settings of an item.
func (f Field) lines() (out []string, err error) {
	for _, s := range f.Item {
		text, err := s.text()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.Path, err)
		}
		out = append(out, s.Path+": "+text)
	}
	if len(out) == 0 {
		return nil, errors.New("an item has no settings")
	}
	return out, nil
}

// withItem adds an item behind the last one of a list, or a list with that item at the
// head of its section.
func withItem(data []byte, section, list *yaml.Node, name string, f Field) ([]byte, error) {
	lines, err := f.lines()
	if err != nil {
		return nil, err
	}
	if list == nil {
		text := name + ":\n" + indented(lines, column(section)+2, column(section)+4)
		return insert(data, section, strings.TrimSuffix(text, "\n"))
	}
	if list.Kind != yaml.SequenceNode || list.Style&yaml.FlowStyle != 0 || len(list.Content) == 0 {
		return nil, errors.New("it is not a list with one setting a line")
	}
	last := list.Content[len(list.Content)-1]
	text := indented(lines, list.Column-1, last.Column-1)
	at := offset(data, lastLine(last)+1, 1)
	if at < 0 {
		at, text = len(data), "\n"+text
		if bytes.HasSuffix(data, []byte("\n")) {
			text = text[1:]
		}
	}
	return bytes.Join([][]byte{data[:at], []byte(text), data[at:]}, nil), nil
}

// column is how far a section's settings are from the margin.
func column(section *yaml.Node) int {
	if len(section.Content) == 0 {
		return 0
	}
	return section.Content[0].Column - 1
}

// indented are the lines of an item with its dash at one column and its settings at
// another, both from 0 on.
func indented(lines []string, dash, at int) string {
	var b strings.Builder
	for i, line := range lines {
		lead := strings.Repeat(" ", at)
		if i == 0 {
			lead = strings.Repeat(" ", dash) + "-" + strings.Repeat(" ", max(1, at-dash-1))
		}
		b.WriteString(lead + line + "\n")
	}
	return b.String()
}

// lastLine is that on which the last value below a node begins.
func lastLine(n *yaml.Node) int {
	out := n.Line
	for _, child := range n.Content {
		out = max(out, lastLine(child))
	}
	return out
}

// within returns what a name stands for in a section, or a number, from 0 on, in a
// list; nil: nothing.
func within(n *yaml.Node, name string) (*yaml.Node, bool) {
	switch n.Kind {
	case yaml.MappingNode:
		return member(n, name), true
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < len(n.Content) {
			return n.Content[i], true
		}
	}
	return nil, false
}

// setIn sets a value in what a file says.
func setIn(section any, path []string, f Field) (any, error) {
	switch at := section.(type) {
	case map[string]any:
		next, ok := at[path[0]]
		switch {
		case len(path) > 1 && !ok:
			return nil, fmt.Errorf("there is no section %s", path[0])
		case len(path) > 1:
			set, err := setIn(next, path[1:], f)
			at[path[0]] = set
			return at, err
		case f.Item == nil:
			at[path[0]] = f.value()
			return at, nil
		}
		list, isList := next.([]any)
		if ok && !isList {
			return nil, fmt.Errorf("%s is no list", path[0])
		}
		at[path[0]] = append(slices.Clone(list), f.value())
		return at, nil
	case []any:
		i, err := strconv.Atoi(path[0])
		if err != nil || i < 0 || i >= len(at) || len(path) < 2 {
			return nil, fmt.Errorf("%s is no item", path[0])
		}
		at[i], err = setIn(at[i], path[1:], f)
		return at, err
	}
	return nil, fmt.Errorf("there is no section above %s", path[0])
}
