package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"sigstack/internal/durable"
	"sigstack/internal/stack"
)

// pollEvery is how often a served reindex is asked how far it is.
const pollEvery = 300 * time.Millisecond

func (a *app) logReindexCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "reindex",
		Short: "Make the log's search index again from its entries",
		Long: `Make the search index of the transparency log again, in all shards, from the entries
themselves: rows that are missing or wrong are written, among them those of entries
that were logged before there was an index, and rows that nothing leads to are
removed. The entries are not touched.

A stack that is served goes on taking entries meanwhile; it does the work, and the
audit record has it. One that is stopped is locked until it is done. It may be
interrupted at any time: what is done is done, and another run does the rest. Exit
code 1 if entries are damaged, whose rows are left alone.`,
		Example: "  sigstack log reindex --dir /var/lib/sigstack",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.logReindex(cmd.Context(), dir) },
	}
	cmd.Flags().StringVar(&dir, "dir", defaultDir, "data `directory` of the stack, served or not")
	return cmd
}

func (a *app) logReindex(ctx context.Context, dir string) error {
	if err := wantStack(stack.Layout{Dir: dir}); err != nil {
		return err
	}
	bar := a.newCounter()
	done, err := stack.ReindexStopped(ctx, dir, a.now, bar.set)
	if errors.Is(err, durable.ErrLocked) {
		done, err = a.reindexServed(ctx, dir, bar)
	}
	bar.end()
	if err != nil {
		return err
	}
	a.result(done, func() {
		for _, l := range done.Logs {
			a.printf("%s: %d entries, %d rows written, %d removed\n", l.Name, l.Entries, l.Written, l.Removed)
		}
	})
	return done.Failed()
}

// reindexServed has the process that serves dir do it, and waits for the end.
func (a *app) reindexServed(ctx context.Context, dir string, bar *counter) (stack.Reindex, error) {
	var state stack.Reindex
	if err := act(ctx, dir, stack.AdminReindex, nil, &state); err != nil {
		return state, err
	}
	for state.Running {
		bar.set(state.Step, state.Done, state.Total)
		select {
		case <-ctx.Done():
			return state, fmt.Errorf("no longer waiting for the search index, which the stack goes on making: %w", ctx.Err())
		case <-time.After(pollEvery):
		}
		if err := ask(ctx, dir, stack.AdminReindex, &state); err != nil {
			return state, err
		}
	}
	return state, nil
}
