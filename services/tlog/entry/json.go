package entry

import (
	"bytes"
	"encoding/base64"
	"encoding/json"

	"sigstack/internal/fault"
)

// object is one JSON object, split into its members; their values share the
// input's memory. Unlike encoding/json it matches names exactly and refuses a
// name that is there twice: with either, two readers of one entry could see
// different entries.
type object struct {
	path    string // from the root, for messages; "" is the root
	members map[string]json.RawMessage
}

// parseObject splits data, which must be valid JSON. Every error is
// fault.Invalid.
func parseObject(path string, data json.RawMessage) (object, error) {
	s := splitter{data: data}
	s.space()
	if s.peek() != '{' {
		return object{}, fault.Newf(fault.Invalid, "%s must be a JSON object", orRoot(path))
	}
	s.pos++
	o := object{path, map[string]json.RawMessage{}}
	for s.space(); s.peek() != '}'; s.space() {
		if s.peek() == ',' {
			s.pos++
			s.space()
		}
		name, err := decodeText(s.value())
		if err != nil {
			return object{}, fault.Newf(fault.Invalid, "%s has a member whose name is not text", orRoot(path))
		}
		s.space()
		s.pos++ // the colon
		s.space()
		if _, twice := o.members[name]; twice {
			return object{}, fault.Newf(fault.Invalid, "%s has a member twice", orRoot(path))
		}
		o.members[name] = s.value()
	}
	return o, nil
}

// parseArray splits data, which must be valid JSON, into its elements. Every
// error is fault.Invalid.
func parseArray(path string, data json.RawMessage) ([]json.RawMessage, error) {
	s := splitter{data: data}
	s.space()
	if s.peek() != '[' {
		return nil, fault.Newf(fault.Invalid, "%s must be a JSON array", path)
	}
	s.pos++
	var out []json.RawMessage
	for s.space(); s.peek() != ']'; s.space() {
		if s.peek() == ',' {
			s.pos++
			s.space()
		}
		out = append(out, s.value())
	}
	return out, nil
}

func orRoot(path string) string {
	if path == "" {
		return "proposed entry"
	}
	return path
}

func (o object) at(name string) string {
	if o.path == "" {
		return name
	}
	return o.path + "." + name
}

// has reports whether a member is there. null is the same as absent.
func (o object) has(name string) bool {
	v, ok := o.members[name]
	return ok && string(v) != "null"
}

func (o object) member(name string) (json.RawMessage, error) {
	if !o.has(name) {
		return nil, fault.Newf(fault.Invalid, "%s is missing", o.at(name))
	}
	return o.members[name], nil
}

func (o object) object(name string) (object, error) {
	v, err := o.member(name)
	if err != nil {
		return object{}, err
	}
	return parseObject(o.at(name), v)
}

func (o object) array(name string) ([]json.RawMessage, error) {
	v, err := o.member(name)
	if err != nil {
		return nil, err
	}
	return parseArray(o.at(name), v)
}

func (o object) text(name string) (string, error) {
	v, err := o.member(name)
	if err != nil {
		return "", err
	}
	s, err := decodeText(v)
	if err != nil {
		return "", fault.Newf(fault.Invalid, "%s must be a string", o.at(name))
	}
	return s, nil
}

// base64 reads a member that holds standard padded base64 and is not empty.
func (o object) base64(name string) ([]byte, error) {
	s, err := o.text(name)
	if err != nil {
		return nil, err
	}
	return decodeBase64(o.at(name), s)
}

func decodeBase64(path, s string) ([]byte, error) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return nil, fault.Newf(fault.Invalid, "%s is not standard padded base64", path)
	}
	if len(b) == 0 {
		return nil, fault.Newf(fault.Invalid, "%s is empty", path)
	}
	return b, nil
}

// decodeText decodes a JSON string. Few hold an escape, so that the decoder,
// which would scan everything again, is seldom needed.
func decodeText(v json.RawMessage) (string, error) {
	if len(v) >= 2 && v[0] == '"' && bytes.IndexByte(v, '\\') < 0 {
		return string(v[1 : len(v)-1]), nil
	}
	var s *string
	if err := json.Unmarshal(v, &s); err != nil {
		return "", err
	}
	if s == nil {
		return "", fault.New(fault.Invalid, "null is not text")
	}
	return *s, nil
}

// splitter walks over JSON that is known to be valid.
type splitter struct {
	data []byte
	pos  int
}

func (s *splitter) peek() byte { return s.data[s.pos] }

func (s *splitter) space() {
	for s.pos < len(s.data) && (s.data[s.pos] == ' ' || s.data[s.pos] == '\t' || s.data[s.pos] == '\n' || s.data[s.pos] == '\r') {
		s.pos++
	}
}

// value takes the value at the present position.
func (s *splitter) value() json.RawMessage {
	start := s.pos
	switch s.peek() {
	case '"':
		s.text()
	case '{', '[':
		s.nested()
	default:
		for s.pos < len(s.data) && bytes.IndexByte([]byte(",]} \t\r\n"), s.data[s.pos]) < 0 {
			s.pos++
		}
	}
	return s.data[start:s.pos]
}

// text moves past the string that begins here. Strings are long, base64 most of
// them, and are passed over once for each object that they are in.
func (s *splitter) text() {
	start := s.pos
	for escaped := true; escaped; {
		s.pos += 1 + bytes.IndexByte(s.data[s.pos+1:], '"')
		escaped = false
		for i := s.pos - 1; i > start && s.data[i] == '\\'; i-- {
			escaped = !escaped
		}
	}
	s.pos++
}

// nested moves past the object or array that begins here.
func (s *splitter) nested() {
	for depth := 0; ; {
		switch s.peek() {
		case '"':
			s.text()
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		s.pos++
		if depth == 0 {
			return
		}
	}
}
