package trust_test

import (
	"slices"
	"testing"

	"sigstack/internal/trust"
)

func TestIssuers(t *testing.T) {
	for _, list := range [][]string{nil, {"https://b", "https://a", "https://b"}} {
		data, err := trust.Issuers{LocallyBacked: list}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := trust.ParseIssuers(data)
		want := slices.Compact(slices.Sorted(slices.Values(list)))
		if err != nil || !slices.Equal(got.LocallyBacked, want) {
			t.Errorf("%q: got %q and %v, want %q", list, got.LocallyBacked, err, want)
		}
	}
	for _, bad := range []string{"", "{}", `{"locally_backed":null}`, `{"locally_backed":[],"more":1}`, `{"locally_backed":[]}{}`, `{"locally_backed":[1]}`} {
		if got, err := trust.ParseIssuers([]byte(bad)); err == nil {
			t.Errorf("%q: got %v, want an error", bad, got)
		}
	}
}

// FuzzParseIssuers: what is accepted reads the same when it is written again.
func FuzzParseIssuers(f *testing.F) {
	f.Add([]byte(`{"locally_backed":["https://a.example"]}`))
	f.Add([]byte(`{"locally_backed":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := trust.ParseIssuers(data)
		if err != nil {
			return
		}
		again, err := got.Encode()
		if err != nil {
			t.Fatal(err)
		}
		second, err := trust.ParseIssuers(again)
		if want := slices.Compact(slices.Sorted(slices.Values(got.LocallyBacked))); err != nil || !slices.Equal(second.LocallyBacked, want) {
			t.Errorf("got %q and %v, want %q", second.LocallyBacked, err, want)
		}
	})
}
