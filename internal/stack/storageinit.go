package stack

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"sigstack/internal/config"
	"sigstack/internal/durable"
	"sigstack/internal/fault"
	"sigstack/internal/merkle"
	"sigstack/internal/pgdb"
)

// InitDatabase says where Init puts the logs; without a file, into the directory.
type InitDatabase struct {
	// URLFile is config.Database.URLFile. A relative path is the caller's, unlike there.
	URLFile string
	// Schema is config.Database.Schema; empty: its default.
	Schema string
}

// section is what config.yaml gets; nil: none.
func (d InitDatabase) section() (*config.Database, error) {
	if d.URLFile == "" {
		return nil, nil
	}
	path, err := filepath.Abs(d.URLFile)
	if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	return &config.Database{URLFile: path, Schema: d.Schema}, nil
}

// check refuses, before anything is made, a database that cannot be used.
func (d InitDatabase) check(l Layout) error {
	conf, err := d.section()
	switch {
	case err != nil:
		return err
	case conf == nil && d.Schema != "":
		return errors.New("a schema is one of a database: name the file with its URL, too")
	case conf == nil:
		return nil
	}
	if err := config.CheckSchema(conf.Prefix()); err != nil {
		return fmt.Errorf("schema: %w", err)
	}
	if _, err = l.databaseURL(conf); err != nil {
		return fmt.Errorf("database: %w", err)
	}
	return nil
}

// makeTrees makes the empty logs.
func (cfg InitConfig) makeTrees(ctx context.Context, l Layout, conf *config.Config) (err error) {
	if conf.Database, err = cfg.Database.section(); err != nil {
		return err
	}
	store, err := l.openStorage(conf, cfg.Now, cfg.Log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if conf.CTLog.TreeID, err = makeTree(ctx, l, store, treeCTLog); err != nil {
		return err
	}
	conf.TLog.TreeID, err = makeTree(ctx, l, store, treeTLog)
	return err
}

// makeTree makes an empty tree. In a database the schema is claimed first: an
// interrupted init goes on with its own trees, and with nobody else's.
func makeTree(ctx context.Context, l Layout, store *storage, name string) (int64, error) {
	in, err := store.make(ctx, name)
	if err != nil {
		return 0, err
	}
	if store.database == nil {
		return merkle.CreateTree(ctx, in, name)
	}
	owner, err := l.initID()
	if err != nil {
		return 0, err
	}
	fresh, err := pgdb.Claim(ctx, store.database.url, store.database.conf.SchemaOf(name), owner)
	if err != nil {
		return 0, fmt.Errorf("%w; a directory that lost its config.yaml gets it from a backup", err)
	}
	id, err := merkle.CreateTree(ctx, in, name)
	if fault.KindOf(err) == fault.Conflict && !fresh { // this init made it, before it was interrupted
		return merkle.FindTree(ctx, in, name)
	}
	return id, err
}

// initID names this init, through interruptions: it is in the marker of a directory
// that is not finished.
func (l Layout) initID() (string, error) {
	data, err := os.ReadFile(l.unfinished())
	if err != nil {
		return "", fmt.Errorf("name this init: %w", err)
	}
	if len(data) > 0 {
		return string(data), nil
	}
	id := rand.Text()
	return id, durable.WriteFile(l.unfinished(), []byte(id), 0o600)
}
