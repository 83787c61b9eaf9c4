package main

import "github.com/spf13/cobra"

func (a *app) dbCommand() *cobra.Command {
	cmd := group("db", "Work with the PostgreSQL database of a stack", a.dbStatusCommand(), a.dbMigrateCommand(), a.dbCopyCommand())
	cmd.Long = `Work with the PostgreSQL database that section database of config.yaml names.
docs/database.md has the rest.`
	return cmd
}
