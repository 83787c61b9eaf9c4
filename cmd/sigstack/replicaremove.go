package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"sigstack/internal/fleet"
	"sigstack/internal/stack"
)

func (a *app) replicaRemoveCommand() *cobra.Command {
	var dir string
	var force bool
	cmd := &cobra.Command{
		Use:   "remove NAME",
		Short: "Take a replica out of a stack, for good",
		Long: `Take a replica out of the stack that DIR is a replica of, by its name; the directory of
any of them will do. One that is alive is refused: stop it first. Where its machine cannot
be reached any more, --force removes it all the same. The last one is never removed.

The others hear it no more, at once: the key in its directory, by which they knew it,
opens nothing any more. A replica that is removed while it runs stops signing as soon as
the database tells it, or ten seconds after it has lost the database, and does not start
again. If it led, another one leads.

Its directory still has what every replica has: the keys of the services, the secret of
the issuer, and the way to the database. Remove it. If others may have read it, change the
database's password, and rotate the keys (sigstack compromise).`,
		Example: `  sigstack replica remove --dir /var/lib/sigstack b
  sigstack replica remove --dir /var/lib/sigstack b --force --output json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.replicaRemove(cmd.Context(), dir, args[0], force)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", defaultDir, "data `directory` of a replica of the same stack")
	cmd.Flags().BoolVar(&force, "force", false, "remove it even if it gave a sign of life just now")
	return cmd
}

func (a *app) replicaRemove(ctx context.Context, dir, name string, force bool) error {
	if err := fleet.CheckName(name); err != nil {
		return usagef("%w", err)
	}
	l := stack.Layout{Dir: dir}
	if err := wantStack(l); err != nil {
		return err
	}
	err := l.RemoveReplica(ctx, name, force)
	switch {
	case errors.Is(err, fleet.ErrNoReplica):
		return fmt.Errorf("%w: sigstack replica list --dir %s", err, dir)
	case errors.Is(err, fleet.ErrAlive):
		return fmt.Errorf("%w (--force)", err)
	case err != nil:
		return err
	}
	a.result(map[string]any{"name": name, "removed": true}, func() {
		a.printf("replica %s is removed: its key opens nothing any more\n", name)
		a.printf("its directory still has the keys of the services: remove it, and rotate them if others may have read it\n")
	})
	return nil
}
