package e2etest

import (
	"strings"
	"testing"
)

// TestFindLeak: each shape of a secret is found, and what looks like one is not.
func TestFindLeak(t *testing.T) {
	KeepSecret("correct horse")
	KeepSecret("abc") // too short to mean anything
	token := "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"
	for text, want := range map[string]string{
		"":                           "",
		"msg=request status=400 abc": "",
		"want three parts as eyJ.x, bearer token":               "",
		"the header is eyJhbGciOiJSUzI1NiJ9":                    "",
		"one\ntwo token=" + token:                               "a token in line 2, after \"two token=\"",
		"unsigned " + strings.TrimSuffix(token, "c2lnbmF0dXJl"): "a token in line 1",
		"-----BEGIN EC PRIVATE KEY-----":                        "a private key in line 1",
		"authorization: bearer 0123456789abcdef":                "a bearer token in line 1",
		"password=\"correct horse\"":                            "a password or passphrase in line 1",
	} {
		got := findLeak([]byte(text))
		if want == "" && got != "" || !strings.HasPrefix(got, want) {
			t.Errorf("in %q: got %q, want %q", text, got, want)
		}
		if strings.Contains(got, token) || strings.Contains(got, "horse") {
			t.Errorf("in %q: the report %q repeats the secret", text, got)
		}
	}
}
