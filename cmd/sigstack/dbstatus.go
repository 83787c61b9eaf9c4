package main

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"sigstack/internal/stack"
)

func (a *app) dbStatusCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say whether the database answers, and the version of each schema",
		Long: `Ask the database of a stack, served or not, for its own version and for that of
each schema: how many migrations it has, and how many this program wants. Nothing is
changed. Exit code 1 if a schema has another version than this program: serve refuses
it then. Exit code 3 if the database does not answer, which takes five seconds at most.`,
		Example: `  sigstack db status --dir /var/lib/sigstack
  sigstack db status --dir /var/lib/sigstack --output json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.dbStatus(cmd.Context(), dir) },
	}
	cmd.Flags().StringVar(&dir, "dir", defaultDir, "data `directory` of the stack")
	return cmd
}

func (a *app) dbStatus(ctx context.Context, dir string) error {
	if err := wantStack(stack.Layout{Dir: dir}); err != nil {
		return err
	}
	d, err := stack.ReadDatabase(ctx, dir)
	if err != nil {
		return err
	}
	a.result(d, func() { a.printDatabase(d) })
	due := d.Due()
	if len(due) == 0 {
		return nil
	}
	for _, s := range due {
		if s.State == stack.SchemaNewer {
			return fmt.Errorf("schema %s is of a newer program: use that one", s.Name)
		}
	}
	return fmt.Errorf("%d of %d schemas wait for a migration: sigstack db migrate --dir %s", len(due), len(d.Schemas), dir)
}

func (a *app) printDatabase(d stack.DatabaseStatus) {
	a.printf("PostgreSQL %s, URL in %s\n", shown(d.Server), d.URLFile)
	if len(d.Schemas) == 0 {
		a.printf("this process keeps nothing in it\n")
		return
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	a.printTo(w, "SCHEMA\tVERSION\tWANTED\tSTATE\tHOLDS\n")
	for _, s := range d.Schemas {
		a.printTo(w, "%s\t%d\t%d\t%s\t%s\n", s.Name, s.Version, s.Wanted, s.State, s.Holds)
	}
	_ = w.Flush() // as printf
}
