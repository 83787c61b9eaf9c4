package stack

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/merkle/logcopy"
	"sigstack/internal/merkle/pebblelog"
	"sigstack/internal/merkle/pglog"
	"sigstack/internal/pgdb"
)

// place is where logs are copied from, or to.
type place interface {
	fmt.Stringer
	// unused refuses a place that other processes use.
	unused(ctx context.Context, names []string) error
	// logs lists all that is there, in the order of names.
	logs(ctx context.Context, names []string) ([]logcopy.Listed, error)
	// of returns what holds a log; make makes it if there is none.
	of(ctx context.Context, name string) (logcopy.Target, error)
	make(ctx context.Context, name, owner string) (logcopy.Target, error)
	// prepare makes what else a start wants to find there.
	prepare(ctx context.Context, l Layout, conf *config.Config) error
	// retire lets a log take no entries any more, where others could add some.
	retire(ctx context.Context, log logcopy.Listed) error
	// left says how to remove what is there.
	left(ctx context.Context, conf *config.Config, names []string) ([]string, error)
	hint() string // what to do about something that is in the way
	close() error
}

// openPlace finds the place that section database names; without one, the directory. It
// is only read if it is a source.
func (l Layout) openPlace(conf *config.Database, source bool, now func() time.Time) (place, error) {
	if conf == nil {
		return &directoryPlace{l: l, source: source, now: now}, nil
	}
	db, err := l.database(conf, now)
	if err != nil {
		return nil, err
	}
	return &databasePlace{database: db, stores: map[string]*pglog.Store{}}, nil
}

// directoryPlace is db/log, which the lock of the directory keeps others from.
type directoryPlace struct {
	l      Layout
	source bool
	now    func() time.Time
	store  *pebblelog.Store // nil: not open yet
}

func (p *directoryPlace) String() string                         { return p.l.LogDB() }
func (p *directoryPlace) unused(context.Context, []string) error { return nil }

func (p *directoryPlace) logs(ctx context.Context, names []string) ([]logcopy.Listed, error) {
	if len(names) == 0 {
		return nil, nil
	}
	store, err := p.of(ctx, "")
	if err != nil {
		return nil, err
	}
	return logcopy.List(ctx, store)
}

func (p *directoryPlace) of(context.Context, string) (_ logcopy.Target, err error) {
	if p.store != nil {
		return p.store, nil
	}
	if p.source {
		p.store, err = pebblelog.OpenReadOnly(p.l.LogDB(), pebblelog.ReadOptions{})
	} else {
		p.store, err = pebblelog.Open(p.l.LogDB(), pebblelog.Options{Now: p.now})
	}
	if err != nil {
		return nil, err
	}
	return p.store, nil
}

func (p *directoryPlace) make(ctx context.Context, name, _ string) (logcopy.Target, error) {
	return p.of(ctx, name)
}

func (p *directoryPlace) prepare(context.Context, Layout, *config.Config) error { return nil }

func (p *directoryPlace) close() error {
	if p.store == nil {
		return nil
	}
	return p.store.Close()
}

// retire leaves it alone: checkpoints/ tells a log that was left behind here.
func (p *directoryPlace) retire(context.Context, logcopy.Listed) error { return nil }

func (p *directoryPlace) left(context.Context, *config.Config, []string) ([]string, error) {
	return []string{"rm -r " + p.l.LogDB()}, nil
}

func (p *directoryPlace) hint() string {
	return fmt.Sprintf("if that is what was left here when the logs moved to the database, move %s away", p.l.LogDB())
}

// Bounds of a copy's own connections: it waits for disks rather than give up.
const (
	copyTimeout     = 10 * time.Minute
	copyConnections = 2
)

// databasePlace is the schemas of a database.
type databasePlace struct {
	*database
	stores map[string]*pglog.Store // by schema
}

func (p *databasePlace) String() string { return "schemas " + p.conf.Prefix() + "_… of the database" }

func (p *databasePlace) unused(ctx context.Context, names []string) error {
	for _, name := range names {
		schema := p.conf.SchemaOf(name)
		n, err := pglog.Users(ctx, p.url, schema)
		if err != nil {
			return err
		}
		if n > 0 {
			return fmt.Errorf("%d other connections use schema %s: stop every process of this stack first, replicas too", n, schema)
		}
	}
	return nil
}

func (p *databasePlace) logs(ctx context.Context, names []string) (logs []logcopy.Listed, err error) {
	var done []string
	for _, name := range names {
		schema := p.conf.SchemaOf(name)
		if slices.Contains(done, schema) {
			continue
		}
		done = append(done, schema)
		store, err := p.of(ctx, name)
		if version := (*pgdb.VersionError)(nil); errors.As(err, &version) && version.Current == 0 {
			continue // nothing was made there; whether it has to be is asked later
		}
		if err != nil {
			return nil, err
		}
		listed, err := logcopy.List(ctx, store)
		if err != nil {
			return nil, err
		}
		logs = append(logs, listed...)
	}
	return logs, nil
}

func (p *databasePlace) of(ctx context.Context, name string) (logcopy.Target, error) {
	schema := p.conf.SchemaOf(name)
	if store := p.stores[schema]; store != nil {
		return store, nil
	}
	store, err := pglog.Open(ctx, pglog.Options{
		URL: p.url, Schema: schema, Now: p.now, Readers: copyConnections, Timeout: copyTimeout, LockTimeout: copyTimeout, Pause: copyTimeout,
	})
	if err != nil {
		return nil, p.explained(err)
	}
	p.stores[schema] = store
	return store, nil
}

// make claims the schema for logs that come from elsewhere, which an init leaves alone
// then.
func (p *databasePlace) make(ctx context.Context, name, owner string) (logcopy.Target, error) {
	if _, err := p.migrate(ctx, name); err != nil {
		return nil, err
	}
	if _, err := pgdb.Claim(ctx, p.url, p.conf.SchemaOf(name), "copy of "+owner); err != nil {
		return nil, err
	}
	return p.of(ctx, name)
}

// prepare brings all schemas to this program's version, those without logs too.
func (p *databasePlace) prepare(ctx context.Context, l Layout, conf *config.Config) error {
	parts, err := l.schemaParts(conf)
	if err != nil {
		return err
	}
	for _, part := range parts {
		if _, err := part.migrate(ctx, p.url, part.schema); err != nil {
			return err
		}
	}
	return nil
}

// retire keeps processes that are forgotten, or started by mistake, from writing a log
// that goes on elsewhere.
func (p *databasePlace) retire(ctx context.Context, log logcopy.Listed) error {
	store, ok := p.stores[p.conf.SchemaOf(log.Name)]
	if !ok {
		return fmt.Errorf("schema of log %s is not open", log.Name)
	}
	return store.Retire(ctx, log.ID)
}

func (p *databasePlace) left(ctx context.Context, conf *config.Config, names []string) (out []string, err error) {
	var schemas []string
	for _, name := range names {
		schemas = append(schemas, p.conf.SchemaOf(name))
	}
	shared, err := schemasOfReplicas(ctx, p.url, conf)
	if err != nil {
		return nil, err
	}
	for _, schema := range append(schemas, shared...) {
		if drop := "DROP SCHEMA " + schema + " CASCADE;"; !slices.Contains(out, drop) {
			out = append(out, drop)
		}
	}
	return out, nil
}

func (p *databasePlace) hint() string {
	return "name another prefix with --database-schema, or drop the schemas that are left of an earlier move"
}

func (p *databasePlace) close() error {
	var errs []error
	for _, store := range p.stores {
		errs = append(errs, store.Close())
	}
	return errors.Join(errs...)
}
