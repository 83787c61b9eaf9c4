package issuerfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// node is a value of a document, of either form.
type node struct{ *yaml.Node }

const scalar = yaml.ScalarNode

func (n *node) null() bool { return n.Kind == scalar && n.ShortTag() == "!!null" }

// Bounds of a file, and of what aliases can blow it up to.
const (
	maxFile   = 1 << 20 // bytes
	maxValues = 100_000
	maxDepth  = 16
)

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// document parses a file of exactly one document.
func (r *reader) document(data []byte) (*node, *Problem) {
	if len(data) > maxFile {
		return nil, &Problem{Line: 1, Message: fmt.Sprintf("the file has more than %d bytes", maxFile)}
	}
	if r.json {
		return r.jsonDocument(data)
	}
	// Line breaks that editors do not take for one would make every line wrong.
	if !utf8.Valid(data) || bytes.ContainsAny(data, "\u0085\u2028\u2029") {
		return nil, &Problem{Line: 1, Message: "not text: want UTF-8 with ordinary line breaks"}
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, more yaml.Node
	err := dec.Decode(&doc)
	if err == nil {
		if err = dec.Decode(&more); err == nil {
			return nil, &Problem{Line: max(more.Line, 1), Message: "more than one YAML document"}
		}
		if errors.Is(err, io.EOF) {
			root := &node{doc.Content[0]}
			root.Line = 1 // also of a null that stands for nothing
			return root, nil
		}
	}
	if errors.Is(err, io.EOF) {
		return nil, &Problem{Line: 1, Message: "the file is empty"}
	}
	line := 1
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil && m[1] != "" {
		line, _ = strconv.Atoi(m[1]) // digits
	}
	return nil, &Problem{Line: min(max(line, 1), 1+bytes.Count(data, []byte("\n"))), Message: "neither JSON nor YAML: " + yamlLine.ReplaceAllString(err.Error(), "")}
}

// jsonDocument turns JSON into nodes with their lines.
func (r *reader) jsonDocument(data []byte) (*node, *Problem) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	line := func() int { return 1 + bytes.Count(data[:dec.InputOffset()], []byte("\n")) }
	n, err := jsonNode(dec, line, 0)
	if err != nil {
		return nil, &Problem{Line: line(), Message: err.Error()}
	}
	return &node{n}, nil
}

func jsonNode(dec *json.Decoder, line func() int, depth int) (*yaml.Node, error) {
	if depth > maxDepth {
		return nil, errors.New("too many settings, or too deep")
	}
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	n := &yaml.Node{Line: line()}
	switch v := token.(type) {
	case json.Delim:
		n.Kind = yaml.SequenceNode
		if v == '{' {
			n.Kind = yaml.MappingNode
		}
		for dec.More() { // names and values of an object alike
			item, err := jsonNode(dec, line, depth+1)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, item)
		}
		_, err := dec.Token() // the closing one
		return n, err
	case string:
		n.Kind, n.Tag, n.Value = scalar, "!!str", v
	case bool:
		n.Kind, n.Tag, n.Value = scalar, "!!bool", strconv.FormatBool(v)
	case json.Number:
		n.Kind, n.Tag, n.Value = scalar, "!!float", v.String()
	default:
		n.Kind, n.Tag = scalar, "!!null"
	}
	return n, nil
}

// entry is one name of a section and what it has.
type entry struct {
	name  string
	field string // path of the entry
	key   *node
	value *node
}

// resolve follows an alias.
func (r *reader) resolve(n *node) *node {
	if n != nil && n.Kind == yaml.AliasNode {
		return &node{n.Alias}
	}
	return n
}

// entries returns what section n has, each name once: its own first, then what it
// merges ("<<"). A section that is not there, or null, has none.
func (r *reader) entries(n *node, field string) []entry {
	return r.entriesBut(n, field, map[string]bool{})
}

func (r *reader) entriesBut(n *node, field string, seen map[string]bool) (own []entry) {
	if n = r.resolve(n); n == nil || n.null() {
		return nil
	}
	if r.depth++; r.depth > maxDepth || r.values > maxValues {
		r.add(n, field, "too many settings, or too deep: is an alias within itself?")
		r.depth--
		return nil
	}
	defer func() { r.depth-- }()
	if n.Kind != yaml.MappingNode {
		r.add(n, field, "want settings, each with its name")
		return nil
	}
	var merged []*node
	for i := 0; i+1 < len(n.Content); i += 2 {
		r.values++
		at, value := &node{n.Content[i]}, &node{n.Content[i+1]}
		name := r.resolve(at)
		switch {
		case name.Kind != scalar:
			r.add(at, field, "the name of a setting is text")
		case !r.json && name.ShortTag() == "!!merge":
			merged = append(merged, value)
		case seen[name.Value]:
			r.add(at, join(field, name.Value), "given twice")
		default:
			seen[name.Value] = true
			own = append(own, entry{name.Value, fieldOf(field, name.Value), at, value})
		}
	}
	for _, m := range merged {
		own = append(own, r.merge(m, field, seen)...)
	}
	return own
}

// merge returns the entries of m that are not in seen, and adds them there.
func (r *reader) merge(m *node, field string, seen map[string]bool) (out []entry) {
	m = r.resolve(m)
	lists := []*node{m}
	if m.Kind == yaml.SequenceNode {
		lists = nil
		for _, item := range m.Content {
			lists = append(lists, &node{item})
		}
	}
	for _, l := range lists {
		for _, e := range r.entriesBut(l, field, map[string]bool{}) {
			if !seen[e.name] {
				seen[e.name] = true
				out = append(out, e)
			}
		}
	}
	return out
}

// fieldOf is the path of an entry; names with dots and slashes stand in brackets.
func fieldOf(field, name string) string {
	if field != "" && strings.ContainsAny(name, "./:*") {
		return field + "[" + name + "]"
	}
	return join(field, name)
}
