package main

import "github.com/spf13/cobra"

func (a *app) logCommand() *cobra.Command {
	cmd := group("log", "Work with the transparency log",
		a.logGetCommand(), a.logProveCommand(), a.logSearchCommand(), a.logFsckCommand(), a.logReindexCommand(), a.logShardCommand())
	cmd.Long = "Work with the transparency log. docs/log.md has the rest."
	return cmd
}
