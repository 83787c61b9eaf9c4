package main

import (
	"context"

	"github.com/spf13/cobra"

	"sigstack/internal/stack"
)

func (a *app) dbMigrateCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Bring the schemas of a stack's database to the version of this program",
		Long: `Bring each schema of a stack's database to the version of this program, and make
those that are missing. No start does that by itself: serve refuses schemas of
another version, and names this command. It may be repeated, and run by several at
once. Take a backup first (pg_dump): there is no way back to an older program.`,
		Example: `  sigstack db migrate --dir /var/lib/sigstack
  sigstack db migrate --dir /var/lib/sigstack --output json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.dbMigrate(cmd.Context(), dir) },
	}
	cmd.Flags().StringVar(&dir, "dir", defaultDir, "data `directory` of the stack, served or not")
	return cmd
}

func (a *app) dbMigrate(ctx context.Context, dir string) error {
	if err := wantStack(stack.Layout{Dir: dir}); err != nil {
		return err
	}
	done, err := stack.MigrateDatabase(ctx, dir)
	if err != nil && len(done) == 0 {
		return err
	}
	a.result(struct {
		Schemas []stack.MigratedSchema `json:"schemas"`
	}{done}, func() {
		for _, s := range done {
			if s.From == s.To {
				a.printf("%s: version %d already (%s)\n", s.Name, s.To, s.Holds)
				continue
			}
			a.printf("%s: from version %d to %d (%s)\n", s.Name, s.From, s.To, s.Holds)
		}
	})
	return err
}
