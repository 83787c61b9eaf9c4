package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// reader walks a document beside the type that it is to fill. It gathers every
// problem with its place, and makes a copy of the document without what is wrong,
// which can be decoded for the rest to be looked at too.
type reader struct {
	problems []Problem
	where    map[string]*yaml.Node // by path: the key, or the item of a list
	broken   []string              // paths of which no more is to be said
	values   int                   // read so far
	depth    int                   // of the one being read
}

// Bounds of what aliases can blow a document up to.
const (
	maxValues = 100_000
	maxDepth  = 32
	maxName   = 128 // bytes, of one setting
)

func (r *reader) add(n *yaml.Node, path, format string, args ...any) {
	r.problems = append(r.problems, Problem{Line: n.Line, Column: n.Column, Field: path, Message: fmt.Sprintf(format, args...)})
	r.broken = append(r.broken, path)
}

// read returns a copy of n that fits t, nil if there is none.
func (r *reader) read(n *yaml.Node, t reflect.Type, path string) *yaml.Node {
	r.values++
	r.depth++
	defer func() { r.depth-- }()
	switch {
	case r.values > maxValues || r.depth > maxDepth:
		r.tooMuch(n)
		return nil
	case n.Kind == yaml.AliasNode:
		return r.read(n.Alias, t, path)
	case t.Kind() == reflect.Pointer && isNull(n):
		r.add(n, path, "empty: give its settings or leave it out")
		return &yaml.Node{Kind: yaml.MappingNode}
	case t.Kind() == reflect.Pointer:
		t = t.Elem()
	}
	switch {
	case decodesItself(t):
		return r.readScalar(n, t, path)
	case isNull(n):
		return nil
	}
	switch t.Kind() {
	case reflect.Struct:
		return r.readStruct(n, t, path)
	case reflect.Slice:
		return r.readList(n, t, path)
	case reflect.Map:
		return r.readMap(n, t, path)
	case reflect.Interface:
		return r.readAny(n, t, path)
	default:
		return r.readScalar(n, t, path)
	}
}

// tooMuch says so once, and lets nothing more be read.
func (r *reader) tooMuch(n *yaml.Node) {
	if !slices.Contains(r.broken, "") {
		r.add(n, "", "too many settings, or too deep: is an alias within itself?")
	}
	r.values = maxValues
}

func decodesItself(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[yaml.Unmarshaler]()) || p.Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

func (r *reader) readStruct(n *yaml.Node, t reflect.Type, path string) *yaml.Node {
	out := &yaml.Node{Kind: yaml.MappingNode}
	known := fieldsOf(t)
	for _, e := range r.entries(n, path) {
		sub := join(path, e.key.Value)
		field, ok := known[e.key.Value]
		if !ok {
			r.unknown(e.key, t, path)
			continue
		}
		r.where[sub] = e.key
		if value := r.read(e.value, field, sub); value != nil {
			out.Content = append(out.Content, e.key, value)
		}
	}
	return out
}

func (r *reader) readMap(n *yaml.Node, t reflect.Type, path string) *yaml.Node {
	out := &yaml.Node{Kind: yaml.MappingNode}
	for _, e := range r.entries(n, path) {
		sub := join(path, e.key.Value)
		r.where[sub] = e.key
		if value := r.read(e.value, t.Elem(), sub); value != nil {
			out.Content = append(out.Content, e.key, value)
		}
	}
	return out
}

func (r *reader) readList(n *yaml.Node, t reflect.Type, path string) *yaml.Node {
	if n.Kind != yaml.SequenceNode {
		r.add(n, path, "want a list (lines that begin with a dash), not %s", describe(n))
		return nil
	}
	out := &yaml.Node{Kind: yaml.SequenceNode}
	for i, item := range n.Content {
		sub := fmt.Sprintf("%s[%d]", path, i)
		r.where[sub] = item
		if k := t.Elem().Kind(); k != reflect.Interface && k != reflect.Pointer && (isNull(item) || item.Kind == yaml.AliasNode && isNull(item.Alias)) {
			r.add(item, sub, "empty: leave out the dash, or say what belongs there")
		}
		value := r.read(item, t.Elem(), sub)
		if value == nil {
			value = placeholder(t.Elem())
		}
		out.Content = append(out.Content, value)
	}
	return out
}

// placeholder stands for a broken item of a list, so that the numbers of the others
// stay: the decoder leaves out nothing but null.
func placeholder(t reflect.Type) *yaml.Node {
	switch {
	case decodesItself(t):
	case t.Kind() == reflect.Struct:
		return &yaml.Node{Kind: yaml.MappingNode}
	case t.Kind() == reflect.String:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str"}
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}
}

// readAny reads settings that are another library's to judge.
func (r *reader) readAny(n *yaml.Node, t reflect.Type, path string) *yaml.Node {
	switch n.Kind {
	case yaml.MappingNode:
		return r.readMap(n, reflect.MapOf(reflect.TypeFor[string](), t), path)
	case yaml.SequenceNode:
		return r.readList(n, reflect.SliceOf(t), path)
	}
	return r.readScalar(n, t, path)
}

// readScalar lets the decoder itself say whether n fits.
func (r *reader) readScalar(n *yaml.Node, t reflect.Type, path string) *yaml.Node {
	if !decodesItself(t) && n.Kind != yaml.ScalarNode {
		r.add(n, path, "want %s, not %s", kindWords(t), describe(n))
		return nil
	}
	switch err := n.Decode(reflect.New(t).Interface()); {
	case err == nil:
		return n
	case decodesItself(t):
		r.add(n, path, "%s", strings.TrimPrefix(err.Error(), "yaml: "))
	case t.Kind() == reflect.Interface:
		r.add(n, path, "not a value: quote it if it is text")
	default:
		r.add(n, path, "want %s, not %s", kindWords(t), describe(n))
	}
	return nil
}

// entry is one setting of a section.
type entry struct{ key, value *yaml.Node }

// entries returns the settings of n, each name once: its own first, then those
// that it merges ("<<").
func (r *reader) entries(n *yaml.Node, path string) []entry {
	if n.Kind != yaml.MappingNode {
		r.add(n, path, "want settings (lines of the form name: value), not %s", describe(n))
		return nil
	}
	var own []entry
	var merged []*yaml.Node
	seen := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		first := seen[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode:
			r.add(key, path, "the name of a setting is text, not %s", describe(key))
		case len(key.Value) > maxName:
			r.add(key, path, "the name of a setting has more than %d bytes", maxName)
		case key.ShortTag() == "!!merge":
			merged = append(merged, value)
		case first != nil:
			r.add(key, join(path, key.Value), "given twice, first in line %d", first.Line)
		default:
			seen[key.Value] = key
			own = append(own, entry{text(key), value})
		}
	}
	for _, m := range merged {
		own = append(own, r.merge(m, path, seen)...)
	}
	return own
}

// merge returns the settings of m that are not in seen, and adds them there.
func (r *reader) merge(m *yaml.Node, path string, seen map[string]*yaml.Node) []entry {
	if r.values++; r.values > maxValues {
		r.tooMuch(m)
		return nil
	}
	if m.Kind == yaml.AliasNode {
		m = m.Alias
	}
	var out []entry
	if m.Kind == yaml.SequenceNode {
		for _, item := range m.Content {
			out = append(out, r.merge(item, path, seen)...)
		}
		return out
	}
	for _, e := range r.entries(m, path) {
		if seen[e.key.Value] == nil {
			seen[e.key.Value] = e.key
			out = append(out, e)
		}
	}
	return out
}

// text returns key as text, whatever else it looks like: a name that is a number
// or a date is still one.
func text(key *yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key.Value, Line: key.Line, Column: key.Column}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// kindWords says what a value of type t looks like in the file.
func kindWords(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64, reflect.Int32, reflect.Uint, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	default:
		return "text"
	}
}

// describe says what n is. It quotes no text: that might be a secret.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "settings"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!int":
		return "the whole number " + n.Value
	case "!!float":
		return "the number " + n.Value
	case "!!bool":
		return n.Value
	case "!!null":
		return "nothing"
	default:
		return "text"
	}
}
