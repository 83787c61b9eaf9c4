package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"sigstack/internal/stack"
	"sigstack/internal/trust"
)

func (a *app) tufDiffCommand() *cobra.Command {
	var f shardFlags
	var live bool
	cmd := &cobra.Command{
		Use:   "diff",
		Short: "Say what publishing would change for clients",
		Long: `Say in plain words what a publication of trust material would change now, against
what is published: keys, chains, windows, services, and every file with its digest.
What waits to be published, a shard, a chain or a CT log that was prepared, is counted
in. "nothing" if clients would see no difference. Signers of a ceremony are shown the
same words.

The files are checked as they are before every publication; with --live the services
are asked, too, as a publication does. Nothing is published, and nothing entered in
the log. Exit code 1 if a publication would be refused.`,
		Example: `  sigstack tuf diff --dir /var/lib/sigstack
  sigstack tuf diff --dir /var/lib/sigstack --live --output json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.tufDiff(cmd.Context(), f, live) },
	}
	f.add(cmd.Flags())
	cmd.Flags().BoolVar(&live, "live", false, "ask the services too, whether they are what the files say")
	return cmd
}

func (a *app) tufDiff(ctx context.Context, f shardFlags, live bool) error {
	path := stack.AdminTUFDiff
	if live {
		path += "?check=live"
	}
	var d stack.TUFDiff
	err := a.withActs(ctx, f, true, func(ctx context.Context, c shardChannel) error { return c.Get(ctx, path, &d) })
	if err != nil {
		return err
	}
	a.result(d, func() {
		for _, change := range d.Changes {
			a.printf("%s\n", change)
		}
		if len(d.Changes) == 0 {
			a.printf("nothing\n")
		}
	})
	if refusal := trust.Refusal(d.Failed); refusal != nil {
		return errors.Join(errors.New("a publication would be refused"), refusal)
	}
	return nil
}
