package oidc

import (
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// TestOnlyReads: what is stored or tried counts as a login.
func TestOnlyReads(t *testing.T) {
	s := &Service{issuer: &url.URL{Path: "/dex"}}
	for request, want := range map[string]bool{
		"GET /dex/.well-known/openid-configuration": true,
		"HEAD /dex/keys":             true,
		"GET /dex/static/main.css":   true,
		"GET /dex/":                  true,
		"GET /dex/authentic":         true,
		"GET /dex/auth":              false,
		"GET /dex/auth/local":        false,
		"HEAD /dex/auth":             false,
		"GET /dex/callback":          false,
		"GET /dex/callback/github":   false,
		"GET /dex/approval":          false,
		"GET /dex/device":            false,
		"POST /dex/token":            false,
		"POST /dex/keys":             false,
		"POST /dex/auth/local/login": false,
	} {
		method, path, _ := strings.Cut(request, " ")
		if got := s.onlyReads(httptest.NewRequest(method, path, nil)); got != want {
			t.Errorf("%s only reads: %v, want %v", request, got, want)
		}
	}
}
