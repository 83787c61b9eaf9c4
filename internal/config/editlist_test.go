package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigstack/internal/config"
)

const logs = `version: 1
profile: serve
url: https://sigstack.corp.example
listen: 127.0.0.1:0
ctlog: # of all certificates
  key: ctlog
  tree_id: 1
  prefix: ctlog
  roots: [roots.pem]
audit:
  key: audit
`

const moreLogs = `version: 1
profile: serve
url: https://sigstack.corp.example
listen: 127.0.0.1:0
ctlog:
  key: ctlog
  tree_id: 1
  prefix: ctlog
  roots: [roots.pem]
  shards:
  -  key: ctlog-ct2 # the second
     tree_id: 2

     prefix: ct2  # its place
  first: ct2
`

// nextLog is a further log, which is asked first.
var nextLog = []config.Field{
	{Path: "ctlog.shards", Item: []config.Field{{Path: "key", Value: "ctlog-ct3"}, {Path: "tree_id", Number: 1 << 60}, {Path: "prefix", Value: "ct3"}}},
	{Path: "ctlog.first", Value: "ct3"},
}

func TestSetFieldsInLists(t *testing.T) {
	for name, tt := range map[string]struct {
		text   string
		fields []config.Field
		old    []string
	}{
		"a new list": {logs, nextLog, []string{
			"  key: ctlog\n", "  first: ct3\n  shards:\n    - key: ctlog-ct3\n      tree_id: 1152921504606846976\n      prefix: ct3\n  key: ctlog\n",
		}},
		"one more": {moreLogs, nextLog, []string{
			"# its place\n", "# its place\n  -  key: ctlog-ct3\n     tree_id: 1152921504606846976\n     prefix: ct3\n", "first: ct2", "first: ct3",
		}},
		"one more at the end": {strings.TrimSuffix(strings.Replace(moreLogs, "  first: ct2\n", "", 1), "\n"), nextLog[:1], []string{
			"# its place", "# its place\n  -  key: ctlog-ct3\n     tree_id: 1152921504606846976\n     prefix: ct3\n",
		}},
		"in an item":   {moreLogs, []config.Field{{Path: "ctlog.first", Value: "ctlog"}, {Path: "ctlog.shards.0.state", Value: "readonly"}}, []string{"first: ct2", "first: ctlog", "     tree_id: 2\n", "     state: readonly\n     tree_id: 2\n"}},
		"of an item":   {moreLogs, []config.Field{{Path: "ctlog.shards.0.prefix", Value: "ct9"}, {Path: "ctlog.first", Value: "ct9"}}, []string{"ct2  #", "ct9  #", "first: ct2", "first: ct9"}},
		"of the first": {logs, []config.Field{{Path: "ctlog.state", Value: "readonly"}}, []string{"  key: ctlog\n", "  state: readonly\n  key: ctlog\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "config.yaml")
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			was, err := config.Digest(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := config.SetFields(path, was, tt.fields...); err != nil {
				t.Fatal(err)
			}
			want := strings.NewReplacer(tt.old...).Replace(tt.text)
			if got := read(t, path); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			if err := config.SetFields(path, was, tt.fields...); err != nil || read(t, path) != want {
				t.Errorf("the same again, as after a crash: %v, %s", err, read(t, path))
			}
			other := config.Field{Path: "operator", Value: "corp.example"}
			if err := config.SetFields(path, was, other); !errors.Is(err, config.ErrChanged) {
				t.Errorf("another change of what it was: got %v, want it refused", err)
			}
		})
	}
}

func TestSetFieldsInListsRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		text  string
		field config.Field
		want  string
	}{
		"no section":     {logs, config.Field{Path: "ca.issuers", Item: nextLog[0].Item}, "no section ca"},
		"no list":        {logs, config.Field{Path: "ctlog.key", Item: nextLog[0].Item}, "not a list"},
		"no item":        {moreLogs, config.Field{Path: "ctlog.shards.1.state", Value: "frozen"}, "ctlog.shards is no section"},
		"no number":      {moreLogs, config.Field{Path: "ctlog.shards.first.state", Value: "frozen"}, "ctlog.shards is no section"},
		"an item's text": {moreLogs, config.Field{Path: "ctlog.shards.0", Value: "frozen"}, "not plain"},
		"no settings":    {moreLogs, config.Field{Path: "ctlog.shards", Item: []config.Field{}}, "no settings"},
		"not valid then": {moreLogs, config.Field{Path: "ctlog.shards", Item: []config.Field{{Path: "key", Value: "ctlog"}}}, "another log's"},
		"one line": {
			strings.Replace(logs, "prefix: ctlog\n", "prefix: ctlog\n  shards: [{key: a, tree_id: 3, prefix: b}]\n", 1),
			nextLog[0], "by hand",
		},
	} {
		path := filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := config.SetFields(path, "", tt.field); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want it refused: %s", name, err, tt.want)
		}
		if read(t, path) != tt.text {
			t.Errorf("%s: the file was changed", name)
		}
	}
}

// FuzzSetItem: a list that was added to has the item as its last one, and those of
// before.
func FuzzSetItem(f *testing.F) {
	f.Add([]byte(logs), "ct3")
	f.Add([]byte(moreLogs), "x y")
	f.Add([]byte(strings.ReplaceAll(moreLogs, "\n", "\r\n")), "ct3")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte, prefix string) {
		path := filepath.Join(dir, "config.yaml")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		before, _ := config.Load(path)
		item := []config.Field{{Path: "key", Value: "k"}, {Path: "tree_id", Number: 77}, {Path: "prefix", Value: prefix}}
		if err := config.SetFields(path, "", config.Field{Path: "ctlog.shards", Item: item}); err != nil {
			if read(t, path) != string(data) {
				t.Errorf("refused (%v), and changed to %q", err, read(t, path))
			}
			return
		}
		after, err := config.Load(path)
		if err != nil || before == nil || after.CTLog == nil || len(after.CTLog.Shards) != len(before.CTLog.Shards)+1 {
			t.Fatalf("%q with a log more: %+v, %v", data, after, err)
		}
		last := after.CTLog.Shards[len(after.CTLog.Shards)-1]
		if last != (config.CTShard{Key: "k", TreeID: 77, Prefix: prefix}) {
			t.Errorf("%q: got %+v", data, last)
		}
	})
}
