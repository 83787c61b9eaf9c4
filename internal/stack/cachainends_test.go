package stack_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"sigstack/internal/pki"
	"sigstack/internal/stack"
)

// endOf is a chain in a trusted root, whose window starts and ends so many hours after
// noon; 0 is no end.
type endOf struct {
	chain      []*x509.Certificate
	start, end int
}

func testChain(t *testing.T, name string) []*x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := pki.NewRoot(key, pkix.Name{CommonName: name, Organization: []string{"test"}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return []*x509.Certificate{cert}
}

var chainNoon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func rootWith(t *testing.T, chains ...endOf) []byte {
	t.Helper()
	cas := []any{}
	for _, c := range chains {
		window := map[string]string{"start": chainNoon.Add(time.Duration(c.start) * time.Hour).Format(time.RFC3339)}
		if c.end != 0 {
			window["end"] = chainNoon.Add(time.Duration(c.end) * time.Hour).Format(time.RFC3339)
		}
		cas = append(cas, map[string]any{
			"uri": "https://a.example", "validFor": window,
			"certChain": map[string]any{"certificates": []any{map[string][]byte{"rawBytes": c.chain[0].Raw}}},
		})
	}
	data, err := json.Marshal(map[string]any{"mediaType": "m", "certificateAuthorities": cas})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestChainEnds: a signer adds one chain, or ends chains at a time that can be, and
// never both.
func TestChainEnds(t *testing.T) {
	a, b, c := testChain(t, "a"), testChain(t, "b"), testChain(t, "c")
	both := []endOf{{a, 0, 0}, {b, 10, 0}}
	for name, tt := range map[string]struct {
		before, after []endOf
		added         []*x509.Certificate
		want          string // ends, or the error after "! "
	}{
		"adds":                          {both, []endOf{{a, 0, 0}, {b, 10, 0}, {c, 20, 0}}, c, ""},
		"adds beside an end of before":  {[]endOf{{a, 0, 12}, {b, 10, 0}}, []endOf{{a, 0, 12}, {b, 10, 0}, {c, 20, 0}}, c, ""},
		"ends":                          {both, []endOf{{a, 0, 12}, {b, 10, 0}}, nil, "CN=a,O=test 12"},
		"ends the newer":                {both, []endOf{{a, 0, 0}, {b, 10, 12}}, nil, "CN=b,O=test 12"},
		"ends two":                      {[]endOf{{a, 0, 0}, {b, 10, 0}, {c, 20, 0}}, []endOf{{a, 0, 12}, {b, 10, 22}, {c, 20, 0}}, nil, "CN=a,O=test 12 CN=b,O=test 22"},
		"adds and ends the active":      {both, []endOf{{a, 0, 0}, {b, 10, 12}, {c, 20, 0}}, c, "! the window of another one ends"},
		"adds and ends a retired":       {both, []endOf{{a, 0, 12}, {b, 10, 0}, {c, 20, 0}}, c, "! the window of another one ends"},
		"adds and opens":                {[]endOf{{a, 0, 12}, {b, 10, 0}}, []endOf{{a, 0, 0}, {b, 10, 0}, {c, 20, 0}}, c, "! which was published"},
		"adds what is there":            {both, []endOf{{b, 10, 0}, {a, 0, 0}}, b, "! is there already"},
		"adds nothing":                  {both, []endOf{{b, 10, 0}, {a, 0, 0}}, c, "! is not there"},
		"adds another":                  {both, []endOf{{a, 0, 0}, {b, 10, 0}, {c, 20, 0}}, nil, "! not the one to be added"},
		"ends nothing":                  {both, []endOf{{b, 10, 0}, {a, 0, 0}}, nil, "! no chain gets an end"},
		"ends all":                      {both, []endOf{{a, 0, 12}, {b, 10, 12}}, nil, "! no chain is left"},
		"ends the only one":             {both[:1], []endOf{{a, 0, 12}}, nil, "! no chain is left"},
		"ends when it was the only one": {both, []endOf{{a, 0, 9}, {b, 10, 0}}, nil, "! the only chain"},
		"ends before its start":         {both, []endOf{{a, 0, 0}, {b, 10, 5}}, nil, "! was not there yet"},
		"ends far ahead":                {both, []endOf{{a, 0, 40}, {b, 10, 0}}, nil, "! is ahead"},
		"moves an end":                  {[]endOf{{a, 0, 12}, {b, 10, 0}}, []endOf{{a, 0, 11}, {b, 10, 0}}, nil, "! which was published"},
		"takes an end away":             {[]endOf{{a, 0, 12}, {b, 10, 0}}, []endOf{{a, 0, 0}, {b, 10, 0}}, nil, "! which was published"},
		"moves a start":                 {both, []endOf{{a, 0, 12}, {b, 9, 0}}, nil, "! more than the end"},
		"takes a chain away":            {both, []endOf{{b, 10, 0}}, nil, "! a chain is taken away"},
		"has a chain twice":             {both, []endOf{{a, 0, 12}, {b, 10, 0}, {b, 10, 0}}, nil, "! there twice"},
	} {
		ends, err := stack.EndsOrAdds(rootWith(t, tt.before...), rootWith(t, tt.after...), tt.added, chainNoon.Add(30*time.Hour))
		var words []string
		for _, e := range ends {
			words = append(words, fmt.Sprintf("%s %v", e.Subject, e.End.Sub(chainNoon).Hours()))
		}
		got := strings.Join(words, " ")
		if want, refused := strings.CutPrefix(tt.want, "! "); refused {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: ends %q, %v, want it refused: %s", name, got, err, want)
			}
		} else if err != nil || got != want {
			t.Errorf("%s: ends %q, %v, want %q", name, got, err, want)
		}
	}
}
