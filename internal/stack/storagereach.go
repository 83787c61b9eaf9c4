package stack

import (
	"context"
	"errors"
	"io/fs"

	"sigstack/internal/config"
	"sigstack/internal/pgdb"
	"sigstack/internal/signing"
)

// unreachable makes the error of a database that is away a *signing.UnreachableError,
// which says what to try. Others stay as they are.
func (l Layout) unreachable(conf *config.Database, err error) error {
	if err == nil || !pgdb.Away(err) {
		return err
	}
	file, fileErr := l.urlFile(conf)
	if fileErr != nil {
		return errors.Join(err, fileErr)
	}
	return &signing.UnreachableError{
		Service: "the database", URL: "the address in " + l.path(file), Err: err,
		Next: "check that the server runs and that this machine reaches it, and try again",
	}
}

// reach asks, before anything is made, a database that is to hold the logs of a new
// stack: an init that ends in the middle leaves keys behind.
func (d InitDatabase) reach(ctx context.Context, l Layout) error {
	conf, err := d.section()
	if conf == nil || err != nil {
		return err
	}
	if done, err := l.Initialized(); done || err != nil {
		return err
	}
	if err := l.mayInit(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	url, err := l.databaseURL(conf)
	if err != nil {
		return err
	}
	_, err = pgdb.Reach(ctx, url, conf.SchemaOf(treeTLog), conf.SchemaOf(treeCTLog))
	return l.unreachable(conf, err)
}
