package token

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

func TestCache(t *testing.T) {
	c := &cache{limit: 2}
	made := 0
	get := func(url string) {
		t.Helper()
		src, err := c.get(url, "", func() (*source, error) { made++; return &source{url: url}, nil })
		if err != nil || src.url != url {
			t.Fatalf("get(%s) = %v, %v", url, src, err)
		}
	}
	steps := []struct {
		url  string
		made int // so far
	}{{"a", 1}, {"b", 2}, {"a", 2}, {"c", 3}, {"a", 3}, {"b", 4}, {"c", 5}}
	for i, s := range steps {
		if get(s.url); made != s.made {
			t.Errorf("step %d: %d sources were made, want %d", i+1, made, s.made)
		}
		if len(c.sources) > 2 {
			t.Errorf("step %d: %d sources are kept, want at most 2", i+1, len(c.sources))
		}
	}
	if _, err := c.get("bad", "", func() (*source, error) { return nil, fmt.Errorf("no") }); err == nil || len(c.sources) != 2 {
		t.Errorf("a source that could not be made was kept (%v)", err)
	}
}

func TestRedirects(t *testing.T) {
	tests := []struct {
		from, to string
		ok       bool
	}{
		{"https://a.example/x", "https://a.example/y", true},
		{"http://a.example/x", "https://a.example/y", true},
		{"https://a.example/x", "http://a.example/y", false},
		{"https://a.example/x", "https://b.example/x", false},
		{"https://a.example/x", "https://a.example:8443/x", false},
	}
	for _, tt := range tests {
		from, err := http.NewRequestWithContext(t.Context(), http.MethodGet, tt.from, nil)
		if err != nil {
			t.Fatal(err)
		}
		to, err := http.NewRequestWithContext(t.Context(), http.MethodGet, tt.to, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := sameHost(to, []*http.Request{from}); (err == nil) != tt.ok {
			t.Errorf("from %s to %s: %v, want allowed %v", tt.from, tt.to, err, tt.ok)
		}
	}
}

func TestUsable(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	set := []any{
		jose.JSONWebKey{Key: key.Public(), KeyID: "plain"},
		jose.JSONWebKey{Key: key.Public(), KeyID: "signing", Use: "sig"},
		jose.JSONWebKey{Key: key.Public(), KeyID: "encryption", Use: "enc"},
		jose.JSONWebKey{Key: key, KeyID: "private"},
		jose.JSONWebKey{Key: []byte("0123456789abcdef0123456789abcdef"), KeyID: "secret"},
		map[string]string{"kty": "EC", "crv": "secp256k1", "kid": "curve"},
		7,
	}
	var raw []json.RawMessage
	for _, v := range set {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		raw = append(raw, b)
	}
	var got []string
	for _, k := range usable(raw) {
		got = append(got, k.KeyID)
	}
	if want := []string{"plain", "signing"}; !slices.Equal(got, want) {
		t.Errorf("usable keys = %q, want %q", got, want)
	}
	many := slices.Repeat(raw[:1], maxKeys+1)
	if got := len(usable(many)); got != maxKeys {
		t.Errorf("of %d keys %d are used, want %d", len(many), got, maxKeys)
	}
}
