// Package pgdb is how the program's schemas in a PostgreSQL database are reached and
// brought to their version. What is in a schema is its owner's, who brings the
// migrations.
package pgdb

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

var schemaName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)

// CheckSchema refuses what is not the name of a schema: at most 63 lower-case letters,
// digits and underscores, the first a letter.
func CheckSchema(name string) error {
	if !schemaName.MatchString(name) {
		return fmt.Errorf("schema %q: want lower-case letters, digits and underscores, the first a letter, at most 63", name)
	}
	return nil
}

// Config reads a connection string, a postgres:// URL or words like
// "host=/run/postgresql dbname=logs", and lets names mean those of the schema. No
// error shows the string, which may hold a password.
func Config(url, schema string) (*pgx.ConnConfig, error) {
	if err := CheckSchema(schema); err != nil {
		return nil, err
	}
	if err := CheckURL(url); err != nil {
		return nil, err
	}
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, errUnreadable
	}
	config.RuntimeParams["search_path"] = schema
	config.RuntimeParams["application_name"] = "sigstack " + schema
	config.ConnectTimeout = min(max(config.ConnectTimeout, time.Second), 5*time.Second)
	return config, nil
}

// errUnreadable says nothing of what was read, which the driver's own error quotes:
// a string that nobody can take apart may have its password anywhere.
var errUnreadable = errors.New("the database's address is not one: want postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full, or words like host=/run/postgresql dbname=logs")

// CheckURL refuses a connection string that cannot be read. It connects to nothing.
func CheckURL(url string) error {
	if strings.TrimSpace(url) == "" {
		return errors.New("the database's address is empty")
	}
	if _, err := pgx.ParseConfig(url); err != nil {
		return errUnreadable
	}
	return nil
}
