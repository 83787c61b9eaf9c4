package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigstack/internal/config"
)

// edited is a configuration with comments, blank lines and quotes of all kinds.
const edited = `# kept
version: 1
profile: serve   # for good
url: https://sigstack.corp.example
listen: 127.0.0.1:0

tsa:
    key: ca # the issuing one
    chain: "keys/ca.chain.pem"   # ü
tuf: # roles
  snapshot_key: 'tuf-snapshot'

  timestamp_key: tuf-timestamp
`

func TestSetFields(t *testing.T) {
	for name, tt := range map[string]struct {
		fields []config.Field
		old    []string // pairs
	}{
		"plain":         {[]config.Field{{Path: "tsa.key", Value: "ca-2"}}, []string{"key: ca #", "key: ca-2 #"}},
		"double quotes": {[]config.Field{{Path: "tsa.chain", Value: "keys/ca-2.chain.pem"}}, []string{`"keys/ca.chain.pem"`, "keys/ca-2.chain.pem"}},
		"single quotes": {[]config.Field{{Path: "tuf.snapshot_key", Value: "s-2"}}, []string{"'tuf-snapshot'", "s-2"}},
		"two":           {[]config.Field{{Path: "tsa.key", Value: "x"}, {Path: "tuf.timestamp_key", Value: "t-2"}}, []string{"key: ca #", "key: x #", "timestamp_key: tuf-timestamp", "timestamp_key: t-2"}},
		"quoted value":  {[]config.Field{{Path: "tsa.key", Value: "1"}}, []string{"key: ca #", `key: "1" #`}},
		"a new one":     {[]config.Field{{Path: "operator", Value: "corp.example"}}, []string{"version: 1\n", "operator: corp.example\nversion: 1\n"}},
		"none":          {[]config.Field{{Path: "tsa.key", Value: "ca"}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "config.yaml")
			if err := os.WriteFile(path, []byte(edited), 0o640); err != nil {
				t.Fatal(err)
			}
			was, err := config.Digest(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := config.SetFields(path, was, tt.fields...); err != nil {
				t.Fatal(err)
			}
			want := strings.NewReplacer(tt.old...).Replace(edited)
			if got := read(t, path); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			if tt.old != nil && read(t, path+config.KeptSuffix) != edited {
				t.Errorf("the content of before is not kept")
			}
			info, err := os.Stat(path)
			if err != nil || info.Mode().Perm() != 0o640 {
				t.Errorf("mode %v, %v, want that of before", info.Mode(), err)
			}
		})
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestSetFieldsRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		text, field, value, want string
	}{
		"no section":     {edited, "ca.key", "x", "no section ca"},
		"no setting":     {edited, "tsa.nothing", "x", "nothing"},
		"a section":      {edited, "tsa", "x", "not plain"},
		"below a value":  {edited, "tsa.key.more", "x", "tsa.key is no section"},
		"two lines":      {edited, "tsa.key", "x\ny", "one line"},
		"empty":          {edited, "tsa.key", "", "one line"},
		"not valid then": {edited, "url", "ftp://x", "url"},
		"an anchor":      {strings.Replace(edited, "key: ca #", "key: &k ca #", 1), "tsa.key", "x", "by hand"},
		"a block":        {strings.Replace(edited, `chain: "keys/ca.chain.pem"   # ü`, "chain: >-\n      keys/ca.chain.pem", 1), "tsa.chain", "x", "by hand"},
		"not YAML":       {"a: [", "tsa.key", "x", "not YAML"},
	} {
		path := filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := config.SetFields(path, "", config.Field{Path: tt.field, Value: tt.value}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want it refused: %s", name, err, tt.want)
		}
		if read(t, path) != tt.text {
			t.Errorf("%s: the file was changed", name)
		}
	}
}

// TestSetFieldsOfAnother: a file that was changed since, or that is a link, stays.
func TestSetFieldsOfAnother(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(edited), 0o600); err != nil {
		t.Fatal(err)
	}
	was, err := config.Digest(path)
	if err != nil {
		t.Fatal(err)
	}
	link := path + ".link"
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	change := config.Field{Path: "tsa.key", Value: "ca-2"}
	if err := config.SetFields(link, was, change); err == nil || !strings.Contains(err.Error(), "is a link") {
		t.Errorf("a link: got %v, want it refused", err)
	}
	if err := os.WriteFile(path, []byte(edited+"# mine\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := config.SetFields(path, was, change); !errors.Is(err, config.ErrChanged) {
		t.Errorf("changed by hand: got %v, want it refused", err)
	}
	if got := read(t, path); got != edited+"# mine\n" {
		t.Errorf("the file was changed:\n%s", got)
	}
}

// FuzzSetFields: what is changed is valid, says what it is to say, and is as long as it
// was but for that.
func FuzzSetFields(f *testing.F) {
	f.Add([]byte(edited), "ca-2")
	f.Add([]byte(strings.ReplaceAll(edited, "\n", "\r\n")), "a b: #c")
	f.Add([]byte("{version: 1, profile: up, url: 'http://127.0.0.1:1', listen: '127.0.0.1:1', tsa: {key: a, chain: b}}"), "x")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte, value string) {
		path := filepath.Join(dir, "config.yaml")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		err := config.SetFields(path, "", config.Field{Path: "tsa.key", Value: value})
		got := read(t, path)
		if err != nil {
			if got != string(data) {
				t.Errorf("refused (%v), and changed to %q", err, got)
			}
			return
		}
		c, err := config.Load(path)
		if err != nil || c.TSA == nil || c.TSA.Key != value {
			t.Errorf("tsa.key of %q was set to %q: got %q, %v", data, value, got, err)
		}
	})
}
