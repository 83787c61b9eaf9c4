package config_test

import (
	"strings"
	"testing"

	"sigstack/internal/config"
)

func TestDatabase(t *testing.T) {
	const head = "version: 1\nprofile: up\nurl: http://localhost:8080\nlisten: 127.0.0.1:8080\ntsa:\n  key: tsa\n  chain: x\ndatabase:\n  "
	for _, tt := range []struct {
		name, section, problem string
		schema                 string
		pool                   int
	}{
		{"file alone", "url_file: database-url", "", "sigstack", 8},
		{"all", "url_file: /etc/sigstack/url\n  schema: acme_1\n  connections: 20", "", "acme_1", 20},
		{"longest schema", "url_file: u\n  schema: a" + strings.Repeat("b", 29), "", "a" + strings.Repeat("b", 29), 8},
		{"no file", "schema: acme", "database.url_file: missing", "", 0},
		{"file elsewhere", "url_file: ../url", "database.url_file: \"../url\" leads out", "", 0},
		{"URL in the file's place", "url: postgres://x", "database.url", "", 0},
		{"schema too long", "url_file: u\n  schema: a" + strings.Repeat("b", 30), "database.schema", "", 0},
		{"schema in upper case", "url_file: u\n  schema: Acme", "database.schema", "", 0},
		{"schema that is more than a name", "url_file: u\n  schema: 'a\"; drop'", "database.schema", "", 0},
		{"one connection", "url_file: u\n  connections: 1", "database.connections: 1, want 2 to 100", "", 0},
		{"too many", "url_file: u\n  connections: 101", "database.connections", "", 0},
		{"less than none", "url_file: u\n  connections: -1", "database.connections", "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := config.Parse([]byte(head + tt.section + "\n"))
			if tt.problem != "" {
				if err == nil || !strings.Contains(err.Error(), tt.problem) {
					t.Errorf("got %v, want a problem of %s", err, tt.problem)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := c.Database.Prefix(); got != tt.schema {
				t.Errorf("schema: got %q, want %q", got, tt.schema)
			}
			if got, want := c.Database.SchemaOf("ctlog-2"), tt.schema+"_ctlog_2"; got != want {
				t.Errorf("schema of a log: got %q, want %q", got, want)
			}
			if got := c.Database.Pool(); got != tt.pool {
				t.Errorf("connections: got %d, want %d", got, tt.pool)
			}
		})
	}
}

func TestSchemaOf(t *testing.T) {
	d := &config.Database{Schema: "acme"}
	long := "ctlog-" + strings.Repeat("x", 64)
	seen := map[string]string{}
	for _, tt := range []struct{ part, want string }{
		{"tlog", "acme_tlog"},
		{"tlog-2", "acme_tlog"},
		{"ctlog", "acme_ctlog"},
		{"ctlog-ct-2027", "acme_ctlog_ct_2027"},
		{long, ""},
		{long + "y", ""},
	} {
		got := d.SchemaOf(tt.part)
		if tt.want != "" && got != tt.want || len(got) > 63 {
			t.Errorf("%s: got %s (%d bytes), want %s", tt.part, got, len(got), tt.want)
		}
		if tt.part != "tlog-2" && seen[got] != "" {
			t.Errorf("%s and %s share %s", tt.part, seen[got], got)
		}
		seen[got] = tt.part
	}
}
