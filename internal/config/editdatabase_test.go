package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigstack/internal/config"
)

func TestSetDatabase(t *testing.T) {
	const head = "# of mine\nversion: 1\nprofile: up\nurl: http://localhost:8080 # here\nlisten: 127.0.0.1:8080\n"
	const tail = "# of the next one\ntsa:\n  key: tsa\n  chain: x # there\n"
	const section = "database:\n  url_file: /etc/url\n  schema: acme\n  connections: 4\n"
	d := &config.Database{URLFile: "/etc/url", Schema: "acme", Connections: 4}
	for _, tt := range []struct {
		name, before string
		set          *config.Database
		after        string
	}{
		{"added", head + tail, d, head + tail + section},
		{"added behind a line without end", head + strings.TrimSuffix(tail, "\n"), d, head + tail + section},
		{"replaced", head + "database:\n  url_file: x\n" + tail, d, head + tail + section},
		{"taken from the middle", head + section + tail, nil, head + tail},
		{"taken from the end", head + tail + section, nil, head + tail},
		{"taken with its comments", head + "database:\n  # where\n  url_file: x # secret\n" + tail, nil, head + tail},
		{"not there to be taken", head + tail, nil, head + tail},
		{"least", head + tail, &config.Database{URLFile: "url: file #1"}, head + tail + "database:\n  url_file: 'url: file #1'\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "config.yaml")
			if err := os.WriteFile(path, []byte(tt.before), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := config.SetDatabase(path, tt.set); err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(path); err != nil || string(got) != tt.after {
				t.Errorf("got %v\n%s\nwant\n%s", err, got, tt.after)
			}
			if tt.after == tt.before {
				return
			}
			if got, err := os.ReadFile(path + config.KeptSuffix); err != nil || string(got) != tt.before {
				t.Errorf("kept: got %v\n%s\nwant\n%s", err, got, tt.before)
			}
		})
	}
}

func TestSetDatabaseRefuses(t *testing.T) {
	const head = "version: 1\nprofile: up\nurl: http://localhost:8080\nlisten: 127.0.0.1:8080\n"
	const tail = "tsa:\n  key: tsa\n  chain: x\n"
	for _, tt := range []struct {
		name, before string
		set          *config.Database
		want         string
	}{
		{"a schema that is none", head + tail, &config.Database{URLFile: "u", Schema: "No"}, "database.schema"},
		{"braces", "{version: 1, profile: up, url: 'http://localhost:8080', listen: '127.0.0.1:8080', tsa: {key: tsa, chain: x}, database: {url_file: u}}\n", nil, "by hand"},
		{"a value of many lines", head + "database:\n  url_file: >\n    x\n    y\n" + tail, nil, "by hand"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "config.yaml")
			if err := os.WriteFile(path, []byte(tt.before), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := config.SetDatabase(path, tt.set); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
			if got, err := os.ReadFile(path); err != nil || string(got) != tt.before {
				t.Errorf("it was changed all the same: %v\n%s", err, got)
			}
		})
	}
	link := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.Symlink("elsewhere", link); err != nil {
		t.Fatal(err)
	}
	if err := config.SetDatabase(link, nil); err == nil || !strings.Contains(err.Error(), "is a link") {
		t.Errorf("a link: got %v", err)
	}
}
