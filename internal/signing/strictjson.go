package signing

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// level is an open object or array of a JSON text.
type level struct {
	seen map[string]bool // members of an object; nil for an array
	key  bool            // an object's next token is a key
}

// checkUnique checks that data is one JSON value in which no object has a member
// twice: readers differ in which of the two they take.
func checkUnique(data []byte) error {
	if !json.Valid(data) { // bounds the depth, too
		return errors.New("it is not JSON")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var open []*level
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var in *level
		if len(open) > 0 {
			in = open[len(open)-1]
		}
		switch {
		case token == json.Delim('}') || token == json.Delim(']'):
			open = open[:len(open)-1]
			continue
		case in != nil && in.key:
			name, _ := token.(string) // a key is nothing else
			if in.seen[name] {
				return fmt.Errorf("member %q is there twice", name)
			}
			in.seen[name], in.key = true, false
			continue
		case in != nil && in.seen != nil:
			in.key = true // once this value is over
		}
		switch token {
		case json.Delim('{'):
			open = append(open, &level{seen: map[string]bool{}, key: true})
		case json.Delim('['):
			open = append(open, &level{})
		}
	}
}

// decodeExact decodes the JSON object data into v and refuses members that are
// not among names. Unlike encoding/json it tells upper from lower case.
func decodeExact(data []byte, v any, names ...string) error {
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
