package main

import (
	"context"

	"github.com/spf13/cobra"

	"sigstack/internal/stack"
)

func (a *app) ctDropCommand() *cobra.Command {
	var f shardFlags
	cmd := &cobra.Command{
		Use:   "drop PREFIX",
		Short: "Forget a CT log that was prepared by mistake",
		Long: `Forget a CT log that prepare has made, which is not published, and which config.yaml
does not name. Its key and its tree, which is empty, stay: the next prepare of that
prefix takes them; remove the key's file from DIR/keys if it shall not. What was
published is never taken back, and is refused.`,
		Example: "  sigstack ctlog drop ct2 --dir /var/lib/sigstack",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !ctPrefix.MatchString(args[0]) {
				return usagef("prefix %q: want one path element of a-z, 0-9 and -", args[0])
			}
			return a.withActs(cmd.Context(), f, true, func(ctx context.Context, c shardChannel) error {
				var list stack.CTLogList
				if err := c.Post(ctx, stack.AdminCTLogDrop, stack.CTLogDrop{Prefix: args[0]}, &list); err != nil {
					return err
				}
				a.result(list, func() {
					a.printf("dropped CT log %s\n", args[0])
					a.printCTLogs(list)
				})
				return nil
			})
		},
	}
	f.add(cmd.Flags())
	return cmd
}
