package stack

import (
	"context"
	"fmt"

	"sigstack/internal/config"
	"sigstack/internal/fleet"
	"sigstack/internal/merkle/pglog"
	"sigstack/internal/pgdb"
	"sigstack/services/oidc"
)

// States of a schema.
const (
	SchemaCurrent = "current" // this program's version
	SchemaMissing = "missing" // nothing is there yet
	SchemaOlder   = "older"   // a migration is due
	SchemaNewer   = "newer"   // a newer program migrated it
)

// Schema is one schema of a directory's database. Versions are numbers of migrations.
type Schema struct {
	Name    string `json:"schema"`
	Holds   string `json:"holds"`
	Version int64  `json:"version"`
	Wanted  int64  `json:"wanted"` // by this program
	State   string `json:"state"`
}

// DatabaseStatus is how the database of a directory is.
type DatabaseStatus struct {
	URLFile string   `json:"url_file"`
	Server  string   `json:"server"` // its version
	Schemas []Schema `json:"schemas"`
}

// Due are the schemas that have not this program's version.
func (d DatabaseStatus) Due() []Schema {
	var out []Schema
	for _, s := range d.Schemas {
		if s.State != SchemaCurrent {
			out = append(out, s)
		}
	}
	return out
}

// MigratedSchema is a schema that was brought to a version.
type MigratedSchema struct {
	Name  string `json:"schema"`
	Holds string `json:"holds"`
	From  int64  `json:"from"`
	To    int64  `json:"to"`
}

// schemaPart is what a directory has in one schema.
type schemaPart struct {
	holds   string
	schema  string
	migrate func(ctx context.Context, url, schema string) (pgdb.Version, error)
	read    func(ctx context.Context, url, schema string) (pgdb.Version, error)
}

// schemaParts are those of the sections that a configuration has.
func (l Layout) schemaParts(conf *config.Config) ([]schemaPart, error) {
	var out []schemaPart
	seen := map[string]bool{}
	log := func(tree, holds string) {
		if name := conf.Database.SchemaOf(tree); !seen[name] {
			seen[name] = true
			out = append(out, schemaPart{holds, name, pglog.Migrate, pglog.ReadVersion})
		}
	}
	if r, err := config.LoadReplica(l.Dir); err != nil {
		return nil, err
	} else if r != nil {
		out = append(out, schemaPart{"files of the replicas", fleet.Schema(conf.Database.Prefix()), fleet.Migrate, fleet.ReadVersion})
		if conf.OIDC != nil {
			out = append(out, schemaPart{"issuer", conf.Database.SchemaOf(holdsIssuer), oidc.MigrateDatabase, oidc.ReadDatabaseVersion})
		}
	}
	if conf.TLog != nil {
		log(treeTLog, "transparency log")
	}
	if conf.CTLog == nil {
		return out, nil
	}
	for _, shard := range conf.CTLog.Logs() {
		log(ctTree(conf.CTLog, shard), "CT log "+shard.Prefix)
	}
	prepared, err := l.readCTLogs()
	if err != nil {
		return nil, err
	}
	for _, r := range prepared {
		if r.Own != nil {
			log(ctTree(conf.CTLog, r.Own.shard()), "CT log "+r.Own.Prefix)
		}
	}
	return out, nil
}

// databaseOf reads what a directory says of its database.
func databaseOf(dir string) (*config.Config, string, []schemaPart, error) {
	l := Layout{dir}
	conf, err := config.Load(l.Config())
	if err != nil {
		return nil, "", nil, err
	}
	if conf.Database == nil {
		return nil, "", nil, fmt.Errorf("the stack in %s has no database: its logs are in %s", dir, l.LogDB())
	}
	url, err := l.databaseURL(conf.Database)
	if err != nil {
		return nil, "", nil, fmt.Errorf("database.url_file: %w", err)
	}
	parts, err := l.schemaParts(conf)
	return conf, url, parts, err
}

// ReadDatabase asks the database of a directory, served or not, and changes nothing. The
// error is a *signing.UnreachableError if it does not answer, here and in
// MigrateDatabase.
func ReadDatabase(ctx context.Context, dir string) (DatabaseStatus, error) {
	conf, url, parts, err := databaseOf(dir)
	if err != nil {
		return DatabaseStatus{}, err
	}
	file, err := Layout{dir}.urlFile(conf.Database)
	if err != nil {
		return DatabaseStatus{}, err
	}
	d := DatabaseStatus{URLFile: Layout{dir}.path(file), Schemas: []Schema{}}
	if d.Server, err = pgdb.Reach(ctx, url); err != nil {
		return d, Layout{dir}.unreachable(conf.Database, err)
	}
	for _, p := range parts {
		v, err := p.read(ctx, url, p.schema)
		if err != nil {
			return d, Layout{dir}.unreachable(conf.Database, err)
		}
		d.Schemas = append(d.Schemas, Schema{p.schema, p.holds, v.Current, v.Target, stateOf(v)})
	}
	return d, nil
}

func stateOf(v pgdb.Version) string {
	switch {
	case v.Current == v.Target:
		return SchemaCurrent
	case v.Current > v.Target:
		return SchemaNewer
	case v.Current == 0:
		return SchemaMissing
	default:
		return SchemaOlder
	}
}

// MigrateDatabase brings every schema of a directory to this program's version, and
// makes those that are missing. It returns those that it has come to: each is migrated
// in transactions of its own, so that another run goes on where one has failed.
func MigrateDatabase(ctx context.Context, dir string) ([]MigratedSchema, error) {
	done := []MigratedSchema{}
	conf, url, parts, err := databaseOf(dir)
	if err != nil {
		return done, err
	}
	if _, err := pgdb.Reach(ctx, url); err != nil {
		return done, Layout{dir}.unreachable(conf.Database, err)
	}
	for _, p := range parts {
		v, err := p.migrate(ctx, url, p.schema)
		if err != nil {
			return done, Layout{dir}.unreachable(conf.Database, err)
		}
		done = append(done, MigratedSchema{p.schema, p.holds, v.Current, v.Target})
	}
	return done, nil
}
