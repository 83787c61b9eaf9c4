package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"sigstack/internal/config"
	"sigstack/internal/durable"
	"sigstack/internal/stack"
)

// dbCopyFlags say where to.
type dbCopyFlags struct {
	dir         string
	file        string
	schema      string
	toDirectory bool
	passphrase  passphraseFlags
}

func (a *app) dbCopyCommand() *cobra.Command {
	var f dbCopyFlags
	cmd := &cobra.Command{
		Use:   "copy",
		Short: "Move the logs of a stopped stack to PostgreSQL, or back",
		Long: `Move the logs of a stopped stack from DIR/db/log to a PostgreSQL database, or back.
docs/moving-to-postgresql.md has the steps. Every log keeps the id of its tree, its entries with
their indexes and times, its search index, its newest root with its time, and whether
it is frozen: what was signed verifies as before. All of it is read again from the new
place and compared, and the Merkle tree computed anew, before config.yaml names the new
place, which is the last thing that happens.

A copy that is interrupted is gone on with by the same command; nothing can open half of
one. A place that holds something else is refused. The old place is left as it is, and
the command says how to remove it; logs that leave a database take no entries there any
more, whoever still uses it.

What the built-in issuer keeps stays in DIR/db/oidc, or comes back there from the
database if the directory was that of a replica: that needs the passphrase of the keys.
Nobody has to log in again. Exit code 3 if the database cannot be reached.`,
		Example: `  sigstack db copy --dir /var/lib/sigstack --to-database /etc/sigstack/database-url
  sigstack db copy --dir /var/lib/sigstack --to-directory`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.dbCopy(cmd.Context(), f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.dir, "dir", defaultDir, "data `directory` of the stack, which nothing serves")
	flags.StringVar(&f.file, "to-database", "", "`file` with the URL of a PostgreSQL database, mode 0600; config.yaml names it from then on")
	flags.StringVar(&f.schema, "database-schema", "", "`prefix` of the names of schemas in that database (default "+config.DefaultSchema+")")
	flags.BoolVar(&f.toDirectory, "to-directory", false, "back into the directory")
	f.passphrase.add(flags)
	return cmd
}

func (f dbCopyFlags) order() (stack.CopyOrder, error) {
	switch {
	case (f.file != "") == f.toDirectory:
		return stack.CopyOrder{}, usagef("where to? --to-database FILE, or --to-directory")
	case f.toDirectory && f.schema != "":
		return stack.CopyOrder{}, usagef("--database-schema goes with --to-database")
	}
	if f.schema != "" {
		if err := config.CheckSchema(f.schema); err != nil {
			return stack.CopyOrder{}, usagef("--database-schema: %w", err)
		}
	}
	return stack.CopyOrder{Dir: f.dir, To: stack.InitDatabase{URLFile: f.file, Schema: f.schema}}, nil
}

func (a *app) dbCopy(ctx context.Context, f dbCopyFlags) error {
	order, err := f.order()
	if err != nil {
		return err
	}
	if err := wantStack(stack.Layout{Dir: f.dir}); err != nil {
		return err
	}
	if order.Passphrase, err = f.passphrase.read(ctx); err != nil {
		return err
	}
	bar := a.newCounter()
	order.Now, order.Progress = a.now, bar.set
	done, err := stack.CopyDatabase(ctx, order)
	bar.end()
	switch {
	case errors.Is(err, durable.ErrLocked):
		return fmt.Errorf("%w: stop it first", err)
	case ctx.Err() != nil && err != nil:
		return fmt.Errorf("%w: the same command goes on", err)
	case err != nil:
		return explainPassphrase(err)
	}
	a.result(done, func() { a.printCopied(done) })
	return nil
}

func (a *app) printCopied(c stack.DatabaseCopy) {
	for _, log := range c.Logs {
		state := ""
		if log.Frozen {
			state = ", frozen"
		}
		a.printf("%s: tree %d, %d entries, %d rows, root %s of %s%s\n",
			log.Name, log.TreeID, log.Size, log.Rows, log.RootHash, log.RootTime.Format(time.RFC3339Nano), state)
	}
	if c.Issuer.Rows > 0 {
		a.printf("issuer: %d rows, %d refresh tokens\n", c.Issuer.Rows, c.Issuer.RefreshTokens)
	}
	a.printf("the same in %s as in %s; config.yaml names the new place\n", c.To, c.From)
	a.printf("the old one is not used any more; to remove it, once a backup has the new one:\n")
	for _, how := range c.Left {
		a.printf("  %s\n", how)
	}
}
