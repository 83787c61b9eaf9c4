package config_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"sigstack/internal/config"
)

// report returns the problems of a file as `config check` prints them.
func report(text string) string {
	var out strings.Builder
	for _, p := range config.Read("f", []byte(text)).Problems {
		fmt.Fprintln(&out, p.In("f"))
	}
	return out.String()
}

// TestPlaces: each problem is at the line of its field, or of the section that
// lacks it, and all are there at once, whatever kind they are of.
func TestPlaces(t *testing.T) {
	got := report(`version: 1
profile: serve
url: https://sigstack.corp.example
lisen: 127.0.0.1:8080
tls:
  files:
    certificate: /etc/tls.crt
  min_version: "1.1"
ca:
  key: [ca]
  chain: keys/ca.chain.pem
  password_grant: true
  issuers:
    - url: https://login.corp.example
      type: email
    - type: uri
      url: https://ci.corp.example
      skip_email_verification: maybe
tlog:
  key: rekor
  tree_id: many
  tree_id: 2
tsa: chain.pem
oidc:
  secret: oidc
  users:
    - email: ann@corp.example
      password_hash: "$2a$10$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuvwxyzABCDE"
  connectors:
    - type: oidc
      id: ci
      config: {clientSecret: s}
tuf:
`)
	want := `f:4: lisen: not known, did you mean listen?
f:6: tls.files.key: missing
f:8: tls.min_version: "1.1", want 1.3 or 1.2
f:9: ca: needs the ctlog section, or a peer with it: without a CT log no certificate is issued
f:10: ca.key: want text, not a list
f:12: ca.password_grant: not known: it belongs to oidc
f:16: ca.issuers[1].subject_domain: missing, type uri needs it
f:18: ca.issuers[1].skip_email_verification: want true or false, not text
f:21: tlog.tree_id: want a whole number, not text
f:22: tlog.tree_id: given twice, first in line 21
f:23: tsa: want settings (lines of the form name: value), not text
f:27: oidc.users[0].id: missing
f:30: oidc.connectors[0].name: missing, the login page shows it
f:32: oidc.connectors[0].config.clientSecret: a secret does not belong into this file: put it into one of mode 0600 and say secrets: {clientSecret: keys/ci-clientSecret}
f:33: tuf: empty: give its settings or leave it out
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestUnreadableFiles(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"empty", "", "f:1: the file is empty: "},
		{"comments only", "# nothing\n\n# yet\n", "f:1: the file is empty: "},
		{"null", "---\n~\n", "f:1: the file is empty: "},
		{"list", "- version: 1\n", "f:1: want settings (lines of the form name: value), not a list\n"},
		{"text", "\n\nversion 1\n", "f:3: want settings (lines of the form name: value), not text\n"},
		{"two documents", good + "---\nversion: 1\n", fmt.Sprintf("f:%d: more than one YAML document", strings.Count(good, "\n")+1)},
		{"tab", "version: 1\nca:\n\tkey: ca\n", "f:3: not YAML: found character that cannot start any token (a tab? indent by spaces)\n"},
		{"open quote", "version: 1\nurl: \"http\nlisten: x\n", "f:2: not YAML: "},
		{"open bracket", "version: 1\nca: {key: ca\nlisten: x\n", "f:2: not YAML: "},
		{"indentation", "version: 1\nca:\n  key: ca\n   chain: x\n", "f:4: not YAML: "},
		{"no alias", "version: 1\nurl: *there\n", "f:2: not YAML: unknown anchor 'there' referenced\n"},
		{"control character", "version: 1\nurl: \x1b[31m\n", "f:2: not text: "},
		{"Latin-1", "version: 1\nurl: b\xfccher\n", "f:2: not text: "},
		{"foreign line break", "version: 1\u2028url: x\n", "f:1: not text: "},
		{"too large", strings.Repeat("# filler\n", 120_000), "f:1: the file has more than 1048576 bytes\n"},
		{"endless name", "? " + strings.Repeat("x", 129) + "\n: 1\n", "f:1: the name of a setting has more than 128 bytes\n"},
		{"alias within itself", "version: 1\noidc:\n  connectors:\n    - config: &a {b: *a}\n", "f:4: too many settings, or too deep: is an alias within itself?\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := report(tt.in)
			if !strings.HasPrefix(got, tt.want) || strings.Count(got, "\n") != 1 {
				t.Errorf("got\n%swant one line that begins with\n%s", got, tt.want)
			}
		})
	}
}

// TestAliases: what an anchor stands for is looked at wherever it is used.
func TestAliases(t *testing.T) {
	in := strings.Replace(good, "version: 1\n", "version: &one 1\n", 1)
	in = strings.Replace(in, "tlog: {key: rekor, tree_id: 88}", "tlog: &log {key: rekor, tree_id: *one}", 1)
	in = strings.Replace(in, "ctlog: {key: ctlog, tree_id: 77}", "", 1) + "ctlog:\n  <<: *log\n  key: ctlog\n"
	f := config.Read("f", []byte(in))
	if err := f.Err(); err != nil {
		t.Fatal(err)
	}
	if got := f.Config.CTLog; got.Key != "ctlog" || got.TreeID != 1 {
		t.Errorf("merged: %+v, want key ctlog, tree 1", got)
	}
	got := report(strings.Replace(in, "&log {key: rekor", "&log {kez: rekor", 1))
	line := slices.Index(strings.Split(in, "\n"), "tlog: &log {key: rekor, tree_id: *one}") + 1
	if want := fmt.Sprintf("f:%d: tlog.kez: not known, did you mean key?", line); !strings.Contains(got, want) {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestHints(t *testing.T) {
	tests := []struct{ line, want string }{
		{"Listen: x", ", did you mean listen?"},
		{"metricsListen: x", ", did you mean metrics_listen?"},
		{"metrics: x", ": want one of access, "},
		{"tree_id: 1", ": it belongs to ctlog or tlog"},
		{"burst: 1", ": it belongs to limits.address or limits.identity"},
		{"tlog2: x", ", did you mean tlog?"},
		{strings.Repeat("x", 100) + ": 1", ": want one of access, "},
	}
	for _, tt := range tests {
		if got := report(good + tt.line + "\n"); !strings.Contains(got, "not known"+tt.want) {
			t.Errorf("%.40s: got\n%swant %q", tt.line, got, tt.want)
		}
	}
}

// TestNoGoTypes: operators read these.
func TestNoGoTypes(t *testing.T) {
	for _, value := range []string{"[x]", "{a: b}", "text", "1", "1.5", "true", "2026-01-01", "!!binary x", "!!int x", "-99999999999999999999"} {
		for _, field := range []string{"version: ", "url: ", "tlog: ", "oidc: {password_grant: ", "oidc: {users: ", "limits: {address: {per_second: ", "oidc: {connectors: [{config: "} {
			in := field + value + strings.Repeat("}", strings.Count(field, "{")-strings.Count(field, "[")) + strings.Repeat("]}", strings.Count(field, "["))
			for _, word := range []string{"config.", "int64", "float64", "[]", "map[", "struct", "unmarshal", "interface", "strconv", "yaml"} {
				if got := report(in); strings.Contains(strings.ReplaceAll(got, "].config.", ""), word) {
					t.Errorf("%s: Go in\n%s", in, got)
				}
			}
		}
	}
}

// TestEveryProblemHasItsField: whatever section a problem is in, its message begins
// with the path of a setting, by which the line is found.
func TestEveryProblemHasItsField(t *testing.T) {
	var inv *config.Invalid
	if !errors.As(config.Complete().Validate(), &inv) || len(inv.Problems) < 30 {
		t.Fatalf("got %v, want more problems", inv)
	}
	for _, p := range inv.Problems {
		if p.Field == "" || !config.Known(p.Field) {
			t.Errorf("%q is not a setting, in %q", p.Field, p)
		}
	}
	for _, p := range config.Complete().Warnings() {
		if !p.Warning || !config.Known(p.Field) {
			t.Errorf("%q is not a setting, in %q", p.Field, p)
		}
	}
}

func TestWarnings(t *testing.T) {
	tests := []struct{ name, old, new, want string }{
		{"plain http", "", "", "f:3: warning: url: plain http"},
		{"skipped verification", "", "", "f:12: warning: ca.issuers[0].skip_email_verification"},
		{"issuer on loopback", "https://login.corp.example", "http://127.0.0.1:5556/dex", "f:9: warning: ca.issuers[0].url: plain http"},
		{"port", "http://sigstack.corp.example:8080", "http://localhost:18210", "f:4: warning: listen: port 8080, but the URL leads to port 18210"},
		{"https without TLS", "http://sigstack.corp.example:8080", "https://sigstack.corp.example", "f:3: warning: url: https, but there is no section tls"},
		{"plaintext outside", "listen: 127.0.0.1", "listen: 0.0.0.0", "f:4: warning: listen: plaintext outside loopback"},
		{"http with TLS", "version: 1", "tls: {files: {certificate: /c, key: /k}}\nversion: 1", "f:4: warning: url: clients are told to speak plain http"},
		{"shared key", "{key: tsa,", "{key: rekor,", "f:20: warning: tsa.key: rekor is the key of tlog.key too"},
		{"costs", "  users:\n", "  users:\n    - {email: bob@corp.example, name: Bob, id: u2, password_hash: $2a$12$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuvwxyzABCDE}\n", "f:25: warning: oidc.users[1].password_hash: cost 10, others have 12"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := strings.Replace(good, tt.old, tt.new, 1)
			f := config.Read("f", []byte(in))
			if err := f.Err(); err != nil {
				t.Fatalf("refused: %v", err)
			}
			if got := report(in); !strings.Contains(got, tt.want) {
				t.Errorf("got\n%swant\n%s", got, tt.want)
			}
		})
	}
}

// TestPlainIssuerWithoutCA: tokens let in elsewhere than at the CA, too.
func TestPlainIssuerWithoutCA(t *testing.T) {
	got := report(`version: 1
profile: serve
url: https://log.corp.example
listen: 127.0.0.1:8080
access:
  write: {tlog: bearer}
  issuers:
    - {url: "http://login.corp.example", type: email}
tlog: {key: rekor, tree_id: 1}
`)
	if want := `f:8: access.issuers[0].url: "http://login.corp.example" is plain http`; !strings.Contains(got, want) {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// TestTestStacksAreNotWarned: what profile up is for.
func TestTestStacksAreNotWarned(t *testing.T) {
	in := strings.NewReplacer("profile: serve", "profile: up", "http://sigstack.corp.example:8080", "http://localhost:8080",
		"https://login.corp.example", "http://issuer.test").Replace(good)
	if got := report(in); got != "" {
		t.Errorf("got\n%s", got)
	}
}

// FuzzParse: nothing panics; each line that is named is there; what is accepted is
// written and read again without a change.
func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte("version: &a 1\nca: {<<: [*a, {b: *a}], issuers: [*a, {type: }]}\nports: {? [x] : y}\n"))
	f.Add([]byte("oidc: {connectors: [{config: &c {a: *c, 1: [~, !!binary x]}, secrets: {a b: \"\"}}]}\r\n"))
	f.Add([]byte("\n---\nversion: 1\n...\n---\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file := config.Read("f", data)
		for _, p := range file.Problems {
			if lines := strings.Split(string(data), "\n"); p.Line < 1 || p.Line > len(lines) {
				t.Fatalf("line %d of %d: %s", p.Line, len(lines), p)
			}
			if p.Message == "" {
				t.Fatalf("says nothing: %+v", p)
			}
		}
		if file.Err() != nil {
			return
		}
		out, err := file.Config.Marshal()
		if err != nil {
			t.Fatalf("accepted configuration cannot be written: %v", err)
		}
		again, err := config.Parse(out)
		if err != nil {
			t.Fatalf("accepted configuration is refused when written again: %v\n%s", err, out)
		}
		if out2, err := again.Marshal(); err != nil || string(out2) != string(out) {
			t.Fatalf("second marshalling differs: %v\n%s\n%s", err, out, out2)
		}
	})
}
