package main

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"sigstack/internal/config"
)

func TestParseIssuers(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want config.Issuer
	}{
		{"https://a.example", config.Issuer{URL: "https://a.example", ClientID: "sigstore", Type: "email"}},
		{"https://a.example,client-id=x,type=github-workflow", config.Issuer{URL: "https://a.example", ClientID: "x", Type: "github-workflow"}},
		{"https://a.example,type=uri,subject-domain=https://a.example", config.Issuer{URL: "https://a.example", ClientID: "sigstore", Type: "uri", SubjectDomain: "https://a.example"}},
	} {
		got, err := parseIssuers([]string{tt.in})
		if err != nil || !reflect.DeepEqual(got, []config.Issuer{tt.want}) {
			t.Errorf("%s: got %+v, %v; want %+v", tt.in, got, err, tt.want)
		}
	}
	for in, want := range map[string]string{
		"":                                "not an http or https URL",
		"a.example":                       "not an http or https URL",
		"https://a.example,colour=red":    "unknown setting",
		"https://a.example,type":          "want one of",
		"https://a.example,type=emial":    "want one of",
		"https://a.example,type=uri":      "subject_domain: missing",
		"https://a.example,client-id":     "has no value",
		"https://a.example,client-id=":    "has no value",
		"https://a.example,":              "unknown setting",
		"https://a.example,type=a,type=b": "want one of",
	} {
		_, err := parseIssuers([]string{in})
		if !errors.Is(err, errUsage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want a usage error with %q", in, err, want)
		}
	}
}

func TestChooseURL(t *testing.T) {
	for _, tt := range []struct{ url, listen, want, refusal string }{
		{"", "127.0.0.1:8080", "http://localhost:8080", ""},
		{"https://x.example", "127.0.0.1:0", "https://x.example", ""},
		{"", "127.0.0.1:0", "", "say --url"},
		{"", "127.0.0.1", "", "not host:port"},
		{"x.example", "127.0.0.1:8080", "", "--url"},
	} {
		got, err := chooseURL(tt.url, tt.listen)
		if got != tt.want || (tt.refusal == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.refusal) {
			t.Errorf("%q %q: got %q, %v; want %q, %q", tt.url, tt.listen, got, err, tt.want, tt.refusal)
		}
	}
}
