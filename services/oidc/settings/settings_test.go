package settings_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"sigstack/services/oidc/settings"
)

type inner struct {
	Base string `json:"baseDN"`
	Deep *inner `json:"deep"`
}

type sample struct {
	Host     string  `json:"host"`
	Insecure bool    `json:"insecure"`
	Port     int     `json:"port"`
	Roots    []inner `json:"roots"`
	Names    []string
	Search   inner `json:"search"`
}

func target() any { return new(sample) }

func TestProblems(t *testing.T) {
	tests := []struct {
		in   string
		want []string
	}{
		{`{"host": "h", "search": {"baseDN": "x"}, "roots": [{"baseDN": "y"}], "PORT": 3}`, nil},
		{`{"hots": "h", "search": {"base": "x", "deep": {"host": "here"}}, "host": "h"}`, []string{"hots: not known", "search.base: not known", "search.deep.host: not known"}},
		{`{"insecure": "yes", "port": "many", "host": 3, "roots": {}, "search": []}`, []string{
			"host: want text, not a number", "insecure: want true or false, not text", "port: want a whole number, not text",
			"roots: want a list, not settings", "search: want settings (name: value), not a list",
		}},
		{`{"roots": [{"baseDN": "y"}, {"x": 1}]}`, []string{"roots[1].x: not known"}},
		{`{"port": 1.5, "search": {"baseDN": true}}`, []string{"port: want a whole number, not a number", "search.baseDN: want text, not true or false"}},
		{`[]`, []string{"settings: cannot unmarshal array into Go value of type settings_test.sample"}},
	}
	for _, tt := range tests {
		got := settings.Problems([]byte(tt.in), target)
		slices.Sort(got)
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.in, got, tt.want)
		}
	}
}

// FuzzProblems: nothing panics or goes on for ever, and no problem means that the
// strict decoder takes it.
func FuzzProblems(f *testing.F) {
	f.Add([]byte(`{"host": 1, "roots": [{"x": [{"x": 1}]}], "search": {"deep": {"deep": 3}}}`))
	f.Add([]byte(`{"roots": [3, {"x": 1}], "names": [{}], "a\"b": 1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if !json.Valid(data) {
			return
		}
		problems := settings.Problems(data, target)
		dec := json.NewDecoder(strings.NewReader(string(data)))
		dec.DisallowUnknownFields()
		if err := dec.Decode(target()); err != nil && len(problems) == 0 {
			t.Fatalf("%s: nothing found, but %v", data, err)
		}
	})
}
