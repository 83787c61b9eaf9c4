package kinds

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/cyberphone/json-canonicalization/go/src/webpki.org/jsoncanonicalizer"

	"sigstack/internal/fault"
)

// spec is a decoded spec: maps, slices, strings, bools, json.Number and nil.
type spec map[string]any

// at returns the value below these members, nil if there is none.
func (s spec) at(path ...string) any {
	var v any = map[string]any(s)
	for _, name := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[name]
	}
	return v
}

// bytes returns what base64 text there decodes to. Where there is none, or it is
// broken, it is nil: the library says so better.
func (s spec) bytes(path ...string) []byte {
	text, ok := s.at(path...).(string)
	if !ok {
		return nil
	}
	out, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil
	}
	return out
}

// with puts content there, in place of what there is, and encodes the spec anew
// (RFC 8785).
func (s spec) with(content []byte, path ...string) (json.RawMessage, error) {
	last := len(path) - 1
	parent, ok := s.at(path[:last]...).(map[string]any)
	if !ok {
		return nil, fmt.Errorf("canonical form has no %s", strings.Join(path[:last], "."))
	}
	parent[path[last]] = base64.StdEncoding.EncodeToString(content)
	encoded, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	return jsoncanonicalizer.Transform(encoded)
}

// maxDepth bounds the nesting of a decoded spec; that of TUF metadata is below 10.
const maxDepth = 32

// maxMembers bounds the members of all its objects: the library sorts those of one
// in a time that grows with the square of their number.
const maxMembers = 8192

// decode reads a spec, one JSON object. As in entry's own kinds no member may be
// there twice. Every error is fault.Invalid.
func decode(proposed json.RawMessage) (spec, error) {
	d := &decoder{Decoder: json.NewDecoder(bytes.NewReader(proposed))}
	d.UseNumber()
	v, err := d.value(0)
	if err != nil {
		return nil, err
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, fault.New(fault.Invalid, "spec must be a JSON object")
	}
	return m, nil
}

type decoder struct {
	*json.Decoder
	members int // so far
}

func (d *decoder) value(depth int) (any, error) {
	if depth > maxDepth {
		return nil, fault.Newf(fault.Invalid, "spec is nested deeper than %d", maxDepth)
	}
	token, err := d.Token()
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, err, "spec is not valid JSON")
	}
	switch token {
	case json.Delim('{'):
		return d.object(depth)
	case json.Delim('['):
		return d.array(depth)
	default:
		return token, nil
	}
}

func (d *decoder) object(depth int) (any, error) {
	out := map[string]any{}
	for d.More() {
		token, err := d.Token()
		name, ok := token.(string)
		if err != nil || !ok {
			return nil, fault.New(fault.Invalid, "spec has a member whose name is not text")
		}
		if _, twice := out[name]; twice {
			return nil, fault.New(fault.Invalid, "spec has a member twice")
		}
		if d.members++; d.members > maxMembers {
			return nil, fault.Newf(fault.Invalid, "spec has more than %d members", maxMembers)
		}
		if out[name], err = d.value(depth + 1); err != nil {
			return nil, err
		}
	}
	return out, d.end()
}

func (d *decoder) array(depth int) (any, error) {
	out := []any{}
	for d.More() {
		v, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, d.end()
}

// end takes the closing bracket.
func (d *decoder) end() error {
	if _, err := d.Token(); err != nil {
		return fault.Wrap(fault.Invalid, err, "spec is not valid JSON")
	}
	return nil
}
