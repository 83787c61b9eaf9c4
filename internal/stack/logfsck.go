package stack

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"sigstack/internal/config"
	"sigstack/internal/durable"
	"sigstack/internal/fault"
	"sigstack/internal/merkle"
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
// error matches durable.ErrLocked otherwise. Of logs in a database the rows of the
// search index are not looked at.
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

// checkDatabase recomputes logs in a database, each up to what is first wrong in it.
func (c LogCheck) checkDatabase(ctx context.Context, conf *config.Config, trees []fsck.Tree) (report *LogReport, err error) {
	db, err := Layout{c.Dir}.database(conf.Database, c.Now)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.close()) }()
	report = &LogReport{Problems: []LogProblem{}, Trees: []fsck.TreeReport{}, Notes: []string{
		"the logs are in a database, whose files are the server's to check; rows of the search index were not looked at: sigstack log reindex makes them again",
	}}
	for i, t := range trees {
		if c.Progress != nil {
			c.Progress("entries of "+t.Name, uint64(i), uint64(len(trees)))
		}
		store, err := db.open(ctx, t.Name)
		if err != nil {
			return nil, err
		}
		head, err := checkTree(ctx, store, t, c.Now)
		if ctx.Err() != nil || fault.KindOf(err) == fault.Unavailable {
			return nil, err
		}
		if err != nil {
			report.Count++
			report.Problems = append(report.Problems, LogProblem{Kind: fsck.Differs, What: "tree", Log: t.Name, Detail: err.Error()})
			continue
		}
		report.Trees = append(report.Trees, fsck.TreeReport{Name: t.Name, ID: t.ID, Size: head.Size, Root: hex.EncodeToString(head.Root[:])})
	}
	return report, nil
}

// checkTree recomputes a tree, and compares it with its file in checkpoints/.
func checkTree(ctx context.Context, store merkle.Storage, t fsck.Tree, now func() time.Time) (merkle.Head, error) {
	if _, err := merkle.Open(ctx, merkle.Config{Storage: store, TreeID: t.ID, Now: now, HeadFile: t.HeadFile}); err != nil {
		return merkle.Head{}, err
	}
	return merkle.CheckTree(ctx, store, t.ID)
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
