package pglog

import (
	"context"
	"embed"
	"io/fs"

	"sigstack/internal/pgdb"
)

//go:embed migrations/*.sql
var embedded embed.FS

func migrations() (fs.FS, error) { return fs.Sub(embedded, "migrations") }

// Migrate brings the schema of one log, which it makes if there is none, to the
// version of this program, and returns what it was and what it is for. Processes
// that migrate one schema at once take turns. It refuses a schema that is newer.
func Migrate(ctx context.Context, url, schema string) (pgdb.Version, error) {
	files, err := migrations()
	if err != nil {
		return pgdb.Version{}, err
	}
	return pgdb.Migrate(ctx, url, schema, files)
}

// ReadVersion returns the version of a schema and changes nothing.
func ReadVersion(ctx context.Context, url, schema string) (pgdb.Version, error) {
	files, err := migrations()
	if err != nil {
		return pgdb.Version{}, err
	}
	return pgdb.ReadVersion(ctx, url, schema, files)
}
