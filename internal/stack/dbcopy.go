package stack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/durable"
	"sigstack/internal/fault"
	"sigstack/internal/merkle/logcopy"
	"sigstack/internal/pgdb"
	"sigstack/services/oidc"
)

// CopyOrder says where what is in db/ of a stopped directory goes.
type CopyOrder struct {
	Dir string
	// To is a database; without a file, from the database back to the directory.
	To InitDatabase
	// Passphrase of the keys, which open what the built-in issuer of replicas kept in the
	// database; for the way back alone.
	Passphrase []byte
	Now        func() time.Time
	// Progress is called now and then with how far a step is; total may be 0.
	Progress func(step string, done, total uint64)
}

// DatabaseCopy is what was copied and proved the same. The directory's configuration
// names the new place from then on.
type DatabaseCopy struct {
	From string      `json:"from"` // for people
	To   string      `json:"to"`
	Logs []CopiedLog `json:"logs"`
	// Issuer is what the built-in issuer of replicas kept in the database.
	Issuer oidc.Copied `json:"issuer,omitzero"`
	// Left is how to remove what is not used any more.
	Left []string `json:"left"`
}

// CopiedLog is a log that is the same in both places.
type CopiedLog struct {
	Name     string    `json:"name"`
	TreeID   int64     `json:"tree_id,string"`
	Size     uint64    `json:"size"`
	RootHash string    `json:"root_hash"`
	RootTime time.Time `json:"root_time"`
	Rows     uint64    `json:"rows"` // of the services' indexes
	Frozen   bool      `json:"frozen"`
	// Had is how many entries were there from a copy that was cut short.
	Had uint64 `json:"had,omitempty"`
}

// CopyDatabase moves the logs of a stopped directory to a database, or back, and proves
// that they are the same there. The old place stays as it is, but that logs in a
// database take no entries any more. The error matches durable.ErrLocked if the
// directory is served, is fault.Conflict where the new place holds something else, and is
// a *signing.UnreachableError if the database is away.
//
// What a crash leaves behind, step by step:
//
//   - while a log is copied: half a copy, which nobody can open, and which the next
//     CopyDatabase to that place goes on with.
//   - between two logs, and before the configuration is written: whole copies that
//     nobody uses. The next one compares them with their sources, and goes on.
//   - behind Retire: logs in the old database that take no entries, and a configuration
//     that still names it; a start says so, and the next CopyDatabase finishes.
//   - the configuration is written: what the issuer left in the database, sealed. Nobody
//     uses it, and the next move finds that the directory's is newer.
func CopyDatabase(ctx context.Context, o CopyOrder) (c DatabaseCopy, err error) {
	l := Layout{o.Dir}
	conf, err := config.Load(l.Config())
	if err != nil {
		return c, err
	}
	to, err := o.To.section()
	if err != nil {
		return c, err
	}
	if err := l.mayCopy(conf, to); err != nil {
		return c, err
	}
	lock, err := durable.LockDir(o.Dir)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	m := &move{CopyOrder: o, l: l, conf: conf, next: *conf}
	m.next.Database = to
	if err = m.open(ctx); err == nil {
		c, err = m.carryOut(ctx)
	}
	if err = errors.Join(err, m.close()); err != nil {
		return c, l.unreachable(m.database(), err)
	}
	if err := config.SetDatabase(l.Config(), to); err != nil {
		return c, err
	}
	return c, m.issuer.end(ctx)
}

// database is the one of the two places that is none of the directory's.
func (m *move) database() *config.Database { return cmp.Or(m.conf.Database, m.next.Database) }

// mayCopy refuses what makes no sense before anything is touched.
func (l Layout) mayCopy(conf *config.Config, to *config.Database) error {
	switch {
	case to != nil && conf.Database != nil:
		return fmt.Errorf("what was in db/ is in a database already (schemas %s…): copy it back into the directory first, and from there to another database", conf.Database.Prefix())
	case to == nil && conf.Database == nil:
		return errors.New("the logs are in the directory already")
	}
	replica, err := exists(l.path("replica.yaml"))
	if err == nil && to == nil && replica {
		err = errors.New("the directory is one of several replicas: stop all of them, keep the one that is to go on, and move its replica.yaml away")
	}
	return err
}

// move is one CopyDatabase.
type move struct {
	CopyOrder
	l        Layout
	conf     *config.Config
	next     config.Config // as it is to be
	from, to place
	issuer   issuerBack
}

// open opens both places.
func (m *move) open(ctx context.Context) (err error) {
	url, err := m.l.databaseURL(m.database())
	if err != nil {
		return fmt.Errorf("database: %w", err)
	}
	if _, err := pgdb.Reach(ctx, url); err != nil {
		return err
	}
	if m.next.Database == nil {
		if m.issuer, err = m.l.openIssuerBack(ctx, m.conf, m.Passphrase); err != nil {
			return err
		}
	}
	if m.from, err = m.l.openPlace(m.conf.Database, true, m.Now); err != nil {
		return err
	}
	if m.to, err = m.l.openPlace(m.next.Database, false, m.Now); err != nil {
		return err
	}
	for _, p := range []place{m.from, m.to} {
		if err := p.unused(ctx, m.names()); err != nil {
			return err
		}
	}
	return nil
}

func (m *move) close() error {
	var errs []error
	for _, p := range []place{m.from, m.to} {
		if p != nil {
			errs = append(errs, p.close())
		}
	}
	return errors.Join(errs...)
}

// names are the logs that the directory may have: those of the configuration, and CT
// logs that are prepared. The shards of the transparency log are where its first is.
func (m *move) names() (names []string) {
	if m.conf.TLog != nil {
		names = append(names, treeTLog)
	}
	if m.conf.CTLog != nil {
		for _, log := range m.conf.CTLog.Logs() {
			names = append(names, ctTree(m.conf.CTLog, log))
		}
	}
	return names
}

// carryOut copies the logs, and lets the old ones take no entries.
func (m *move) carryOut(ctx context.Context) (c DatabaseCopy, err error) {
	c = DatabaseCopy{From: m.from.String(), To: m.to.String(), Logs: []CopiedLog{}}
	names, err := m.prepared()
	if err != nil {
		return c, err
	}
	if c.Left, err = m.from.left(ctx, m.conf, names); err != nil {
		return c, err
	}
	logs, err := m.from.logs(ctx, names)
	if err != nil {
		return c, err
	}
	if err := m.complete(logs); err != nil {
		return c, err
	}
	var ids []int64
	for _, log := range logs {
		ids = append(ids, log.ID)
	}
	for _, log := range logs {
		done, err := m.copy(ctx, log, ids)
		if err != nil {
			return c, err
		}
		c.Logs = append(c.Logs, done)
	}
	if err := m.to.prepare(ctx, m.l, &m.next); err != nil {
		return c, err
	}
	if c.Issuer, err = m.issuer.copy(ctx); err != nil {
		return c, err
	}
	for _, log := range logs {
		if err := m.from.retire(ctx, log); err != nil {
			return c, err
		}
	}
	return c, nil
}

// prepared adds CT logs that the configuration does not have yet to names.
func (m *move) prepared() ([]string, error) {
	names := m.names()
	records, err := m.l.readCTLogs()
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, name := range names {
		seen[name] = true
	}
	for _, r := range records {
		if r.Own == nil || m.conf.CTLog == nil {
			continue
		}
		if name := ctTree(m.conf.CTLog, r.Own.shard()); !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	return names, nil
}

// complete refuses a place that has not all logs of the configuration.
func (m *move) complete(logs []logcopy.Listed) error {
	if m.conf.TLog == nil && m.conf.CTLog == nil {
		return nil
	}
	trees, err := m.l.checkedTrees(m.conf)
	if err != nil {
		return err
	}
	have := map[int64]string{}
	for _, log := range logs {
		have[log.ID] = log.Name
	}
	for _, t := range trees {
		if have[t.ID] != t.Name {
			return fmt.Errorf("%s does not hold log %s, tree %d: restore it and the configuration from one backup", m.from, t.Name, t.ID)
		}
	}
	return nil
}

func (m *move) copy(ctx context.Context, log logcopy.Listed, beside []int64) (CopiedLog, error) {
	from, err := m.from.of(ctx, log.Name)
	if err != nil {
		return CopiedLog{}, err
	}
	to, err := m.to.make(ctx, log.Name, m.conf.URL)
	if err != nil {
		return CopiedLog{}, err
	}
	done, err := logcopy.Copy(ctx, logcopy.Config{From: from, To: to, Tree: log.ID, Beside: beside, Progress: func(step string, done, total uint64) {
		if m.Progress != nil {
			m.Progress(log.Name+": "+step, done, total)
		}
	}})
	if fault.KindOf(err) == fault.Conflict {
		err = fmt.Errorf("%w; %s", err, m.to.hint())
	}
	if err != nil {
		return CopiedLog{}, fmt.Errorf("log %s: %w", log.Name, err)
	}
	return CopiedLog{
		Name: done.Name, TreeID: done.Tree, Size: done.Head.Size, RootHash: fmt.Sprintf("%x", done.Head.Root), RootTime: done.Head.Time,
		Rows: done.Rows, Frozen: done.Frozen, Had: done.Had,
	}, nil
}
