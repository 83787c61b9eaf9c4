package signing_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"sigstack/internal/signing"
)

func TestCheckUnique(t *testing.T) {
	many := make([]string, 40)
	for i := range many {
		many[i] = fmt.Sprintf(`"m%d":{"m%d":%d}`, i, i, i)
	}
	good := []string{
		`1`, `"a"`, `{}`, `[]`, `[{"a":1},{"a":1}]`, `{"a":{"a":{"a":"a"}},"b":"a"}`, `{"a":["a","a",{"a":1}],"b":1}`,
		`{"a\"":1,"a":2,"\\":3}`, `{"a":"}","b":"{","c":",\"a\":"}`, `{` + strings.Join(many, ",") + `}`,
	}
	for _, text := range good {
		if err := signing.CheckUnique([]byte(text)); err != nil {
			t.Errorf("%s: got %v, want it accepted", text, err)
		}
	}
	bad := []string{
		``, `{`, `{}{}`, `{"a":1,}`, `{"a":1,"a":1}`, `[{"a":{},"b":[],"a":1}]`, `{"a":1,"\u0061":1}`, `{"":1,"":1}`,
		`{"x":{"a":1},"x":{}}`, "{\"\xff\":1}", `{` + strings.Join(many, ",") + `,"m39":1}`, `{` + strings.Join(many, ",") + `,"m0":1}`,
	}
	for _, text := range bad {
		if err := signing.CheckUnique([]byte(text)); err == nil {
			t.Errorf("%s: got no error, want one", text)
		}
	}
}

// FuzzCheckUnique compares with a walk by the standard library's tokens.
func FuzzCheckUnique(f *testing.F) {
	for _, text := range []string{`{"a":[{"b":1,"c":"\\\""}],"\u0062":{}}`, `{"a":1,"a":2}`, `[{"a":{"b":{}}},[]]`, `{"\ud800":1,"\ud801":2}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got := signing.CheckUnique(data) == nil
		if want := utf8.Valid(data) && json.Valid(data) && uniqueByTokens(t, data); got != want {
			t.Errorf("%q: got unique %v, want %v", data, got, want)
		}
	})
}

func uniqueByTokens(t *testing.T, data []byte) bool {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	unique := true
	var walk func() error
	walk = func() error {
		token, err := dec.Token()
		if err != nil || token != json.Delim('{') && token != json.Delim('[') {
			return err
		}
		seen := map[string]bool{}
		for dec.More() {
			if token == json.Delim('{') {
				name, err := dec.Token()
				if err != nil {
					return err
				}
				unique = unique && !seen[name.(string)]
				seen[name.(string)] = true
			}
			if err := walk(); err != nil {
				return err
			}
		}
		_, err = dec.Token()
		return err
	}
	if err := walk(); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return unique
}
