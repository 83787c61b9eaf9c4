package pgdb

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Claim notes in a schema whose it is, as its comment. It returns false where the same
// owner has claimed it before, and refuses a schema that is another's, or whose comment
// says something else.
func Claim(ctx context.Context, url, schema, owner string) (fresh bool, err error) {
	config, err := Config(url, schema)
	if err != nil {
		return false, fmt.Errorf("claim schema %s: %w", schema, err)
	}
	err = locked(ctx, config, schema, func() error {
		fresh, err = claim(ctx, config, schema, "sigstack "+owner)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("claim schema %s: %w", schema, err)
	}
	return fresh, nil
}

func claim(ctx context.Context, config *pgx.ConnConfig, schema, comment string) (fresh bool, err error) {
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return false, fmt.Errorf("connect: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	var have *string
	row := conn.QueryRow(ctx, "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = $1", schema)
	switch err := row.Scan(&have); {
	case err != nil:
		return false, fmt.Errorf("read its comment: %w", err)
	case have != nil && *have == comment:
		return false, nil
	case have != nil && strings.HasPrefix(*have, "sigstack "):
		return false, errors.New("it is another stack's: name another schema, or another database")
	case have != nil:
		return false, errors.New("it has a comment already: take that away, or name another schema")
	}
	// A comment is a literal to PostgreSQL, never a parameter.
	literal := "'" + strings.ReplaceAll(comment, "'", "''") + "'"
	if strings.Contains(comment, `\`) {
		return false, errors.New("the owner's name has a backslash")
	}
	if _, err := conn.Exec(ctx, "COMMENT ON SCHEMA "+pgx.Identifier{schema}.Sanitize()+" IS "+literal); err != nil {
		return false, fmt.Errorf("set its comment: %w", err)
	}
	return true, nil
}
