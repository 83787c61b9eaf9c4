package stack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/merkle"
	"sigstack/internal/merkle/fsck"
	"sigstack/internal/merkle/pebblelog"
	"sigstack/internal/merkle/pglog"
	"sigstack/internal/pgdb"
	"sigstack/services/tlog"
)

// storage is where the logs of a process are: in db/ of its directory or, with section
// database, in schemas of a database.
type storage struct {
	embedded *pebblelog.Store // nil: in the database
	database *database        // nil: embedded
}

// openStorage opens the logs of a directory. Those in a database are opened one by one.
func (l Layout) openStorage(conf *config.Config, now func() time.Time, log *slog.Logger) (*storage, error) {
	if conf.Database == nil {
		store, err := pebblelog.Open(l.LogDB(), pebblelog.Options{Now: now, Log: log})
		return &storage{embedded: store}, err
	}
	db, err := l.database(conf.Database, now)
	return &storage{database: db}, err
}

// openStorageForReading opens them to be read alone, if nobody serves the directory.
func (l Layout) openStorageForReading(conf *config.Config, now func() time.Time) (*storage, error) {
	if conf.Database == nil {
		store, err := pebblelog.OpenReadOnly(l.LogDB(), pebblelog.ReadOptions{})
		return &storage{embedded: store}, err
	}
	db, err := l.database(conf.Database, now)
	return &storage{database: db}, err
}

// of returns what holds a tree, by the tree's name.
func (s *storage) of(ctx context.Context, tree string) (merkle.Storage, error) {
	if s.database == nil {
		return s.embedded, nil
	}
	return s.database.open(ctx, tree)
}

// make returns what is to hold a tree, and makes it if there is none.
func (s *storage) make(ctx context.Context, tree string) (merkle.Storage, error) {
	if s.database != nil {
		if _, err := s.database.migrate(ctx, tree); err != nil {
			return nil, err
		}
	}
	return s.of(ctx, tree)
}

// reindex makes the search index of a tree again.
func (s *storage) reindex(ctx context.Context, t fsck.Tree, progress func(step string, done, total uint64)) (fsck.Reindexed, error) {
	if s.database == nil {
		return fsck.Reindex(ctx, s.embedded, t, tlog.IndexPrefix, progress)
	}
	store, err := s.database.open(ctx, t.Name)
	if err != nil {
		return fsck.Reindexed{Name: t.Name}, err
	}
	return fsck.ReindexDatabase(ctx, store, t, tlog.IndexPrefix, s.database.now, progress)
}

// String says where the logs are, for people.
func (s *storage) String() string {
	if s.database != nil {
		return "the database (schemas " + s.database.conf.SchemaOf("") + "…)"
	}
	return "db/log"
}

// Close closes all that was opened.
func (s *storage) Close() error {
	if s.database == nil {
		return s.embedded.Close()
	}
	return s.database.close()
}

// database is the one that section database names.
type database struct {
	conf *config.Database
	url  string // secret
	dir  string // whose it is
	now  func() time.Time

	mu     sync.Mutex
	stores map[string]*pglog.Store // guarded by mu: by schema
}

// database reads how to reach it, and connects to nothing yet.
func (l Layout) database(conf *config.Database, now func() time.Time) (*database, error) {
	url, err := l.databaseURL(conf)
	if err != nil {
		return nil, fmt.Errorf("database.url_file: %w", err)
	}
	return &database{conf: conf, url: url, dir: l.Dir, now: now, stores: map[string]*pglog.Store{}}, nil
}

// databaseURL reads the file of section database. No error shows what is in it.
func (l Layout) databaseURL(conf *config.Database) (string, error) {
	file, err := l.urlFile(conf)
	if err != nil {
		return "", err
	}
	url, err := l.secret(file)
	if err != nil {
		return "", err
	}
	if err := pgdb.CheckURL(url); err != nil {
		return "", fmt.Errorf("%s: %w", l.path(file), err)
	}
	return url, nil
}

// urlFile is the file that says how to reach the database from here.
func (l Layout) urlFile(conf *config.Database) (string, error) {
	r, err := config.LoadReplica(l.Dir)
	if err != nil || r == nil || r.URLFile == "" {
		return conf.URLFile, err
	}
	return r.URLFile, nil
}

// open connects to the schema of a tree. One of another version is refused.
func (d *database) open(ctx context.Context, tree string) (*pglog.Store, error) {
	schema := d.conf.SchemaOf(tree)
	d.mu.Lock()
	defer d.mu.Unlock()
	if store := d.stores[schema]; store != nil {
		return store, nil
	}
	store, err := pglog.Open(ctx, pglog.Options{URL: d.url, Schema: schema, Now: d.now, Readers: int32(d.conf.Pool())})
	if err != nil {
		return nil, d.explained(err)
	}
	d.stores[schema] = store
	return store, nil
}

// explained adds the command to an error of the schema's version.
func (d *database) explained(err error) error {
	var version *pgdb.VersionError
	switch {
	case !errors.As(err, &version):
		return err
	case version.Older():
		return fmt.Errorf("%w: sigstack db migrate --dir %s", err, d.dir)
	}
	return fmt.Errorf("%w: use that one; sigstack db status --dir %s shows all schemas", err, d.dir)
}

func (d *database) migrate(ctx context.Context, tree string) (pgdb.Version, error) {
	return pglog.Migrate(ctx, d.url, d.conf.SchemaOf(tree))
}

// opened returns the schemas that are connected to.
func (d *database) opened() []*pglog.Store {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []*pglog.Store
	for _, store := range d.stores {
		out = append(out, store)
	}
	return out
}

func (d *database) close() error {
	var errs []error
	for _, store := range d.opened() {
		errs = append(errs, store.Close())
	}
	return errors.Join(errs...)
}
