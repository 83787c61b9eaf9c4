package stack

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/durable"
	"sigstack/internal/merkle/fsck"
	"sigstack/services/tlog"
)

// LogCheck says which directory's logs to check.
type LogCheck struct {
	// Dir is a data directory that nothing serves, or a copy of one.
	Dir string
	// Limit is how many problems are told one by one.
	Limit int
	Now   func() time.Time
	// Progress is called now and then with how far a step is; total may be 0.
	Progress func(step string, done, total uint64)
}

// LogReport is what a check of the logs found, and LogProblem one thing that is
// wrong.
type (
	LogReport  = fsck.Report
	LogProblem = fsck.Problem
)

// CheckLogs recomputes both logs of a directory from the stored bytes, and changes
// none of them. The directory must not be served, and is not while this runs; the
// error matches durable.ErrLocked otherwise. Of logs in a database the rows are
// checked, by other replicas in use or not, and no files.
func CheckLogs(ctx context.Context, c LogCheck) (report *LogReport, err error) {
	l := Layout{c.Dir}
	conf, err := config.Load(l.Config())
	if err != nil {
		return nil, err
	}
	release, err := durable.HoldForReading(c.Dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release()) }()
	trees, err := l.checkedTrees(conf)
	if err != nil {
		return nil, err
	}
	added, prepared, err := l.addedCTTrees(conf)
	if err != nil {
		return nil, err
	}
	trees = append(trees, added...)
	if conf.Database != nil {
		report, err := c.checkDatabase(ctx, conf, trees)
		return report, l.unreachable(conf.Database, err)
	}
	return fsck.Run(ctx, fsck.Config{
		Dir: l.LogDB(), Heads: l.Checkpoints(), Trees: trees, Prepared: prepared, Limit: c.Limit, Progress: c.Progress,
	})
}

// addedCTTrees are those of CT logs that ctlogs.json has and config.yaml has not: some
// were in use, and have a head; the others are only prepared.
func (l Layout) addedCTTrees(conf *config.Config) (used, prepared []fsck.Tree, err error) {
	if conf.CTLog == nil {
		return nil, nil, nil
	}
	records, err := l.readCTLogs()
	if err != nil {
		return nil, nil, err
	}
	for _, r := range records {
		if r.Own == nil || slices.ContainsFunc(conf.CTLog.Logs(), func(s config.CTShard) bool { return s.TreeID == r.Own.TreeID }) {
			continue
		}
		t := l.ctCheckedTree(conf.CTLog, r.Own.shard())
		has, err := exists(t.HeadFile)
		if err != nil {
			return nil, nil, err
		}
		if has {
			used = append(used, t)
		} else {
			prepared = append(prepared, t)
		}
	}
	return used, prepared, nil
}

func (l Layout) ctCheckedTree(conf *config.CTLog, log config.CTShard) fsck.Tree {
	name := ctTree(conf, log)
	return fsck.Tree{Name: name, ID: log.TreeID, HeadFile: l.Head(name), FinalHead: l.FinalHead(name), Refreshed: true}
}

// checkDatabase checks logs in a database.
func (c LogCheck) checkDatabase(ctx context.Context, conf *config.Config, trees []fsck.Tree) (report *LogReport, err error) {
	db, err := Layout{c.Dir}.database(conf.Database, c.Now)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.close()) }()
	stored := make([]fsck.DatabaseTree, len(trees))
	for i, t := range trees {
		store, err := db.open(ctx, t.Name)
		if err != nil {
			return nil, err
		}
		stored[i] = fsck.DatabaseTree{Tree: t, Storage: store}
	}
	return fsck.RunDatabase(ctx, fsck.Config{Limit: c.Limit, Progress: c.Progress}, stored, c.Now)
}

// checkedTrees are the trees that the directory has to have.
func (l Layout) checkedTrees(conf *config.Config) ([]fsck.Tree, error) {
	var trees []fsck.Tree
	if conf.TLog != nil {
		further, err := l.readShards()
		if err != nil {
			return nil, err
		}
		for _, e := range allShards(conf.TLog, further) {
			trees = append(trees, fsck.Tree{Name: e.Name, ID: e.TreeID, HeadFile: l.Head(e.Name), Service: tlog.Derived()})
		}
	}
	if conf.CTLog != nil {
		for _, log := range conf.CTLog.Logs() {
			trees = append(trees, l.ctCheckedTree(conf.CTLog, log))
		}
	}
	if len(trees) == 0 {
		return nil, fmt.Errorf("the stack in %s has no log: name the directory of the process that has", l.Dir)
	}
	return trees, nil
}
