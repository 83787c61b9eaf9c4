package entry

import (
	"encoding/json"
	"maps"
	"testing"
	"unicode/utf8"
)

// FuzzParseObject: an object has the members that encoding/json finds, with the same
// bytes, unless one is there twice.
func FuzzParseObject(f *testing.F) {
	for _, seed := range []string{
		`{}`, ` { "a" : 1 , "b":"" } `, `{"a":"\"","b":"\\","c":"\\\"","d":"\\\\"}`, `{"\"":"\\\\\\\"x"}`,
		`{"a":{"b":["}","\"]",{"c":"\\"}]},"d":null}`, `{"a":1,"\u0061":2}`, `[]`, `"x"`, `{"é":"\\é\""}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if !utf8.Valid(data) || !json.Valid(data) {
			return
		}
		var want map[string]json.RawMessage
		isObject := json.Unmarshal(data, &want) == nil && want != nil
		o, err := parseObject("", data)
		if err != nil {
			if isObject && err.Error() != "proposed entry has a member twice" {
				t.Errorf("%s: %v, want members %q", data, err, want)
			}
			return
		}
		if !isObject || !maps.EqualFunc(o.members, want, func(a, b json.RawMessage) bool { return string(a) == string(b) }) {
			t.Errorf("%s: got members %q, want %q", data, o.members, want)
		}
	})
}
