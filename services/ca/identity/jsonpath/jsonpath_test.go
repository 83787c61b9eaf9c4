package jsonpath

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func TestFind(t *testing.T) {
	const text = `{"federated_claims":{"connector_id":"google"},"a":[{"b":7},"x"],"a.b/c":"dotted","é":{"_1":true},"none":null,"":"unnamed"}`
	var value any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		path string
		want any
		ok   bool
	}{
		{"$.federated_claims.connector_id", "google", true},
		{`$["federated_claims"]['connector_id']`, "google", true},
		{`$.federated_claims["connector_id"]`, "google", true},
		{"$.a[0].b", float64(7), true},
		{"$.a[1]", "x", true},
		{`$["a.b/c"]`, "dotted", true},
		{"$.é._1", true, true},
		{"$.none", nil, true},
		{`$[""]`, "unnamed", true},
		{"$.nowhere", nil, false},
		{"$.federated_claims.connector_id.more", nil, false},
		{"$.none.more", nil, false},
		{"$.a.b", nil, false},
		{"$.a[2]", nil, false},
		{"$[0]", nil, false},
	}
	for _, tt := range tests {
		t.Run(tt.path, func(t *testing.T) {
			p, err := Parse(tt.path)
			if err != nil {
				t.Fatal(err)
			}
			if got, ok := p.Find(value); ok != tt.ok || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("found %v, %v, want %v, %v", got, ok, tt.want, tt.ok)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	tests := []struct{ path, want string }{
		{"", "does not begin with $"},
		{"$", "does not begin with $"},
		{"federated_claims.connector_id", "does not begin with $"},
		{".a", "does not begin with $"},
		{"$a", "is not a step"},
		{"$.", "does not begin with a name"},
		{"$..a", "does not begin with a name"},
		{"$.1", "does not begin with a name"},
		{"$.a-b", "is not a step"},
		{"$.a ", "is not a step"},
		{"$.*", "does not begin with a name"},
		{"$[*]", "not supported"},
		{"$[0:1]", "not supported"},
		{"$[?(@.a)]", "not supported"},
		{"$[-1]", "not supported"},
		{"$[0,1]", "not supported"},
		{"$[]", "not supported"},
		{"$[", "is not a step"},
		{"$[0", "not supported"},
		{"$[4294967296]", "not supported"},
		{`$["a]`, "not a name in quotes"},
		{`$["a"`, "not a name in quotes"},
		{`$["a"x]`, "not a name in quotes"},
		{`$["a\"b"]`, "not a name in quotes"},
		{`$["a\b"]`, "not a name in quotes"},
		{`$["a","b"]`, "not a name in quotes"},
		{"$" + strings.Repeat(".a", 33), "over 32 steps"},
		{"$." + strings.Repeat("a", 1024), "does not begin with $"},
	}
	for _, tt := range tests {
		t.Run(tt.path, func(t *testing.T) {
			if _, err := Parse(tt.path); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want one with %q", err, tt.want)
			}
		})
	}
}

// FuzzParse: a path that parses leads to what was put at its end, and nowhere in
// a value without it.
func FuzzParse(f *testing.F) {
	for _, text := range []string{"$.federated_claims.connector_id", `$["a"]['b'][0].c`, "$[0][1]", "$..a", "$.é", `$[""]`, "$[?(@.a)]"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse(text)
		if err != nil {
			return
		}
		var value any = "leaf"
		for i := len(p.steps) - 1; i >= 0; i-- {
			s := p.steps[i]
			if !s.element {
				value = map[string]any{s.name: value}
				continue
			}
			if s.index > 1000 {
				return
			}
			value = append(make([]any, s.index), value)
		}
		if got, ok := p.Find(value); !ok || got != "leaf" {
			t.Fatalf("Find(%q) = %v, %v, want the leaf", text, got, ok)
		}
		for _, other := range []any{nil, "x", map[string]any{}, []any{}} {
			if got, ok := p.Find(other); ok {
				t.Fatalf("Find(%q) = %v in %v, want nothing", text, got, other)
			}
		}
	})
}
