package signing

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"
)

// fewMembers is up to how many members of an object are compared one by one.
const fewMembers = 16

// members are the names seen in one open object.
type members struct {
	object bool // not an array
	key    bool // the next string is a name
	few    [][]byte
	many   map[string]bool // nil up to fewMembers
}

// add notes a name and reports whether it is new.
func (m *members) add(name []byte) bool {
	if m.many == nil && len(m.few) < fewMembers {
		if slices.ContainsFunc(m.few, func(seen []byte) bool { return bytes.Equal(seen, name) }) {
			return false
		}
		m.few = append(m.few, name)
		return true
	}
	if m.many == nil {
		m.many = map[string]bool{}
		for _, seen := range m.few {
			m.many[string(seen)] = true
		}
	}
	if m.many[string(name)] {
		return false
	}
	m.many[string(name)] = true
	return true
}

// CheckUnique checks that data is one JSON value, in UTF-8, in which no object has
// a member twice: readers differ in which of the two they take. What is signed is
// to pass it before anything is read of it.
func CheckUnique(data []byte) error {
	if !utf8.Valid(data) {
		return errors.New("it is not UTF-8")
	}
	if !json.Valid(data) { // bounds the depth, too
		return errors.New("it is not JSON")
	}
	var open []members // kept beyond its length, for the names' memory
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '{', '[':
			open = push(open, data[i] == '{')
		case '}', ']':
			open = open[:len(open)-1]
		case ',':
			in := &open[len(open)-1]
			in.key = in.object
		case '"':
			end := stringEnd(data, i)
			if n := len(open); n > 0 && open[n-1].key {
				open[n-1].key = false
				if name := plainName(data[i:end]); !open[n-1].add(name) {
					return fmt.Errorf("member %q is there twice", name)
				}
			}
			i = end - 1
		}
	}
	return nil
}

// push opens an object or array, in the memory of one that was closed.
func push(open []members, object bool) []members {
	if len(open) < cap(open) {
		open = open[:len(open)+1]
	} else {
		open = append(open, members{})
	}
	top := &open[len(open)-1]
	*top = members{object: object, key: object, few: top.few[:0]}
	return open
}

// stringEnd returns the index behind the string that begins at start, in valid
// JSON.
func stringEnd(data []byte, start int) int {
	for i := start + 1; ; i++ {
		switch data[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
}

// plainName returns what a quoted name says, without its escapes.
func plainName(quoted []byte) []byte {
	if !bytes.ContainsRune(quoted, '\\') {
		return quoted[1 : len(quoted)-1]
	}
	var name string
	if err := json.Unmarshal(quoted, &name); err != nil {
		return quoted // not in valid JSON
	}
	return []byte(name)
}

// DecodeExact decodes the JSON object data, which has passed CheckUnique, into v
// and refuses members that are not among names. Unlike encoding/json it tells upper
// from lower case.
func DecodeExact(data []byte, v any, names ...string) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		return err
	}
	if members == nil {
		return errors.New("it is null")
	}
	for name := range members {
		if !slices.Contains(names, name) {
			return fmt.Errorf("member %q is not known", name)
		}
	}
	return json.Unmarshal(data, v)
}
