package stack

import (
	"context"
	"errors"
	"fmt"

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
// error matches durable.ErrLocked otherwise.
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
	return fsck.Run(ctx, fsck.Config{
		Dir: l.LogDB(), Heads: l.Checkpoints(), Trees: trees, Limit: c.Limit, Progress: c.Progress,
	})
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
			name := ctTree(conf.CTLog, log)
			trees = append(trees, fsck.Tree{Name: name, ID: log.TreeID, HeadFile: l.Head(name), FinalHead: l.FinalHead(name), Refreshed: true})
		}
	}
	if len(trees) == 0 {
		return nil, fmt.Errorf("the stack in %s has no log: name the directory of the process that has", l.Dir)
	}
	return trees, nil
}
