package pglog

import (
	"context"
	"errors"
	"io/fs"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"sigstack/internal/pgdb"
)

// Readers lets tests ask the database what the driver does not tell.
func (s *Store) Readers() *pgxpool.Pool { return s.readers }

// MigrationFiles are the names of the embedded migrations.
func MigrationFiles() ([]string, error) {
	files, err := migrations()
	if err != nil {
		return nil, err
	}
	return fs.Glob(files, "*.sql")
}

// Unmigrate takes every migration back, which loses the log.
func Unmigrate(ctx context.Context, url, schema string) (err error) {
	config, err := pgdb.Config(url, schema)
	if err != nil {
		return err
	}
	files, err := migrations()
	if err != nil {
		return err
	}
	db := stdlib.OpenDB(*config)
	defer func() { err = errors.Join(err, db.Close()) }()
	p, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	_, err = p.DownTo(ctx, 0)
	return err
}

// IsAway tells whether an error is one that the database may be back from.
func IsAway(err error) bool { return isAway(err) }
