package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
)

// Database says where a PostgreSQL database is that holds what is otherwise in db/ of
// the data directory.
type Database struct {
	// URLFile holds how the database is reached and by whom: a postgres:// URL, or
	// words like "host=/run/postgresql dbname=logs". It is for its owner alone (mode
	// 0600). A relative path is below the data directory.
	URLFile string `yaml:"url_file"`
	// Schema begins the name of each schema: SCHEMA is that of the stack, SCHEMA_tlog
	// that of the transparency log, and so on. Stacks that share a database have
	// different ones, none the beginning of another. Default: sigstack.
	Schema string `yaml:"schema,omitempty"`
	// Connections bounds each pool of connections, of which each log has one for
	// reading; 2 to 100. Default: 8.
	Connections int `yaml:"connections,omitempty"`
}

// Defaults and bounds of a Database.
const (
	DefaultSchema      = "sigstack"
	defaultConnections = 8
	mostConnections    = 100
	mostName           = 63 // bytes; PostgreSQL cuts longer ones
)

// validSchema leaves room for the names of logs.
var validSchema = regexp.MustCompile(`^[a-z][a-z0-9_]{0,29}$`)

// CheckSchema refuses what cannot be Database.Schema.
func CheckSchema(name string) error {
	if !validSchema.MatchString(name) {
		return fmt.Errorf("%q is not a name of a-z, 0-9 and _, of at most 30 characters, the first a letter", name)
	}
	return nil
}

// Prefix is Schema or its default: the schema of the stack itself.
func (d *Database) Prefix() string {
	if d.Schema == "" {
		return DefaultSchema
	}
	return d.Schema
}

// SchemaOf is the schema of a part of the stack, such as a log, by its name. The
// shards of the transparency log share one: a commit in it hands over to the next.
func (d *Database) SchemaOf(part string) string {
	if first := "tlog"; strings.HasPrefix(part, first+"-") {
		part = first
	}
	name := d.Prefix() + "_" + strings.ReplaceAll(part, "-", "_")
	if len(name) <= mostName {
		return name
	}
	sum := sha256.Sum256([]byte(part))
	end := "_" + hex.EncodeToString(sum[:6])
	return name[:mostName-len(end)] + end
}

// Pool is Connections or its default.
func (d *Database) Pool() int {
	if d.Connections == 0 {
		return defaultConnections
	}
	return d.Connections
}

func (d *Database) validate(p *problems) {
	p.check(d.URLFile != "", "database.url_file: missing")
	p.path("database.url_file", d.URLFile)
	p.err("database.schema", CheckSchema(d.Prefix()))
	p.check(d.Connections == 0 || d.Connections >= 2 && d.Connections <= mostConnections,
		"database.connections: %d, want 2 to %d", d.Connections, mostConnections)
}
