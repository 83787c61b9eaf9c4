package main

import (
	"path/filepath"

	"github.com/spf13/pflag"

	"sigstack/internal/config"
	"sigstack/internal/stack"
)

// databaseFlags say where the logs of a new stack are to be. The URL itself is never a
// flag: it may hold a password, and everybody sees a command line.
type databaseFlags struct{ urlFile, schema string }

func (d *databaseFlags) add(f *pflag.FlagSet) {
	f.StringVar(&d.urlFile, "database-url-file", "", "`file` with the URL of a PostgreSQL database for the logs, mode 0600 (default: DIR/db)")
	f.StringVar(&d.schema, "database-schema", "", "`prefix` of the names of schemas in that database (default "+config.DefaultSchema+")")
}

func (d *databaseFlags) given() bool { return d.urlFile != "" || d.schema != "" }

func (d *databaseFlags) init() (stack.InitDatabase, error) {
	if d.schema == "" {
		return stack.InitDatabase{URLFile: d.urlFile}, nil
	}
	if d.urlFile == "" {
		return stack.InitDatabase{}, usagef("--database-schema %s: name the database too, with --database-url-file", d.schema)
	}
	if err := config.CheckSchema(d.schema); err != nil {
		return stack.InitDatabase{}, usagef("--database-schema: %w", err)
	}
	return stack.InitDatabase{URLFile: d.urlFile, Schema: d.schema}, nil
}

// keepsDatabase refuses another database than the one of the first start.
func (u upFlags) keepsDatabase() error {
	l := stack.Layout{Dir: u.dir}
	conf, err := loadConfig(l)
	if err != nil {
		return err
	}
	if conf.Database == nil {
		return usagef("--database-url-file: the logs are in %s since the first start: sigstack db copy moves them", l.LogDB())
	}
	path, err := filepath.Abs(u.database.urlFile)
	if err != nil {
		return err
	}
	if have := conf.Database.URLFile; u.database.urlFile != "" && path != have && filepath.Join(u.dir, have) != u.database.urlFile {
		return usagef("--database-url-file %s: the first start was given %s: change database.url_file in config.yaml", u.database.urlFile, have)
	}
	if have := conf.Database.Prefix(); u.database.schema != "" && u.database.schema != have {
		return usagef("--database-schema %s: the logs are in %s since the first start", u.database.schema, have)
	}
	return nil
}
