package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"sigstack/internal/durable"
	"sigstack/internal/stack"
)

func (a *app) logFsckCommand() *cobra.Command {
	c := stack.LogCheck{Now: a.now}
	cmd := &cobra.Command{
		Use:   "fsck",
		Short: "Recompute both logs of a stopped stack from the stored bytes, and name what differs",
		Long: `Recompute the transparency log with all its shards, and the CT log, of a directory
that nothing serves, or of a copy of one: every block of every file of the database,
each entry's leaf hash, each node of the Merkle trees, each row of the indexes, each
root and each file in checkpoints/. What differs is named: the entry, node, row and
field; damage of the disk by file and the rows that may be lost.

Of logs in a PostgreSQL database each entry, node, row and root is, and no file, which
are the server's to check.

It changes no byte, and repairs nothing. Exit code 1 if anything differs.`,
		Example: `  sigstack log fsck --dir /var/lib/sigstack
  sigstack log fsck --dir /backup/sigstack --output json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.logFsck(cmd.Context(), c) },
	}
	cmd.Flags().StringVar(&c.Dir, "dir", defaultDir, "data `directory` of a stack that is stopped, or a copy of one")
	cmd.Flags().IntVar(&c.Limit, "limit", 1000, "tell this many differences one by one, and only count the others")
	return cmd
}

func (a *app) logFsck(ctx context.Context, c stack.LogCheck) error {
	if c.Limit < 1 {
		return usagef("--limit %d: want at least 1", c.Limit)
	}
	if err := wantStack(stack.Layout{Dir: c.Dir}); err != nil {
		return err
	}
	bar := a.newCounter()
	c.Progress = bar.set
	report, err := stack.CheckLogs(ctx, c)
	bar.end()
	if errors.Is(err, durable.ErrLocked) {
		return fmt.Errorf("%w: stop it first, or check a copy", err)
	}
	if err != nil {
		return err
	}
	a.result(report, func() { a.printFsck(report) })
	if report.Count > 0 {
		return fmt.Errorf("%d differences in the logs of %s; nothing was changed: docs/log.md says what to do about each", report.Count, c.Dir)
	}
	return nil
}

func (a *app) printFsck(r *stack.LogReport) {
	for _, p := range r.Problems {
		a.printf("%s\n", p)
	}
	if left := r.Count - uint64(len(r.Problems)); left > 0 {
		a.printf("and %d more\n", left)
	}
	for _, n := range r.Notes {
		a.printf("note: %s\n", n)
	}
	for _, t := range r.Trees {
		a.printf("%s: %d entries and %d rows, root %s\n", t.Name, t.Size, t.Rows, t.Root)
	}
	switch {
	case r.Count == 0 && r.Files == 0: // in a database
		a.printf("every entry, every node and every row is as it must be\n")
	case r.Count == 0:
		a.printf("every byte of %d files, every entry and every row is as it must be\n", r.Files)
	}
}
