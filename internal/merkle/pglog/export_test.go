package pglog

import (
	"context"
	"io/fs"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/pressly/goose/v3"
)

// Readers lets tests ask the database what the driver does not tell.
func (s *Store) Readers() *pgxpool.Pool { return s.readers }

// MigrationFiles are the names of the embedded migrations.
func MigrationFiles() ([]string, error) { return fs.Glob(migrations, "migrations/*.sql") }

// Unmigrate takes every migration back, which loses the log.
func Unmigrate(ctx context.Context, url, schema string) error {
	return withMigrations(ctx, url, schema, func(p *goose.Provider) error {
		_, err := p.DownTo(ctx, 0)
		return err
	})
}
