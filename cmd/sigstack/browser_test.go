package main

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestBrowserCommands(t *testing.T) {
	const url = "https://issuer.example/auth?a=b&c=d"
	tests := []struct {
		name, goos string
		env        map[string]string
		want       [][]string
	}{
		{"the user's", "linux", map[string]string{"BROWSER": "firefox"}, [][]string{{"firefox", url}}},
		{"the user's list", "linux", map[string]string{"BROWSER": "firefox --new-window %s::lynx"}, [][]string{{"firefox", "--new-window", url}, {"lynx", url}}},
		{"on X", "linux", map[string]string{"DISPLAY": ":0"}, [][]string{{"xdg-open", url}}},
		{"on Wayland", "freebsd", map[string]string{"WAYLAND_DISPLAY": "wayland-0"}, [][]string{{"xdg-open", url}}},
		{"on a Mac", "darwin", nil, [][]string{{"open", url}}},
		{"on Windows", "windows", nil, [][]string{{"rundll32", "url.dll,FileProtocolHandler", url}}},
		{"nowhere", "linux", nil, nil},
	}
	for _, tt := range tests {
		got, err := browserCommands(url, tt.goos, func(key string) string { return tt.env[key] })
		if !reflect.DeepEqual(got, tt.want) || (err == nil) != (tt.want != nil) {
			t.Errorf("%s: got %q, %v, want %q", tt.name, got, err, tt.want)
		}
	}
}

func TestShowLogin(t *testing.T) {
	const url = "https://issuer.example/auth?a=b&c=d"
	tests := []struct{ browser, want string }{
		{"true", "Log in with the browser that opens"},
		{"false:true", "Log in with the browser that opens"},
		{"false", "No browser could be opened here (false: exit status 1)"},
		{"/nowhere/browser", "no such file"},
	}
	for _, tt := range tests {
		t.Setenv("BROWSER", tt.browser)
		var out bytes.Buffer
		a := &app{in: strings.NewReader(""), err: &out}
		if err := a.showLogin(url); err != nil {
			t.Errorf("%s: %v", tt.browser, err)
		}
		for _, want := range []string{tt.want, "  " + url + "\n", "--device"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: got %q, want %q in it", tt.browser, out.String(), want)
			}
		}
	}
}

func TestCheckNoToken(t *testing.T) {
	if err := checkNoToken("--exchange", "eyJh.eyJh.c2ln"); !errors.Is(err, errUsage) || strings.Contains(err.Error(), "eyJ") {
		t.Errorf("got %v, want a usage error without the token", err)
	}
	if err := checkNoToken("--exchange", "eyJh.txt"); err != nil {
		t.Error(err)
	}
}
